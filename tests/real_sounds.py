"""Recordings of speech and noise for the recipe of the real networks."""

import numpy as np
import torch

from lmac_td.audio import save_audio
from lmac_td.data.demo.speech import make_speech
from tests.networks import noise

RATE = 16000


def save_recordings(folder, n):
    """Write ``n`` recordings of speech and of noise; return both folders by name."""
    for k in range(n):
        speech = make_speech(np.random.default_rng(k), 3 * RATE, RATE)
        speech = torch.tensor(speech / np.abs(speech).max(), dtype=torch.float32)
        save_audio(folder / "speech" / f"{k}.wav", 0.5 * speech, RATE)
        save_audio(folder / "noise" / f"{k}.wav", 0.02 * noise(1, RATE)[0], RATE)
    return {"speech": folder / "speech", "noise": folder / "noise"}
