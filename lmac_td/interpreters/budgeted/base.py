"""The interpreter that cuts scores to a size, and chooses among candidates."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision, Explanation
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.budgeted.controls import control_sources
from lmac_td.interpreters.budgeted.scores import Scores
from lmac_td.interpreters.budgeted.threshold import POWERS, soft_threshold
from lmac_td.metrics.confidence import of_class
from lmac_td.targets import margin
from lmac_td.validation import require_choice, require_number

SMALLEST = "smallest"
TRIED = (0.04, 0.08, 0.15, 0.25, 0.4, 0.5, 0.7)
# p(kept) may be this much lower than p(mixture) and still count as equal.
TIE = 1e-6


@dataclass(frozen=True)
class BudgetedExplanation(Explanation):
    """An Explanation of a given size.

    Attributes
    ----------
    size : Tensor (B,)
        The share that is kept.
    candidate : Tensor (B,), int64
        Which candidate was chosen.
    scores : Tensor (B, frames, bins)
        Its scores.
    """

    size: Tensor = None
    candidate: Tensor = None
    scores: Tensor = None


class Budgeted(Interpreter):
    """Keep a given share of the sound: the part that the scores rank highest.

    The mask is a soft threshold of the scores; its level is solved so that the kept
    part has the given size (:func:`.soft_threshold`). If the source of scores gives
    several candidates for a clip, the classifier chooses among their masks.

    Arguments
    ---------
    features : SpectralFeatures
    scores : Scores
        The source of scores.
    keep : float, str or sequence of float
        The share to keep, above 0 and at most 1. ``smallest``: the least of ``tried``
        at which the kept sound is decided as the clip was, and as surely; if there is
        none, the one that is decided most surely. A sequence gives one row of a table
        per share (:meth:`rows`).
    keep_by : str
        What it is a share of: ``amplitude``, sum(mask |X|), or ``energy``,
        sum((mask |X|)^2).
    choose : str
        Which candidate is taken. ``kept``: the one whose kept part has the largest
        margin. ``kept_and_removed``: the one with the largest p(kept) - p(removed).
    tried : sequence of float
        The shares that ``smallest`` tries.
    classifier_input : str
        ``audio`` or ``spectrogram``, see :class:`Interpreter`.
    controls : bool
        Whether a table has rows of controls, too: loudness, a random field and, if the
        source gives K candidates, the best of K random fields, chosen in the same way.
    trained_with : pair of float
        The least and the largest share in training; each clip's share is drawn
        log-uniformly. In validation it is ``keep``.

    Raises
    ------
    SettingError
        If a setting has another value.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> from lmac_td.interpreters.budgeted import BinGains, share_kept
    >>> stft = SpectralFeatures(8000, 256, 32, 16)
    >>> network = torch.nn.Linear(8000, 2)
    >>> classifier = ModuleClassifier(network, 8000, ["a", "b"]).freeze()
    >>> interpreter = Budgeted(stft, BinGains(stft, kernels=[[300, 60]]), keep=0.25)
    >>> wavs = torch.randn(3, 8000)
    >>> features = stft(wavs)
    >>> explanation = interpreter(wavs, features, classifier.decide(wavs))
    >>> share_kept(explanation.mask, features.magnitude).round(decimals=4)
    tensor([0.2500, 0.2500, 0.2500])
    """

    def __init__(
        self,
        features: SpectralFeatures,
        scores: Scores,
        keep: float | str | Sequence[float] = 0.5,
        keep_by: str = "amplitude",
        choose: str = "kept",
        tried: Sequence[float] = TRIED,
        classifier_input: str = "audio",
        controls: bool = False,
        trained_with: tuple[float, float] = (0.04, 0.7),
    ) -> None:
        super().__init__(features)
        require_choice("keep_by", keep_by, tuple(POWERS))
        require_choice("choose", choose, ("kept", "kept_and_removed"))
        require_choice("classifier_input", classifier_input, ("audio", "spectrogram"))
        check_shares("tried", tried)
        keep = list(keep) if is_list(keep) else [keep]
        check_shares("keep", keep, or_smallest=True)
        self.source = scores
        self.keep = keep if len(keep) > 1 else keep[0]
        self.keep_by = keep_by
        self.choose = choose
        self.tried = tuple(sorted(tried))
        self.classifier_input = classifier_input
        self.controls = controls
        check_shares("trained_with", trained_with)
        self.trained_with = tuple(trained_with)

    @property
    def asks_classifier(self) -> bool:
        """Whether the classifier's answers choose what is kept."""
        chosen = self.keep == SMALLEST or self.source.n_candidates > 1
        return chosen or self.source.searches

    @property
    def is_control(self) -> bool:
        """Whether the scores explain nothing; see :class:`Scores`."""
        return self.source.is_control

    @property
    def does(self) -> str:
        """See :class:`~lmac_td.interpreters.base.Interpreter`."""
        return self.source.does

    @property
    def remark(self) -> str:
        """See :class:`Interpreter`."""
        kept = "the smallest convincing part" if self.keep == SMALLEST else self.keep
        remark = f"keeps {kept} of the {self.keep_by}"
        if self.source.n_candidates > 1:
            remark += f", chosen among {self.source.n_candidates} candidates"
        if self.source.remark:
            remark += f"; {self.source.remark}"
        n_dithered = getattr(self.source, "n_dithered", 0)
        if n_dithered:
            remark += f"; {n_dithered} gradients were computed with dither"
        return remark

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Interpreter.check`."""
        super().check(classifier)
        self.source.check(classifier)

    def rows(self, name: str) -> dict[str, Interpreter]:
        """See :meth:`Interpreter.rows`: one row per share, and those of controls."""
        rows = {name: self}
        if self.controls:
            rows |= {
                control: self.changed(source=source, controls=False)
                for control, source in control_sources(
                    self.features, self.source.n_candidates
                ).items()
            }
        if not is_list(self.keep):
            return rows
        return {
            f"{row} {share}": interpreter.changed(keep=share)
            for row, interpreter in rows.items()
            for share in self.keep
        }

    def changed(self, **attributes: Any) -> Budgeted:
        """Return a copy with other attributes; the rest, such as networks, is shared.

        Arguments
        ---------
        **attributes
            ``source``, ``keep``, ``controls`` or another attribute.
        """
        other = copy.copy(self)
        other._modules = dict(self._modules)
        for name, value in attributes.items():
            setattr(other, name, value)
        return other

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> BudgetedExplanation:
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``.
        decision : Decision

        Returns
        -------
        BudgetedExplanation
            With ``mask`` (B, frames, bins).
        """
        candidates = self.source(wavs, features, decision)
        keep = self.keep[0] if is_list(self.keep) else self.keep
        if keep == SMALLEST:
            return self.smallest(candidates, wavs, features, decision)
        size = wavs.new_full((len(wavs),), keep)
        if self.training and self.source.trained:
            size = log_uniform(self.trained_with, size)
        return self.best_of(candidates, size, wavs, features, decision)[0]

    def best_of(
        self,
        candidates: Tensor,
        size: Tensor,
        wavs: Tensor,
        features: Features,
        decision: Decision,
    ) -> tuple[BudgetedExplanation, Tensor]:
        """Cut all candidates to a size and choose one for each clip.

        Arguments
        ---------
        candidates : Tensor (B, K, frames, bins)
        size : Tensor (B,)
        wavs : Tensor (B, T)
        features : Features
        decision : Decision

        Returns
        -------
        BudgetedExplanation
        Tensor (B, C)
            The classifier's logits for what is kept; empty if K is 1, since the
            classifier was not asked.
        """
        n_clips, n_candidates = candidates.shape[:2]
        masks = soft_threshold(
            candidates,
            features.magnitude.unsqueeze(1),
            size.unsqueeze(1),
            self.keep_by,
        )
        rows = torch.arange(n_clips, device=wavs.device)
        if n_candidates == 1:
            explanation = self.explain_mask(masks[:, 0], wavs, features, decision)
            chosen = torch.zeros_like(rows)
            scores = candidates[:, 0]
            return budgeted(explanation, rows, size, chosen, scores), wavs.new_empty(0)
        copies = rows.repeat_interleave(n_candidates)
        explanation = self.explain_mask(
            masks.flatten(0, 1), wavs[copies], features.select(copies), decision
        )
        kept, removed = self.answers(explanation, decision)
        quality = self.quality(kept, removed, decision, n_candidates)
        chosen = quality.argmax(dim=1)
        best = rows * n_candidates + chosen
        scores = candidates[rows, chosen]
        return budgeted(explanation, best, size, chosen, scores), kept[best]

    def answers(
        self, explanation: Explanation, decision: Decision
    ) -> tuple[Tensor, Tensor | None]:
        """Return the classifier's logits for what is kept and what is removed.

        The removed parts are not classified if the choice does not depend on them.
        """
        if self.choose == "kept":
            return classify(decision, explanation.kept_input)[0], None
        return classify(decision, explanation.kept_input, explanation.removed_input)

    def quality(
        self,
        kept: Tensor,
        removed: Tensor | None,
        decision: Decision,
        n_candidates: int,
    ) -> Tensor:
        """Return the quality (B, K) of candidates by their logits (B K, C)."""
        classifier = decision.classifier
        target = decision.target.repeat_interleave(n_candidates)
        if removed is None:  # the margin, since probabilities near 1 are all equal
            quality = margin(kept, target, classifier.activation)
        else:
            p_kept, p_removed = (
                of_class(classifier.probabilities(logits), target)
                for logits in (kept, removed)
            )
            quality = p_kept - p_removed
        return quality.view(-1, n_candidates)

    def smallest(
        self,
        candidates: Tensor,
        wavs: Tensor,
        features: Features,
        decision: Decision,
    ) -> BudgetedExplanation:
        """Find the smallest part of each clip that is decided as before, as surely.

        Every size is tried with all candidates, from small to large. Clips that are
        done are not tried again.
        """
        classifier, target = decision.classifier, decision.target
        before = of_class(decision.probabilities, target)
        open_rows = torch.arange(len(wavs), device=wavs.device)
        size = wavs.new_zeros(len(wavs))
        chosen = torch.zeros_like(open_rows)
        best_margin = wavs.new_full((len(wavs),), -torch.inf)
        for share in self.tried:
            part = decision.select(open_rows)
            found, logits = self.best_of(
                candidates[open_rows],
                wavs.new_full((len(open_rows),), share),
                wavs[open_rows],
                features.select(open_rows),
                part,
            )
            if not logits.numel():  # one candidate: not asked yet
                logits = classify(decision, found.kept_input)[0]
            here = margin(logits, part.target, classifier.activation)
            p_kept = of_class(classifier.probabilities(logits), part.target)
            convinces = p_kept >= before[open_rows] - TIE
            if classifier.activation == "softmax":
                convinces &= logits.argmax(dim=1) == part.target
            take = convinces | (here > best_margin[open_rows])
            rows = open_rows[take]
            size[rows], chosen[rows] = share, found.candidate[take]
            best_margin[rows] = here[take]
            open_rows = open_rows[~convinces]
            if not len(open_rows):
                break
        rows = torch.arange(len(wavs), device=wavs.device)
        picked = candidates[rows, chosen]
        mask = soft_threshold(picked, features.magnitude, size, self.keep_by)
        explanation = self.explain_mask(mask, wavs, features, decision)
        return budgeted(explanation, rows, size, chosen, picked)


def budgeted(
    explanation: Explanation,
    rows: Tensor,
    size: Tensor,
    candidate: Tensor,
    scores: Tensor,
) -> BudgetedExplanation:
    """Select rows (B,) of an Explanation, and add what a BudgetedExplanation has."""
    values = {
        field.name: getattr(explanation, field.name)[rows]
        for field in fields(Explanation)
    }
    return BudgetedExplanation(**values, size=size, candidate=candidate, scores=scores)


def classify(decision: Decision, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the logits of several batches, in float32, as the decision's are."""
    with torch.autocast(decision.inputs.device.type, enabled=False):
        return decision.classifier.classify(*inputs)


def log_uniform(bounds: tuple[float, float], like: Tensor) -> Tensor:
    """Draw numbers of the shape of a tensor, log-uniformly between two bounds."""
    low, high = (math.log(bound) for bound in bounds)
    return (low + (high - low) * torch.rand_like(like)).exp()


def is_list(keep: object) -> bool:
    """Return whether a value of ``keep`` is a list of shares."""
    return isinstance(keep, Sequence) and not isinstance(keep, str)


def check_shares(
    setting: str, shares: Sequence[float | str], or_smallest: bool = False
) -> None:
    """Refuse shares that are not numbers above 0 and at most 1, or ``smallest``.

    Raises
    ------
    SettingError
    """
    if not is_list(shares) or not len(shares):
        raise SettingError(
            f'{setting} is {shares!r}: give --{setting} shares, such as "[0.25, 0.5]"'
        )
    for share in shares:
        if or_smallest and isinstance(share, str):
            if share != SMALLEST:
                raise SettingError(
                    f"{setting} is {share!r}: give --{setting} a number above 0 to 1, "
                    f"or {SMALLEST}"
                )
            continue
        require_number(setting, share, most=1)
