"""Black boxes that decide by one known part of a sound, and methods to explain them."""

import numpy as np
import torch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.evaluation.batches import decide
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.perturbation import (
    METHODS,
    Bands,
    FeatureAblation,
    KernelShap,
    Lime,
    RandomForest,
    Rise,
    Tiles,
    Windows,
)

RATE = 16000
WINDOW = slice(int(0.4 * RATE), int(0.6 * RATE))  # seconds
BAND = (2000, 3000)  # Hz
STFT = SpectralFeatures(RATE, n_fft=512, win_length=32, hop_length=16)


def in_band(wavs):
    """The part of sounds (B, T) between two frequencies, by an ideal filter."""
    spectrum = np.fft.rfft(wavs)
    hz = np.fft.rfftfreq(wavs.shape[1], 1 / RATE)
    spectrum[:, (hz < BAND[0]) | (hz >= BAND[1])] = 0
    return np.fft.irfft(spectrum, wavs.shape[1])


def level(wavs):
    return np.sqrt((wavs**2).mean(axis=1))


# What the class "event" is decided by.
TRUTHS = {
    "window": lambda wavs: level(wavs[:, WINDOW]),
    "band": lambda wavs: level(in_band(wavs)),
    "tile": lambda wavs: level(in_band(wavs)[:, WINDOW]),
}


def black_box(truth, seen=None):
    """A classifier whose event has the level of a window, a band or a tile as logit."""

    def function(wavs):
        if seen is not None:
            seen.append(len(wavs))
        event = 20 * TRUTHS[truth](wavs)
        return np.stack([event, np.full_like(event, -1)], axis=1)

    return BlackBoxClassifier(function, RATE, ["event", "nothing"]).freeze()


def true_bins(truth, shape):
    """The bins (frames, bins) of the known part."""
    frames = torch.arange(shape[0]) * STFT.hop_samples
    bins = torch.arange(shape[1]) * RATE / STFT.n_fft
    in_time = (frames >= WINDOW.start) & (frames < WINDOW.stop)
    in_frequency = (bins >= BAND[0]) & (bins < BAND[1])
    found = torch.ones(shape, dtype=torch.bool)
    if truth != "band":
        found &= in_time[:, None]
    if truth != "window":
        found &= in_frequency[None, :]
    return found


def segments_of(truth):
    return {
        "window": Windows(STFT, 100),
        "band": Bands(STFT, 500),
        "tile": Tiles(STFT, 1000, 200),
    }[truth]


def method_for(name, truth, **settings):
    """A method over segments that fit the known part."""
    if name == "rise":
        grid = {"window": (8000, 100), "band": (500, 1000), "tile": (1000, 200)}
        return Rise(STFT, rise_grid=grid[truth], **settings)
    return METHODS[name](STFT, segments=segments_of(truth), **settings)


def few_calls(name, n_calls=64):
    """A quick method with its default segments, made coarse."""
    tiles = Tiles(STFT, 4000, 500)
    if name.startswith(("slime", "audiolime")):
        return lambda **s: METHODS[name](STFT, tiles, n_calls=n_calls, **s)
    return {
        "feature_ablation": lambda **s: FeatureAblation(STFT, tiles, **s),
        "kernel_shap": lambda **s: KernelShap(STFT, tiles, n_calls=n_calls, **s),
        "lime": lambda **s: Lime(STFT, tiles, n_calls=n_calls, **s),
        "rise": lambda **s: Rise(STFT, n_calls=n_calls, **s),
        "random_forest": lambda **s: RandomForest(STFT, n_calls=n_calls, **s),
    }[name]


def decided(classifier, wavs):
    return wavs, *decide(wavs, STFT, classifier)
