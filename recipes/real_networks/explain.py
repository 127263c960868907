#!/usr/bin/env python
"""Explain two networks that come with their weights. Nothing is trained.

    python recipes/real_networks/explain.py --speech LJSpeech-1.1 --noise ESC-10/audio

torchcrepe is asked for either of two notes that sound together. silero-vad detects
speech in noise. The sources are known, so the command measures how far what is kept is
the source that was asked for. It needs silero-vad and torchcrepe:
pip install 'lmac-td[real]'.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sounds import mix_notes, mix_speech, pairs_of_notes
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.errors import DataError, SettingError, exit_on_user_error
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted import BinGains, Budgeted, BudgetedExplanation
from lmac_td.metrics import kept_gain, kept_of_source_db, si_sdr_db, temporal_auc
from lmac_td.targets import margin
from lmac_td.validation import require_number

SAMPLE_RATE = 16000  # Hz
# A window of 64 ms resolves the harmonics of notes; n_fft is its length.
N_FFT, WINDOW_MS, HOP_MS = 1024, 64, 16
NOTES_S = 2
# The harmonics of a note are narrow and steady, so one long kernel of one bin is enough
# and no choice is needed. CREPE normalises each frame, so overall gains change nothing.
# Fields hide some harmonics, so that the others show that they count, too.
NOTES_EVIDENCE = {
    "kernels": [(15, 600)],
    "gains": [1.0],
    "draws": 8,
    "fields": (125, 128),
}


class Explained:
    """What a classifier says of mixtures, and of the parts that are kept.

    Arguments
    ---------
    classifier : Classifier
        With sigmoids.
    wavs : Tensor (B, T)
    target : Tensor (B,)
        The class that each clip is explained for.
    **evidence
        Arguments of ``BinGains``; its defaults otherwise.
    """

    def __init__(
        self, classifier: Classifier, wavs: Tensor, target: Tensor, **evidence: Any
    ) -> None:
        self.classifier = classifier
        self.wavs = wavs
        self.stft = SpectralFeatures(SAMPLE_RATE, N_FFT, WINDOW_MS, HOP_MS)
        self.features = self.stft(wavs)
        with torch.no_grad():
            self.decision = replace(classifier.decide(wavs), target=target)
        # The same evidence serves every share.
        self.evidence = BinGains(self.stft, **evidence)

    def keep(self, share: float) -> BudgetedExplanation:
        """Keep a share of the amplitude."""
        interpreter = Budgeted(self.stft, self.evidence, keep=share)
        return interpreter(self.wavs, self.features, self.decision)

    def logit(self, inputs: Tensor | None = None) -> Tensor:
        """Return the target's logit (B,) of inputs; by default of the mixtures."""
        logits = self.decision.logits
        if inputs is not None:
            with torch.no_grad():
                logits = self.classifier.classify(inputs)[0]
        return margin(logits, self.decision.target, self.classifier.activation)

    def kept_db(self, explanation: BudgetedExplanation, source: Tensor) -> Tensor:
        """Return how much of a source (B, T) is kept, in dB, (B,)."""
        gain = kept_gain(explanation.magnitude, self.features.magnitude)
        return kept_of_source_db(gain, self.stft(source).magnitude)


