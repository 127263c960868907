"""The condition ``speech_shaped``: white noise with the spectrum of speech.

"Obtained by applying a 'speech-like' filter to white noise. [...] A different
speech-like filter is computed for every noisy utterance by randomly drawing 6 clean
speech utterances and averaging their STFT magnitude spectra across all time frames"
(Sivasankaran, Vincent and Fohr, Interspeech 2021, section 5.1).
"""

import functools

import torch
from torch import Tensor

from lmac_td.data.cache import load_decoded
from lmac_td.data.conditions.base import Condition, Interference, SplitSetup
from lmac_td.features import SpectralFeatures
from lmac_td.reading import read_json

N_UTTERANCES = 6
WINDOW_MS, HOP_MS = 50, 25


class SpeechShaped(Condition):
    """Mixes clips of speech with noise that has the average spectrum of other ones.

    The data set must be one of speech: the utterances are those of the split.

    Arguments
    ---------
    snr_db : float
        Power of the clip over the power of the noise, in dB.

    Example
    -------
    >>> SpeechShaped(snr_db=0).needs_clips
    True
    """

    for_training = True
    needs_clips = True

    def prepare(self, setup: SplitSetup) -> "SpeechShapedNoise":
        """Return the noise of a split; see :meth:`Condition.prepare`."""
        clips = read_json(setup.manifest)
        utterances = [(clip["wav"], clip["n_samples"]) for clip in clips.values()]
        return SpeechShapedNoise(utterances, setup.n_samples, setup.sample_rate)


class SpeechShapedNoise(Interference):
    """Filters white noise; each draw has a filter of its own.

    Arguments
    ---------
    utterances : list of (str, int)
        Decoded clean utterances, and their lengths before padding, in samples.
    n_samples : int
        Length of the noise.
    sample_rate : int
        Hz.
    """

    def __init__(
        self, utterances: list[tuple[str, int]], n_samples: int, sample_rate: int
    ) -> None:
        self.utterances = utterances
        self.n_samples = n_samples
        self.sample_rate = sample_rate

    def draw(
        self, clip_id: str | None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw noise (T,); see :meth:`Interference.draw`.

        A split with fewer than six utterances gives all of them to each filter.
        """
        order = torch.randperm(len(self.utterances), generator=generator)
        drawn = [self.utterances[i] for i in order[:N_UTTERANCES].tolist()]
        white = torch.randn(self.n_samples, generator=generator)
        return filter_noise(white, average_spectrum(drawn, self.sample_rate))


def average_spectrum(utterances: list[tuple[str, int]], sample_rate: int) -> Tensor:
    """Average the STFT magnitudes of utterances over all of their frames, (bins,).

    Arguments
    ---------
    utterances : list of (str, int)
        Decoded files and their lengths without padding, in samples.
    sample_rate : int
        Hz.
    """
    parts = [_sum_of_frames(*utterance, sample_rate) for utterance in utterances]
    return sum(total for total, _ in parts) / sum(n_frames for _, n_frames in parts)


@functools.lru_cache(maxsize=20_000)  # an utterance is drawn many times
def _sum_of_frames(wav: str, n_samples: int, sample_rate: int) -> tuple[Tensor, int]:
    """Sum the magnitudes of an utterance's frames -> (bins,), number of frames."""
    n_fft = round(WINDOW_MS * sample_rate / 1000)
    features = SpectralFeatures(sample_rate, n_fft, WINDOW_MS, HOP_MS)
    speech = load_decoded(wav)[:n_samples]
    magnitude = features(speech.unsqueeze(0)).magnitude[0]  # (frames, bins)
    return magnitude.sum(dim=0), len(magnitude)


def filter_noise(white: Tensor, spectrum: Tensor) -> Tensor:
    """Filter noise (T,) by a magnitude response.

    Arguments
    ---------
    white : Tensor (T,)
    spectrum : Tensor (bins,)
        The response at equally spaced frequencies, from 0 Hz to half the sample rate;
        linear between them. The phase does not change.

    Returns
    -------
    Tensor (T,)

    Example
    -------
    >>> noise = torch.randn(16000)
    >>> torch.allclose(filter_noise(noise, torch.ones(401)), noise, atol=1e-5)
    True
    """
    bands = torch.fft.rfft(white)
    response = torch.nn.functional.interpolate(
        spectrum[None, None], size=len(bands), mode="linear", align_corners=True
    )[0, 0]
    return torch.fft.irfft(response * bands, n=len(white))
