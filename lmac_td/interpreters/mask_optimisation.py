"""Mask optimisation: the mask of one clip, found by gradient steps at a given size.

Meaningful perturbation (Fong and Vedaldi, *Interpretable Explanations of Black Boxes by
Meaningful Perturbation*, 2017) optimises a mask for one input. Extremal perturbation
(Fong, Patrick and Vedaldi, *Understanding Deep Networks via Extremal Perturbations and
Smooth Masks*, 2019) fixes its size and asks for the best mask of this size. FLEXtime
(Brüsch et al., 2024) does the same over frequency bands of time series.

The optimum can be adversarial: it convinces the classifier and need not hold for
another one. A coarse grid, ``context`` and ``level_db`` make the search harder for such
masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from lmac_td.classifiers.check import dithered, require_finite_with_dither
from lmac_td.contracts import Classifier, Decision, require_gradients
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.budgeted import Scores, soft_threshold
from lmac_td.interpreters.budgeted.base import check_shares
from lmac_td.interpreters.budgeted.scores import pair_in_bins
from lmac_td.interpreters.budgeted.threshold import POWERS
from lmac_td.targets import margin
from lmac_td.validation import require_choice, require_count, require_number

CONTEXTS = (None, "noise", "shifted")
STARTS = ("flat", "evidence")


@dataclass(frozen=True)
class Clip:
    """One clip and the question about it.

    Attributes
    ----------
    stft : Tensor, complex (1, frames, bins)
    magnitude : Tensor (1, frames, bins)
    n_samples : int
    target : Tensor (1,)
    classifier : Classifier
    """

    stft: Tensor
    magnitude: Tensor
    n_samples: int
    target: Tensor
    classifier: Classifier


class MaskOptimisation(Scores):
    """Scores that are optimised for one clip, so that masks of given sizes convince.

    The scores are values on a coarse grid, interpolated to the bins of the STFT. Each
    step of Adam takes one of the sizes in turn and lowers ::

        -log p(kept) - removed_w log(1 - p(removed))

    where p is the probability of the target, and the mask is the soft threshold of the
    scores at this size (:func:`.soft_threshold`): the size is a constraint that holds
    exactly in every step. One run gives one ranking of the bins for all sizes.

    Clips are optimised one by one with the same random numbers, so a result depends on
    no other clip.

    Arguments
    ---------
    features : SpectralFeatures
    grid : pair of float
        Distance of the grid's values, (Hz, ms). A coarse grid gives smooth masks.
    shares : sequence of float
        The sizes.
    keep_by : str
        What they are shares of: ``amplitude`` or ``energy``.
    steps : int
        Steps of Adam. Each classifies two sounds and needs their gradient.
    step_size : float
        Learning rate of Adam.
    removed_w : float
        Weight of the removed part; 0 to look at the kept part only.
    context : str, optional
        What is put in place of the removed part, in some steps, while the classifier
        is asked for the kept part. ``noise``: noise with the mean spectrum of the clip.
        ``shifted``: the removed part, shifted in time. By default it is silence.
    context_share : float
        The share of the steps with a context.
    level_db : float
        The level of both parts is drawn anew for each step, up to this many dB up or
        down; 0 for none.
    start : str
        Where the search starts: ``flat``, all bins alike, or ``evidence``.
    evidence : Scores, optional
        The scores from which ``evidence`` starts.
    seed : int
        Seed of contexts and levels.
    progress : bool
        Whether a terminal shows a bar of the steps of each clip.

    Attributes
    ----------
    n_dithered : int
        How many clips were optimised with dither, because their gradients were not
        finite (digital silence).

    Raises
    ------
    SettingError
        If a setting has another value.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> from lmac_td.interpreters.budgeted import Budgeted
    >>> stft = SpectralFeatures(8000, 256, 32, 16)
    >>> network = torch.nn.Linear(8000, 2)
    >>> classifier = ModuleClassifier(network, 8000, ["a", "b"]).freeze()
    >>> scores = MaskOptimisation(stft, steps=3)
    >>> interpreter = Budgeted(stft, scores, keep=[0.1, 0.25])
    >>> wavs = torch.randn(2, 8000)
    >>> explanation = interpreter(wavs, stft(wavs), classifier.decide(wavs))
    >>> explanation.interpretation.shape
    torch.Size([2, 8000])
    """

    does = "searches, for each recording, the mask that convinces the classifier"
    searches = True
    remark = (
        "the scores of each clip are searched for by gradient steps: such masks can be "
        "adversarial, so compare the columns of a second classifier"
    )

    def __init__(
        self,
        features: SpectralFeatures,
        grid: Sequence[float] = (250, 100),
        shares: Sequence[float] = (0.1, 0.25, 0.5),
        keep_by: str = "amplitude",
        steps: int = 60,
        step_size: float = 0.3,
        removed_w: float = 1.0,
        context: str | None = None,
        context_share: float = 0.5,
        level_db: float = 0.0,
        start: str = "flat",
        evidence: Scores | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__()
        check_shares("shares", shares)
        require_choice("keep_by", keep_by, tuple(POWERS))
        require_count("steps", steps)
        require_number("step_size", step_size)
        require_number("removed_w", removed_w, least=0)
        if context not in CONTEXTS:
            raise SettingError(
                f"context is {context!r}: give --context noise, shifted or null"
            )
        require_number("context_share", context_share, least=0, most=1)
        require_number("level_db", level_db, least=0)
        require_choice("start", start, STARTS)
        if start == "evidence" and evidence is None:
            raise SettingError("start is evidence: give the setting evidence, too")
        self.features = features
        self.grid = pair_in_bins("grid", grid, features)
        self.shares = tuple(shares)
        self.keep_by = keep_by
        self.steps = steps
        self.step_size = step_size
        self.removed_w = removed_w
        self.context = context
        self.context_share = context_share
        self.level_db = level_db
        self.start = start
        self.evidence = evidence
        self.seed = seed
        self.progress = progress
        self.n_dithered = 0

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Scores.check`."""
        require_gradients(classifier, "mask optimisation")

    def candidates(self, wavs: Tensor, features: Features, decision: Decision):
        """See :meth:`Scores.candidates`; one candidate."""
        coarse = self.first_grid(wavs, features, decision)
        found = []
        for row in range(len(wavs)):
            here = slice(row, row + 1)
            clip = Clip(
                features.stft[here],
                features.magnitude[here],
                wavs.shape[-1],
                decision.target[here],
                decision.classifier,
            )
            found.append(self.finite_scores(clip, coarse[here]))
        return torch.cat(found).unsqueeze(1)

    def first_grid(self, wavs: Tensor, features: Features, decision: Decision):
        """Return the grid from which the search starts, (B, t, f)."""
        bins, frames = self.grid
        shape = features.magnitude.shape[1:]
        size = [
            max(1, round(n / step))
            for n, step in zip(shape, (frames, bins), strict=True)
        ]
        if self.start == "flat":
            return features.magnitude.new_zeros(len(wavs), *size)
        scores = self.evidence(wavs, features, decision).mean(dim=1, keepdim=True)
        return F.adaptive_avg_pool2d(scores, size).squeeze(1)

    def finite_scores(self, clip: Clip, coarse: Tensor) -> Tensor:
        """Call :meth:`optimise`; if a gradient is not finite, again with dither.

        Raises
        ------
        DataError
            If it is not finite with dither either.
        """
        scores = self.optimise(clip, coarse)
        if scores.isfinite().all():
            return scores
        with dithered(clip.classifier):
            scores = self.optimise(clip, coarse)
        require_finite_with_dither(scores, clip.classifier)
        self.n_dithered += 1
        return scores

    def optimise(self, clip: Clip, coarse: Tensor) -> Tensor:
        """Optimise the scores of one clip.

        Arguments
        ---------
        clip : Clip
        coarse : Tensor (1, t, f)
            The grid from which the search starts.

        Returns
        -------
        Tensor (1, frames, bins)
        """
        generator = torch.Generator().manual_seed(self.seed)
        shape = clip.magnitude.shape[1:]
        bar = tqdm(
            range(self.steps),
            desc="mask optimisation",
            unit="step",
            leave=False,
            dynamic_ncols=True,
            disable=None if self.progress else True,  # None: terminals show it
        )
        with torch.enable_grad(), torch.autocast(coarse.device.type, enabled=False):
            grid = coarse.detach().float().clone().requires_grad_()
            adam = torch.optim.Adam([grid], lr=self.step_size)
            for step in bar:
                share = self.shares[step % len(self.shares)]
                loss = self.loss(on_bins(grid, shape), share, clip, generator)
                (grid.grad,) = torch.autograd.grad(loss, grid)
                adam.step()
        return on_bins(grid.detach(), shape)

    def loss(
        self, scores: Tensor, share: float, clip: Clip, generator: torch.Generator
    ) -> Tensor:
        """Compute the loss of scores (1, frames, bins) at one size."""
        size = clip.magnitude.new_tensor([share])
        mask = soft_threshold(scores, clip.magnitude, size, self.keep_by)
        kept, removed = mask * clip.stft, (1 - mask) * clip.stft
        # The same numbers are drawn in every step, so no setting changes the others.
        here, level, shift = torch.rand(3, generator=generator).tolist()
        noise = torch.randn(clip.n_samples, generator=generator)
        if self.context is not None and here < self.context_share:
            kept = kept + self.beside(mask, removed, clip, shift, noise)
        gain = 10 ** ((2 * level - 1) * self.level_db / 20)
        spectra = gain * (kept if not self.removed_w else torch.cat([kept, removed]))
        sounds = self.features.istft(spectra, clip.n_samples)
        (logits,) = clip.classifier.classify(clip.classifier.inputs_of(sounds))
        target = clip.target.expand(len(logits))
        odds = margin(logits, target, clip.classifier.activation)
        loss = F.softplus(-odds[0])  # -log p
        if self.removed_w:
            loss = loss + self.removed_w * F.softplus(odds[1])  # -log(1 - p)
        return loss

    def beside(
        self, mask: Tensor, removed: Tensor, clip: Clip, shift: float, noise: Tensor
    ) -> Tensor:
        """Return the STFT of what is put in place of the removed part.

        Arguments
        ---------
        mask : Tensor (1, frames, bins)
        removed : Tensor, complex (1, frames, bins)
        clip : Clip
        shift : float
            From 0 to 1: the shift in time as a share of the clip.
        noise : Tensor (T,)
            White noise.
        """
        if self.context == "shifted":
            n_frames = removed.shape[1]
            return removed.roll(math.floor(shift * n_frames), dims=1)
        spectrum = self.features.stft(noise.to(clip.magnitude).unsqueeze(0))
        level = spectrum.abs().square().mean().sqrt()
        of_clip = clip.magnitude.square().mean(dim=1, keepdim=True).sqrt()
        return (1 - mask) * of_clip * spectrum / level


def on_bins(grid: Tensor, shape: torch.Size) -> Tensor:
    """Interpolate values (B, t, f) linearly to the bins of an STFT.

    Example
    -------
    >>> on_bins(torch.tensor([[[0.0, 4.0]]]), torch.Size([1, 4]))
    tensor([[[0., 1., 3., 4.]]])
    """
    return F.interpolate(
        grid.unsqueeze(1), size=tuple(shape), mode="bilinear", align_corners=False
    ).squeeze(1)
