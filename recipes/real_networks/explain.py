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

import torch
from sounds import mix_notes, mix_speech, pairs_of_notes
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.errors import DataError, SettingError, exit_on_user_error
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted import BinGains, Budgeted, BudgetedExplanation
from lmac_td.metrics import kept_gain, kept_of_source_db, si_sdr_db, temporal_auc
from lmac_td.targets import margin

SAMPLE_RATE = 16000  # Hz
# A window of 64 ms resolves the harmonics of notes; n_fft is its length.
N_FFT, WINDOW_MS, HOP_MS = 1024, 64, 16
NOTES_S = 2


class Explained:
    """What a classifier says of mixtures, and of the parts that are kept.

    Arguments
    ---------
    classifier : Classifier
        With sigmoids.
    wavs : Tensor (B, T)
    target : Tensor (B,)
        The class that each clip is explained for.
    """

    def __init__(self, classifier: Classifier, wavs: Tensor, target: Tensor) -> None:
        self.classifier = classifier
        self.wavs = wavs
        self.stft = SpectralFeatures(SAMPLE_RATE, N_FFT, WINDOW_MS, HOP_MS)
        self.features = self.stft(wavs)
        with torch.no_grad():
            self.decision = replace(classifier.decide(wavs), target=target)
        # The same evidence serves every share.
        self.evidence = BinGains(self.stft)

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
    for hz in pairs_of_notes(n, generator):
        mixture, notes = mix_notes(hz, NOTES_S, generator)
        wavs = mixture.expand(2, -1)
        asked = torch.tensor([class_of_pitch(f) for f in hz])
        explained = Explained(classifier, wavs, asked)
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