def measure_notes(classifier: Classifier, n: int, seed: int) -> dict[str, Tensor]:
    """Ask for either note of ``n`` mixtures; return each measure, (2 n,)."""
    from crepe import class_of_pitch

    generator = torch.Generator().manual_seed(seed)
    rows = []
    for hz in pairs_of_notes(n):
        mixture, notes = mix_notes(hz, NOTES_S, generator)
        wavs = mixture.expand(2, -1)
        asked = torch.tensor([class_of_pitch(f) for f in hz])
        explained = Explained(classifier, wavs, asked, **NOTES_EVIDENCE)
        half = explained.keep(0.5)
        better = si_sdr_db(half.interpretation, notes) - si_sdr_db(wavs, notes)
        rows.append(
            {
                "SI-SDRi of the asked note, dB": better,
                "asked note kept, dB": explained.kept_db(half, notes),
                "other note kept, dB": explained.kept_db(half, notes.flip(0)),
                "logit of the mixture": explained.logit(),
                "logit of what is kept": explained.logit(half.kept_input),
                "logit of what is removed": explained.logit(half.removed_input),
            }
        )
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def measure_speech(
    classifier: Classifier, mixtures: Tensor, speech: Tensor, noise: Tensor
) -> dict[str, Tensor]:
    """Explain speech in mixtures (B, T) of two sources; return each measure, (B,)."""
    target = torch.zeros(len(mixtures), dtype=torch.int64)
    explained = Explained(classifier, mixtures, target)
    half, quarter = explained.keep(0.5), explained.keep(0.25)
    kept = explained.logit(half.kept_input)

    def auc(magnitude: Tensor) -> Tensor:
        hop = explained.stft.hop_samples
        source = explained.stft(speech).magnitude
        return temporal_auc(magnitude.log1p(), source, SAMPLE_RATE, hop)

    def ahead(explanation: BudgetedExplanation) -> Tensor:
        of_speech = explained.kept_db(explanation, speech)
        return of_speech - explained.kept_db(explanation, noise)

    return {
        "half: surer than of the mixture": (kept > explained.logit()).float(),
        "half: speech ahead of noise, dB": ahead(half),
        "quarter: speech ahead of noise, dB": ahead(quarter),
        "mixture: AUC (time)": auc(explained.features.magnitude),
        "half: AUC (time)": auc(half.magnitude),
        "quarter: AUC (time)": auc(quarter.magnitude),
        "logit of the mixture": explained.logit(),
        "logit of the kept half": kept,
        "logit of the removed half": explained.logit(half.removed_input),
    }


# What a good explanation reaches at least (or at most), by measure.
NOTES_GOALS = {
    "SI-SDRi of the asked note, dB": "at least 12",
    "asked note kept, dB": "at least -1",
    "other note kept, dB": "at most -14",
}
SPEECH_GOALS = {
    "half: surer than of the mixture": "1",
    "quarter: speech ahead of noise, dB": "at least 4.8",
    "quarter: AUC (time)": "at least 0.84",
}


def to_markdown(title: str, measured: dict[str, Tensor], goals: dict[str, str]) -> str:
    """Write means and extremes of measures beside their goals, as a table."""
    lines = [f"| {title} | mean | lowest | highest | goal of the mean |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name, values in measured.items():
        numbers = values.mean(), values.min(), values.max()
        cells = [name, *(f"{x.item():.2f}" for x in numbers), goals.get(name, "")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def load_classifiers() -> tuple[Classifier, Classifier]:
    """Load torchcrepe and silero-vad.

    Raises
    ------
    SettingError
        If a package is not installed.
    """
    try:
        from crepe import crepe_classifier
        from silero import silero_classifier

        return crepe_classifier(), silero_classifier()
    except ModuleNotFoundError as error:
        raise SettingError(
            f"the package {error.name} is not installed: pip install 'lmac-td[real]'"
        ) from error


def report(title: str, goals: dict[str, str], measure: Callable, *arguments) -> None:
    """Measure, and print the table and how long it took."""
    start = time.perf_counter()
    measured = measure(*arguments)
    seconds = time.perf_counter() - start
    print(to_markdown(title, measured, goals))
    print(f"({seconds:.0f} s)\n", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Explain both networks and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("speech", "noise"):
        parser.add_argument(
            f"--{name}", required=True, help=f"folder with recordings of {name}"
        )
    parser.add_argument("--seed", type=int, default=0, help="draws all mixtures")
    parser.add_argument("--pairs", type=int, default=10, help="mixtures of two notes")
    parser.add_argument("--clips", type=int, default=12, help="clips of speech")
    options = parser.parse_args(argv)
    for name in ("pairs", "clips"):
        require_number(name, getattr(options, name))
    for name in ("speech", "noise"):
        folder = Path(getattr(options, name))
        if not folder.is_dir():
            raise DataError(
                f"--{name}: {folder} is not a folder: give one with recordings"
            )
    crepe, silero = load_classifiers()
    mixed = mix_speech(options.speech, options.noise, options.clips, options.seed)
    report("silero-vad", SPEECH_GOALS, measure_speech, silero, *mixed)
    report("torchcrepe", NOTES_GOALS, measure_notes, crepe, options.pairs, options.seed)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
