"""Explain one recording, window by window, in memory that does not grow with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lmac_td.contracts import Classifier
from lmac_td.errors import DataError, LoadAudioError
from lmac_td.evaluation.batches import DecidedBatch, decide
from lmac_td.evaluation.explaining import answer, explain, stft_mask
from lmac_td.features import SpectralFeatures
from lmac_td.inference.dial import dial_of, scores_of
from lmac_td.inference.framing import Framing, Windows
from lmac_td.inference.interpretation import DialSound, Interpretation
from lmac_td.inference.sounds import Sound
from lmac_td.inference.targets import chosen, of_recording
from lmac_td.inference.tracks import CrossFade, Track
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.budgeted import share_kept
from lmac_td.metrics.confidence import of_class
from lmac_td.report.page.content import Segment

# About two frames of a spectrogram.
EXPLAINED_FROM_S = 0.05
ENERGY = "energy"


@dataclass(frozen=True)
class Explainer:
    """Everything that explains a recording.

    Attributes
    ----------
    classifier : Classifier
        Frozen, on the device.
    interpreter : Interpreter
        On the device.
    features : SpectralFeatures
        On the device.
    framing : Framing
    method : str
        Name of the interpreter.
    device : str
    """

    classifier: Classifier
    interpreter: Interpreter
    features: SpectralFeatures
    framing: Framing
    method: str
    device: str = "cpu"

    def __call__(
        self,
        sound: Sound,
        target: str | int | None,
        shares: Sequence[float] = (),
        progress: bool = False,
    ) -> list[Interpretation]:
        """Explain a recording, once for each target.

        Arguments
        ---------
        sound : Sound
        target : str, int or None
            See :func:`lmac_td.inference.targets.chosen`.
        shares : sequence of float
            Of the dial.
        progress : bool
            Whether a terminal shows a bar of the windows of a long recording.

        Returns
        -------
        list of Interpretation

        Raises
        ------
        LoadAudioError
            If the recording cannot be read, is silent or too short.
        SettingError
            If there is no such label.
        """
        decisions = self.decide(sound)
        whole = of_recording(decisions.probabilities, self.classifier.activation)
        return [
            _Explanation(self, sound, decisions, index, shares).made(progress)
            for index in chosen(target, whole, self.classifier)
        ]

    def windows(self, sound: Sound) -> Iterator[Windows]:
        """Cut a recording into batches of windows."""
        rate = self.classifier.sample_rate
        return self.framing.batches(sound.blocks(rate), rate)

    @torch.no_grad()
    def decide(self, sound: Sound) -> Decisions:
        """Let the classifier decide on all windows.

        Raises
        ------
        LoadAudioError
            If the recording is silent or too short.
        DataError
            If the decision is not finite.
        """
        probabilities, starts, length, end, silent = [], [], 0, 0, True
        for windows in self.windows(sound):
            end = windows.starts[-1] + windows.n_samples
            if windows.is_rest:
                break
            wavs = windows.wavs.to(self.device)
            inputs = self.classifier.inputs_of(wavs)
            (logits,) = self.classifier.classify(inputs)
            self._require_finite(sound, logits, "decision of the classifier")
            probabilities.append(self.classifier.probabilities(logits).cpu())
            starts += windows.starts
            length = windows.n_samples
            silent = silent and bool(windows.silent.all())
        length_s = end / self.classifier.sample_rate
        if length_s < EXPLAINED_FROM_S:
            raise LoadAudioError(
                f"{sound.name} lasts {length_s:.3f} s, too short for an explanation: "
                f"give a recording of at least {EXPLAINED_FROM_S} s."
            )
        if silent:
            raise LoadAudioError(
                f"{sound.name} is silent, so there is nothing to explain: give another "
                "recording."
            )
        return Decisions(torch.cat(probabilities), tuple(starts), length, end)

    def _require_finite(self, sound: Sound, values: Tensor, what: str) -> None:
        if not values.isfinite().all():
            raise DataError(
                f"{sound.name}: the {what} is not finite, so nothing is written: check "
                f"the weights of {self.classifier.name} and of {self.method}."
            )


@dataclass(frozen=True)
class Decisions:
    """What a classifier decided on the windows of a recording.

    Attributes
    ----------
    probabilities : Tensor (n, C)
    starts : tuple of int
        Of the windows, in samples.
    length : int
        Samples of every window.
    n_samples : int
        Of the recording.
    """

    probabilities: Tensor
    starts: tuple[int, ...]
    length: int
    n_samples: int

    def borders(self) -> list[int]:
        """Return n + 1 samples: the windows' middles, without their overlap."""
        middles = [start + self.length / 2 for start in self.starts]
        between = [round((a + b) / 2) for a, b in itertools.pairwise(middles)]
        return [0, *between, self.n_samples]


