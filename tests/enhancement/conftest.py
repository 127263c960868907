"""A narrow mask estimator, and the embedded corpus as noisy speech."""

import pytest
import torch

from lmac_td.data.conditions.effects import Effects
from lmac_td.data.conditions.in_domain import InDomain
from lmac_td.data.conditions.speech_shaped import SpeechShaped
from lmac_td.data.prepare import prepare
from lmac_td.data.sources.utterances import Utterances
from lmac_td.enhancement.estimator import MaskEstimator
from lmac_td.features import SpectralFeatures


@pytest.fixture
def estimator():
    """A random estimator of nine frequencies whose masks are far from constant."""
    features = SpectralFeatures(16000, 16, 1, 0.5)
    estimator = MaskEstimator(features, hidden_size=3).eval()
    for parameter in estimator.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return estimator.requires_grad_(False)


@pytest.fixture
def noisy_speech(corpus, tmp_path):
    """Prepared utterances of the corpus in three noises; one-second clips."""
    return prepare(
        ("train", "valid", "test"),
        dataset=Utterances(corpus / "LJSpeech-1.1"),
        all_conditions={
            "in_domain": InDomain(corpus / "wham_noise", snr_db=0),
            "speech_shaped": SpeechShaped(snr_db=0),
            "effects": Effects(corpus / "ESC-50", snr_db=0),
        },
        output_folder=tmp_path / "results",
        fold_nums={"train": [1, 2], "valid": [3], "test": [4, 5]},
        sample_rate=16000,
        signal_length_s=1,
        mixing_seed=1,
        cache_folder=tmp_path / "cache",
        conditions=["in_domain", "speech_shaped", "effects"],
    )
