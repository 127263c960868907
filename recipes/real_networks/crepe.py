"""torchcrepe as a classifier: which notes are in a clip?

The network scores 360 pitches, 20 cents apart, for each frame of 1024 samples at
16 kHz. Its wheel holds the weights, under the MIT licence:
https://github.com/maxrmorrison/torchcrepe
"""

import math
from pathlib import Path

import torch
import torchcrepe
from torch import Tensor, nn

from lmac_td.classifiers.modules import ModuleClassifier

SAMPLE_RATE = 16000  # Hz
FRAME, HOP = 1024, 320  # samples
CENTS, LOWEST_HZ = 20, 31.70
PITCHES_HZ = [LOWEST_HZ * 2 ** (CENTS * k / 1200) for k in range(360)]

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
A4_HZ, A4_SEMITONES = 440, 57  # above C0


class PitchInFrames(nn.Module):
    """Waveforms (B, T) at 16 kHz to probabilities (B, frames, 360) of pitches.

    Each frame is normalised by itself.

    Arguments
    ---------
    capacity : str
        ``tiny`` or ``full``.
    """

    def __init__(self, capacity: str = "tiny") -> None:
        super().__init__()
        weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"
        self.network = torchcrepe.Crepe(capacity)
        self.network.load_state_dict(torch.load(weights, weights_only=True))
        self.network.conv1 = InOneDimension(self.network.conv1)

    def forward(self, wavs: Tensor) -> Tensor:
        """Cut into frames, normalise them, and score each."""
        frames = wavs.unfold(1, FRAME, HOP)
        clips = frames.shape[:2]
        frames = frames - frames.mean(dim=2, keepdim=True)
        power = frames.square().mean(dim=2, keepdim=True)
        frames = frames / power.clamp(min=1e-10).sqrt()
        return self.network(frames.flatten(0, 1)).unflatten(0, clips)


class InOneDimension(nn.Module):
    """A convolution with kernels (k, 1), computed by ``conv1d``.

    It returns the same values. On CPUs the gradient of a strided ``conv2d`` with such
    kernels takes 20 times as long.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, channels, n, 1)."""
        weight, bias = self.convolution.weight, self.convolution.bias
        stride = self.convolution.stride[0]
        x = nn.functional.conv1d(x.squeeze(3), weight.squeeze(3), bias, stride)
        return x.unsqueeze(3)


def crepe_classifier(capacity: str = "tiny", top_frames: int = 100) -> ModuleClassifier:
    """Build the frozen classifier; its classes have names of :func:`name_of_pitch`.

    Inside the network the batch axis holds frames, not clips, so its modules give no
    representations.

    Arguments
    ---------
    capacity : str
        ``tiny`` or ``full``.
    top_frames : int
        The logit of a pitch is the mean of so many frames (20 ms each): those in which
        it is most likely. By default 2 s: notes sound longer than a syllable does.
    """
    return ModuleClassifier(
        PitchInFrames(capacity),
        sample_rate=SAMPLE_RATE,
        labels=[name_of_pitch(hz) for hz in PITCHES_HZ],
        activation="sigmoid",
        probabilities_out=True,
        top_frames=top_frames,
    ).freeze()


def name_of_pitch(hz: float) -> str:
    """Return the nearest note, and by how much a pitch differs, in steps of 20 cents.

    Example
    -------
    >>> [name_of_pitch(hz) for hz in (440, 442, 445.1, 277.18)]
    ['A4', 'A4', 'A4 +20 cents', 'C#4']
    """
    cents = 1200 * math.log2(hz / A4_HZ)
    semitones = round(cents / 100)
    steps = round((cents - 100 * semitones) / CENTS)
    octave, note = divmod(A4_SEMITONES + semitones, len(NOTES))
    name = f"{NOTES[note]}{octave}"
    return f"{name} {CENTS * steps:+d} cents" if steps else name


def class_of_pitch(hz: float) -> int:
    """Return the class whose pitch is nearest, in cents."""
    k = round(1200 * math.log2(hz / LOWEST_HZ) / CENTS)
    return min(max(k, 0), len(PITCHES_HZ) - 1)