class _Explanation:
    """The explanation of one recording for one target, while it is made."""

    def __init__(
        self,
        explainer: Explainer,
        sound: Sound,
        decisions: Decisions,
        target: int,
        shares: Sequence[float],
    ) -> None:
        self.explainer, self.recording, self.decisions = explainer, sound, decisions
        self.target, self.shares = target, tuple(shares)
        names = ("sound", "interpretation", "residual", *self.shares)
        self.tracks = {name: Track() for name in names}
        self.fades = {name: CrossFade(track) for name, track in self.tracks.items()}
        # Of the target, by the name of the part and the window.
        parts = ("kept", "removed")
        self.p = {(n, part): [] for n in (None, *self.shares) for part in parts}
        self.window_mask = None
        self.energy, self.energy_kept = 0.0, 0.0

    @torch.no_grad()
    def made(self, progress: bool = False) -> Interpretation:
        """Explain all windows, and return the result."""
        first, n_windows = 0, len(self.decisions.starts)
        bar = tqdm(
            total=n_windows,
            desc=self.recording.name,
            unit="window",
            leave=False,
            dynamic_ncols=True,
            disable=None if progress and n_windows > 1 else True,  # None: on a terminal
        )
        with bar:
            for windows in self.explainer.windows(self.recording):
                if windows.is_rest:
                    self.remove(windows)
                    break
                p = self.decisions.probabilities[first : first + len(windows.starts)]
                self.add(windows, p[:, self.target])
                first += len(windows.starts)
                bar.update(len(windows.starts))
        for fade in self.fades.values():
            fade.finish()
        return self.result()

    def add(self, windows: Windows, p: Tensor) -> None:
        """Explain a batch of windows; p (B,) is the target's probability in each."""
        sounding = (~windows.silent).nonzero().squeeze(1)
        wavs = windows.wavs[:, : windows.n_samples] / windows.gains
        self.fade("sound", windows, wavs)
        # Of a silent window, silence is kept and removed.
        parts = {name: torch.zeros_like(wavs) for name in self.fades if name != "sound"}
        answers = {name: p.clone() for name in self.p}
        if len(sounding):
            gains = windows.gains[sounding]
            for name, wav in self.explained(windows, sounding, answers).items():
                parts[name][sounding] = wav[:, : windows.n_samples] / gains
        for name, part in parts.items():
            self.fade(name, windows, part)
        for name, values in answers.items():
            self.p[name] += values.tolist()

    def remove(self, rest: Windows) -> None:
        """Add the short rest of a recording, of which nothing is kept."""
        for name in self.fades:
            whole = name in ("sound", "residual")
            self.fade(name, rest, rest.wavs if whole else torch.zeros_like(rest.wavs))

    def explained(
        self, windows: Windows, rows: Tensor, answers: dict
    ) -> dict[str, Tensor]:
        """Explain the windows that have a sound; fill the answers for their parts."""
        explainer = self.explainer
        classifier, features = explainer.classifier, explainer.features
        wavs = windows.wavs[rows].to(explainer.device)
        spectra, decision = decide(wavs, features, classifier)
        target = torch.full_like(decision.target, self.target)
        names = [str(windows.starts[row]) for row in rows.tolist()]
        decided = DecidedBatch(
            names, target, wavs, spectra, replace(decision, target=target)
        )
        explained = answer(explain(decided, explainer.interpreter))
        mask = stft_mask(explained)
        if len(self.decisions.starts) == 1:
            self.window_mask = self.mask_of(mask[0].cpu())
        magnitude = spectra.magnitude / windows.gains[rows].to(mask).unsqueeze(2)
        energy = magnitude.square().sum(dim=(1, 2))
        self.energy += float(energy.sum())
        self.energy_kept += float((energy * share_kept(mask, magnitude, ENERGY)).sum())
        for part, logits in (
            ("kept", explained.kept_logits), ("removed", explained.removed_logits)
        ):  # fmt: skip
            p = of_class(classifier.probabilities(logits), target)
            answers[None, part][rows] = p.cpu()
        sounds = {
            "interpretation": explained.explanation.interpretation.cpu(),
            "residual": explained.explanation.residual.cpu(),
        }
        for values in (mask, *sounds.values()):
            explainer._require_finite(self.recording, values, "explanation")
        if self.shares:
            scores = scores_of(explained)
            for setting in dial_of(decided, scores, features, self.shares):
                answers[setting.share, "kept"][rows] = setting.probability.cpu()
                removed = setting.probability_removed.cpu()
                answers[setting.share, "removed"][rows] = removed
                sounds[setting.share] = setting.explanation.interpretation.cpu()
        return sounds

    def mask_of(self, mask: Tensor) -> Tensor:
        """Return the mask (frames, bins) of the recording by that of its only window.

        Padding is cut, and the rest of the recording is removed.
        """
        n_frames = self.explainer.features.n_frames(self.decisions.n_samples)
        missing = max(0, n_frames - len(mask))
        return torch.nn.functional.pad(mask[:n_frames], (0, 0, 0, missing))

    def fade(self, name: str | float, windows: Windows, wavs: Tensor) -> None:
        """Add windows (B, T) to one of the sounds."""
        for start, wav in zip(windows.starts, wavs, strict=True):
            self.fades[name].add(start, wav)

    def whole(self, name: float | None, part: str) -> float:
        """Return the target's probability for a part of the whole recording."""
        p = torch.tensor(self.p[name, part]).unsqueeze(1)
        return float(of_recording(p, self.explainer.classifier.activation))

    def result(self) -> Interpretation:
        """Return the result when all windows are explained."""
        explainer, classifier = self.explainer, self.explainer.classifier
        whole = of_recording(self.decisions.probabilities, classifier.activation)
        order = whole.argsort(descending=True, stable=True).tolist()
        return Interpretation(
            name=self.recording.name,
            method=explainer.method,
            about=explainer.interpreter.about(),
            sample_rate=classifier.sample_rate,
            labels={classifier.labels[i]: float(whole[i]) for i in order},
            target=classifier.labels[self.target],
            probability=float(whole[self.target]),
            probability_kept=self.whole(None, "kept"),
            probability_removed=self.whole(None, "removed"),
            share_kept=min(1.0, self.energy_kept / self.energy),
            timeline=tuple(self.segments()),
            features=explainer.features,
            tracks={
                name: self.tracks[name]
                for name in ("sound", "interpretation", "residual")
            },
            window_mask=self.window_mask,
            dial=tuple(
                DialSound(
                    share,
                    self.whole(share, "kept"),
                    self.whole(share, "removed"),
                    self.tracks[share],
                )
                for share in self.shares
            ),
        )

    def segments(self) -> Iterator[Segment]:
        """Yield the timeline."""
        classifier = self.explainer.classifier
        borders = np.array(self.decisions.borders()) / classifier.sample_rate
        removed = self.p[None, "removed"]
        for i, p in enumerate(self.decisions.probabilities):
            label = int(p.argmax())
            yield Segment(
                start_s=float(borders[i]),
                end_s=float(borders[i + 1]),
                label=classifier.labels[label],
                probability=float(p[label]),
                relevance=max(0.0, float(p[self.target]) - removed[i]),
            )
