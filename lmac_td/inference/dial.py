"""The dial: one explanation, cut to several shares of the sound's energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lmac_td.audio import save_audio
from lmac_td.contracts import ExplainedBatch, Explanation
from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.evaluation.explaining import explain, stft_mask
from lmac_td.features import SpectralFeatures
from lmac_td.inference.pictures import spectrogram_picture
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.budgeted import soft_threshold
from lmac_td.interpreters.budgeted.scores import scaled
from lmac_td.metrics.confidence import of_class
from lmac_td.report.page.content import DialStep, PageClip, Segment
from lmac_td.report.samples import BITS

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
MOST_LABELS = 5


@dataclass(frozen=True)
class DialSetting:
    """A batch's explanations, cut to one share, and the target's probabilities.

    Attributes
    ----------
    share : float
        Of the energy that is kept.
    explanation : Explanation
        With ``mask`` (B, frames, bins).
    probability, probability_removed : Tensor (B,)
        Of the target, for what is kept and for what is removed.
    """

    share: float
    explanation: Explanation
    probability: Tensor
    probability_removed: Tensor


def dial(
    decided: DecidedBatch,
    interpreter: Interpreter,
    spectral_features: SpectralFeatures,
    shares: Sequence[float] = SHARES,
) -> list[DialSetting]:
    """Cut the explanations of a batch to several shares of its energy.

    Arguments
    ---------
    decided : DecidedBatch
        B entries with their targets.
    interpreter : Interpreter
    spectral_features : SpectralFeatures
    shares : sequence of float
        Above 0 and at most 1.

    Returns
    -------
    list of DialSetting
        In the order of ``shares``; see :func:`dial_of`.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> from lmac_td.evaluation.batches import decide
    >>> from lmac_td.interpreters.budgeted import BinGains, Budgeted, share_kept
    >>> stft = SpectralFeatures(8000, 256, 32, 16)
    >>> network = torch.nn.Linear(8000, 2)
    >>> classifier = ModuleClassifier(network, 8000, ["a", "b"]).freeze()
    >>> wavs = torch.randn(1, 8000)
    >>> features, decision = decide(wavs, stft, classifier)
    >>> batch = DecidedBatch(["clip"], decision.target, wavs, features, decision)
    >>> settings = dial(batch, Budgeted(stft, BinGains(stft)), stft, [0.1, 1.0])
    >>> masks = [setting.explanation.mask for setting in settings]
    >>> [share_kept(m, features.magnitude, "energy").item().__round__(3) for m in masks]
    [0.1, 1.0]
    """
    with torch.no_grad():
        scores = scores_of(explain(decided, interpreter))
    return dial_of(decided, scores, spectral_features, shares)


def scores_of(explained: ExplainedBatch) -> Tensor:
    """Return by what an explanation ranks the bins of the STFT, (B, frames, bins).

    These are the scores of a budgeted interpreter, or else the mask of the STFT.

    Arguments
    ---------
    explained : ExplainedBatch
    """
    scores = getattr(explained.explanation, "scores", None)
    if scores is None:
        scores = scaled(stft_mask(explained).detach().float())
    return scores.detach().float()


@torch.no_grad()
def dial_of(
    decided: DecidedBatch,
    scores: Tensor,
    spectral_features: SpectralFeatures,
    shares: Sequence[float] = SHARES,
) -> list[DialSetting]:
    """Keep the bins with the highest scores, up to several shares of the energy.

    What a share keeps, a larger one keeps, too. The classifier is given the sounds; all
    of the sound it has decided already.

    Arguments
    ---------
    decided : DecidedBatch
        B entries with their targets.
    scores : Tensor (B, frames, bins)
        See :func:`scores_of`.
    spectral_features : SpectralFeatures
    shares : sequence of float
        Above 0 and at most 1.

    Returns
    -------
    list of DialSetting
        In the order of ``shares``.
    """
    wavs, features, decision = decided.wavs, decided.features, decided.decision
    classifier, target = decision.classifier, decision.target
    resynthesis = Interpreter(spectral_features)
    settings = []
    for share in shares:
        size = features.magnitude.new_full((len(wavs),), share)
        mask = soft_threshold(scores, features.magnitude, size, keep_by="energy")
        explanation = resynthesis.explain_mask(mask, wavs, features, decision)
        parts = [explanation.kept_input, explanation.removed_input]
        # Of all of the sound the classifier has decided already.
        unknown = parts if share < 1 else parts[1:]
        answers = [
            of_class(classifier.probabilities(logits), target)
            for logits in classifier.classify(*unknown)
        ]
        if share == 1:
            answers.insert(0, of_class(decision.probabilities, target))
        settings.append(DialSetting(share, explanation, *answers))
    return settings


def write_clip(
    folder: Path,
    name: str,
    method: str,
    decided: DecidedBatch,
    settings: Sequence[DialSetting],
    spectral_features: SpectralFeatures,
    row: int = 0,
    start: int | None = None,
    timeline: Sequence[Segment] = (),
    metrics: Mapping[str, float] | None = None,
    label: str | None = None,
    condition: str | None = None,
    about: str = "",
) -> PageClip:
    """Write the sounds and pictures of one entry's dial.

    Arguments
    ---------
    folder : Path
        For this entry alone; created if it is missing. It gets ``input.wav``,
        ``input.png`` and, for each share such as 30 %, ``kept_30.wav``,
        ``removed_30.wav`` and ``mask_30.png``.
    name : str
        Of the recording.
    method : str
        Name of the interpreter.
    decided : DecidedBatch
    settings : sequence of DialSetting
        What :func:`dial` returned for the batch.
    spectral_features : SpectralFeatures
    row : int
        The entry's index in the batch.
    start : int, optional
        The step that is shown first; by default see :func:`first_step`.
    timeline, metrics, label, condition, about
        See :class:`~lmac_td.report.page.content.PageClip`.

    Returns
    -------
    PageClip
    """
    decision, rate = decided.decision, spectral_features.sample_rate
    n_samples = decided.wavs.shape[-1]
    if decided.n_samples is not None:
        n_samples = int(decided.n_samples[row])
    frames = spectral_features.n_frames(n_samples)
    magnitude = decided.features.magnitude[row, :frames]

    def sound(file: str, wavs: Tensor) -> Path:
        return save_audio(folder / f"{file}.wav", wavs[row, :n_samples], rate, BITS)

    def picture(file: str, mask: Tensor | None = None) -> Path:
        mask = None if mask is None else mask[row, :frames]
        spectrogram_picture(folder / f"{file}.png", magnitude, mask)
        return folder / f"{file}.png"

    steps = []
    for setting in settings:
        percent, explanation = f"{100 * setting.share:g}", setting.explanation
        step = DialStep(
            setting.share,
            sound(f"kept_{percent}", explanation.interpretation),
            sound(f"removed_{percent}", explanation.residual),
            float(setting.probability[row]),
            float(setting.probability_removed[row]),
            picture(f"mask_{percent}", explanation.mask),
        )
        steps.append(step)
    probabilities = decision.probabilities[row]
    labels = decision.classifier.labels
    target = int(decision.target[row])
    return PageClip(
        name=name,
        method=method,
        target=labels[target],
        sound=sound("input", decided.wavs),
        picture=picture("input"),
        steps=tuple(steps),
        start=first_step(steps, float(probabilities[target]))
        if start is None
        else start,
        before=highest(probabilities, labels, labels[target]),
        timeline=tuple(timeline),
        metrics=dict(metrics or {}),
        label=label,
        condition=condition,
        about=about,
    )


def first_step(steps: Sequence[DialStep], probability: float) -> int:
    """Return the smallest step that is as convincing as the input.

    If there is none, this is the step with the highest probability.

    Arguments
    ---------
    steps : sequence of DialStep
    probability : float
        Of the target, for the input.
    """
    for index, step in enumerate(steps):
        if step.probability >= probability - 1e-6:
            return index
    return max(range(len(steps)), key=lambda index: steps[index].probability)


def highest(
    probabilities: Tensor, labels: Sequence[str], target: str
) -> tuple[tuple[str, float], ...]:
    """Return the labels that a page shows, see :func:`shown_labels`.

    Arguments
    ---------
    probabilities : Tensor (C,)
    labels : sequence of str
    target : str

    Example
    -------
    >>> highest(torch.tensor([0.25, 0.75]), ["cat", "dog"], "cat")
    (('dog', 0.75), ('cat', 0.25))
    """
    values, indices = probabilities.float().sort(descending=True, stable=True)
    pairs = zip(indices.tolist(), values.tolist(), strict=True)
    return shown_labels({labels[index]: value for index, value in pairs}, target)


def shown_labels(
    probabilities: Mapping[str, float], target: str, most: int = MOST_LABELS
) -> tuple[tuple[str, float], ...]:
    """Return the labels with the highest probabilities; the target is among them.

    Arguments
    ---------
    probabilities : mapping of str to float
        Of all labels, highest first.
    target : str
    most : int
        So many labels at most.

    Example
    -------
    >>> shown_labels({"dog": 0.7, "cat": 0.2, "rain": 0.1}, "rain", most=2)
    (('dog', 0.7), ('rain', 0.1))
    """
    pairs = list(probabilities.items())
    if target in dict(pairs[:most]):
        return tuple(pairs[:most])
    return (*pairs[: most - 1], (target, probabilities[target]))
