"""Representations of CNN14's geometry, and a U-Net that sums its input."""

import numpy as np
import torch

from lmac_td.contracts import Geometry

SAMPLE_RATE, HOP, STRIDE = 16000, 186, 8  # 11.625 ms STFT frames, 0.5 ms frames


POOLINGS = (5, 5, 4, 3)  # of the four representations, deepest first


def geometry_of(channels, mel_bins=80, poolings=POOLINGS):
    """Of CNN14's blocks, deepest first."""
    return [
        Geometry("", c, mel_bins // 2**d, 2**d * HOP, (2**d - 1) / 2 * HOP)
        for c, d in zip(channels, poolings, strict=True)
    ]


def sizes(seconds):
    """Return STFT frames and encoder frames of a clip."""
    n_samples = int(seconds * SAMPLE_RATE)
    return n_samples // HOP + 1, -(-n_samples // STRIDE) + 1


def zeros(channels, n_stft_frames, mel_bins=80):
    """Return four silent representations of a clip."""
    return [
        torch.zeros(1, c, n_stft_frames // 2**d, mel_bins // 2**d, dtype=torch.float64)
        for c, d in zip(channels, POOLINGS, strict=True)
    ]


def linear(unet):
    """Make a U-Net sum its input: constant weights and no bias, so ReLUs are idle."""
    for name, parameter in unet.named_parameters():
        torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.1)
    return unet.double()


def centre(h):
    """Return the centre of mass of |H_d| (1, K, T') along T', in samples."""
    mass = h.detach().abs().sum(dim=(0, 1)).numpy()
    return (mass * np.arange(len(mass))).sum() / mass.sum() * STRIDE


def expected_centre(index, poolings):
    """Average the centres of the STFT frames that are pooled into one index."""
    frames = [index]
    for _ in range(poolings):
        frames = [half for frame in frames for half in (2 * frame, 2 * frame + 1)]
    return np.mean(frames) * HOP
