"""The loss of the budgeted network: masking, distillation, smoothness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lmac_td.contracts import ExplainedBatch
from lmac_td.interpreters.budgeted.base import Budgeted
from lmac_td.interpreters.budgeted.network import pooled
from lmac_td.targets import margin
from lmac_td.training.objectives.base import Objective, Terms
from lmac_td.training.objectives.masking import target_loss, total_variation
from lmac_td.validation import require_number

# In a training step a clip is asked about its kept part with this probability, else
# about its removed part. The terms are divided by the probabilities.
P_KEPT = 2 / 3


class BudgetedLoss(Objective):
    """l_in_w CE(kept) + l_out_w softplus(margin(removed)) + tv_w TV + distil_w D.

    CE is -log p of the explained class for the kept part. The term of the removed part
    is bounded below, so that it cannot grow without end. TV is the total variation of
    the mask. D compares the scores with those of a teacher, such as the evidence: the
    variance of the difference over blocks of the STFT, since a constant changes no
    mask.

    In training, each clip is asked one of the two questions per step. For some clips
    the kept part is heard beside the removed part of another clip, at a random level
    (context instead of silence), and the level of what is heard varies. The teacher's
    scores are computed once per mixture in an epoch.

    In validation both questions are asked, without context and change of level, and
    the checkpoint is selected by the masking terms.

    Arguments
    ---------
    teacher : Budgeted, optional
        Gives the scores to imitate: those of the candidate that it chooses.
    l_in_w, l_out_w, reg_w_tv, distil_w : float
        Weights.
    context : float
        Probability that the kept part is heard in the context of another clip.
    level_db : float
        The largest change of level, in dB, up or down.

    Raises
    ------
    SettingError
        If a weight is negative or a probability above 1.
    """

    needs_answers = False

    def __init__(
        self,
        teacher: Budgeted | None = None,
        l_in_w: float = 1.0,
        l_out_w: float = 0.5,
        reg_w_tv: float = 0.5,
        distil_w: float = 0.1,
        context: float = 0.5,
        level_db: float = 4.0,
    ) -> None:
        super().__init__()
        for name, value in {
            "l_in_w": l_in_w,
            "l_out_w": l_out_w,
            "reg_w_tv": reg_w_tv,
            "distil_w": distil_w,
            "level_db": level_db,
        }.items():
            require_number(name, value, least=0)
        require_number("context", context, least=0, most=1)
        # Not a submodule: nothing of it is trained.
        object.__setattr__(self, "teacher", teacher)
        self.l_in_w = l_in_w
        self.l_out_w = l_out_w
        self.reg_w_tv = reg_w_tv
        self.distil_w = distil_w
        self.context = context
        self.level_db = level_db

    def forward(self, batch: ExplainedBatch, clean: Tensor) -> Terms:
        """Compute the loss of each entry of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
            With a :class:`~lmac_td.interpreters.budgeted.base.BudgetedExplanation`. If
            it has the classifier's logits, as in validation, these are used.
        clean : Tensor (B, T)
            Not used by this loss.

        Returns
        -------
        Terms
            With the parts ``loss_in``, ``loss_out``, ``tv`` and ``distil``; an entry
            has 0 for a question that it was not asked.
        """
        validates = batch.kept_logits is not None
        loss_in, loss_out = self.answers(batch) if validates else self.asked(batch)
        masking = self.l_in_w * loss_in + self.l_out_w * loss_out
        tv = total_variation(batch.explanation.mask)
        loss = masking + self.reg_w_tv * tv
        parts = {"loss_in": loss_in, "loss_out": loss_out, "tv": tv}
        if self.teacher is not None and self.distil_w and not validates:
            parts["distil"] = self.distance_to_teacher(batch)
            loss = loss + self.distil_w * parts["distil"]
        return Terms(loss, parts, selection=masking)

    def answers(self, batch: ExplainedBatch) -> tuple[Tensor, Tensor]:
        """Return the terms of both questions by the logits of the batch, (B,) each."""
        target, activation = batch.decision.target, batch.classifier.activation
        loss_in = target_loss(batch.kept_logits, target, activation)
        loss_out = F.softplus(margin(batch.removed_logits, target, activation))
        return loss_in, loss_out

    def asked(self, batch: ExplainedBatch) -> tuple[Tensor, Tensor]:
        """Ask each clip one question, with context and another level, (B,) each."""
        explanation, classifier = batch.explanation, batch.classifier
        kept, removed = explanation.interpretation, explanation.residual
        draw = torch.rand(4, len(kept), 1, device=kept.device)
        ask_kept = draw[0] < P_KEPT
        beside = (draw[1] < self.context) * 10 ** (-draw[2])  # 0 to -20 dB
        heard = kept + beside * removed.detach().roll(1, dims=0)
        heard = heard.where(ask_kept, removed)
        heard = heard * 10 ** ((2 * draw[3] - 1) * self.level_db / 20)
        (logits,) = classifier.classify(classifier.inputs_of(heard))
        target, activation = batch.decision.target, classifier.activation
        ask_kept = ask_kept.squeeze(1)
        loss_in = target_loss(logits, target, activation) * ask_kept / P_KEPT
        loss_out = F.softplus(margin(logits, target, activation))
        return loss_in, loss_out * ~ask_kept / (1 - P_KEPT)

    def distance_to_teacher(self, batch: ExplainedBatch) -> Tensor:
        """Return the variance of the difference to the teacher's scores, (B,)."""
        difference = pooled(batch.explanation.scores) - self.teacher_scores(batch)
        return difference.flatten(1).var(dim=1, correction=0)

    @torch.no_grad()
    def teacher_scores(self, batch: ExplainedBatch) -> Tensor:
        """Return the teacher's scores (B, t, f), from memory where they are known."""

        def scores(rows: Tensor) -> Tensor:
            explanation = self.teacher(
                batch.wavs[rows],
                batch.features.select(rows),
                batch.decision.select(rows),
            )
            return pooled(explanation.scores)

        return batch.decision.recall("teacher's scores", scores)
