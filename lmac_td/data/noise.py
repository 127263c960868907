"""Interference drawn from a folder of recordings: noise, as WHAM!'s, or speech.

A training clip gets new noise in each epoch; a validation or test clip always gets the
same stretch of the same file, a pure function of (clip id, condition, seed), so that
every method is scored on the same mixtures.
"""

import logging
import math
from pathlib import Path

import soundfile
import torch

from lmac_td.audio import load_audio, read_mono
from lmac_td.data.cache import decode_once, decoded_length, load_decoded
from lmac_td.data.conditions.base import Interference
from lmac_td.errors import DataError, LoadAudioError

logger = logging.getLogger(__name__)

ENDINGS = (".wav", ".flac")

# Recordings pause. After so many silent draws the loudest sample is looked for instead.
_MAX_SILENT_CROPS = 10


class NoisePool(Interference):
    """Random or reproducible stretches of the recordings in one folder.

    Recordings may be longer or shorter than a clip (of longer ones a stretch is taken,
    shorter ones are looped), have several channels (averaged) and any rate.

    Arguments
    ---------
    folder : str or Path
        Its wav and flac files, subfolders left out, are the pool.
    sample_rate : int
        Rate of what is drawn, Hz.
    signal_length_s : float
        Length of what is drawn, seconds.
    cache_folder : str or Path, optional
        Where recordings of other rates are kept resampled. Without it they are
        decoded whole at each draw.
    skip_bad_files : bool
        Where a recording turns out corrupt, empty or silent, or holds NaN, take the
        next one and say so, instead of an error.
    setting : str
        The setting that names the folder; errors say it.

    Raises
    ------
    DataError
        The folder is missing or holds no such file.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.audio import save_audio
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = save_audio(f"{folder.name}/wind.wav", torch.randn(16000) / 8, 16000)
    >>> pool = NoisePool(folder.name, sample_rate=16000, signal_length_s=0.5)
    >>> pool.random().shape
    torch.Size([8000])
    >>> again = pool.fixed("1-100032-A-0", "in_domain", seed=0)
    >>> torch.equal(again, pool.fixed("1-100032-A-0", "in_domain", seed=0))
    True
    """

    def __init__(
        self,
        folder,
        sample_rate,
        signal_length_s,
        cache_folder=None,
        skip_bad_files=False,
        setting="wham_folder",
    ):
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist: correct {setting}.")
        # Sorted: a draw must not depend on the order in which a disk lists its files.
        self.files = sorted(
            file
            for file in folder.iterdir()
            if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
        )
        if not self.files:
            raise DataError(
                f"{folder} holds no wav or flac file: fill it or correct {setting}."
            )
        self.sample_rate = sample_rate
        self.n_samples = round(signal_length_s * sample_rate)
        self.cache_folder = cache_folder
        self.skip_bad_files = skip_bad_files
        self.setting = setting
        self._remedy = f"remove it from {setting} or set skip_bad_files: True"

    def random(self, generator=None):
        """Draw a random stretch of a random recording.

        Arguments
        ---------
        generator : torch.Generator, optional
            Source of chance; torch's global one when left out.

        Returns
        -------
        torch.Tensor
            (T,), float32, not silent.

        Raises
        ------
        LoadAudioError
            The recording drawn is corrupt, empty or silent, or holds NaN.
        """
        first = _randint(len(self.files), generator)
        for path in (*self.files[first:], *self.files[:first]):
            try:
                return self._draw(path, generator)
            except LoadAudioError as error:
                if not self.skip_bad_files:
                    raise
                logger.warning("left out: %s", error)
        raise DataError(
            f"{self.files[0].parent} holds no usable recording: fill it or correct "
            f"{self.setting}."
        )

    def _draw(self, path, generator):
        """A random stretch (T,) of one recording."""
        n_file, read = self._open(path)
        n_starts = max(1, n_file - self.n_samples + 1)
        for _ in range(_MAX_SILENT_CROPS):
            crop = self._loop(read(_randint(n_starts, generator)))
            if crop.any():
                return crop
        return self._loop(read(self._loudest_start(path)))

    def draw(self, clip_id, generator=None):
        """:meth:`random`, whichever clip it is for."""
        return self.random(generator)

    def _open(self, path):
        """Length of a recording in samples, and a reader: start -> at most (T,)."""
        try:
            info = soundfile.info(path)
        except (soundfile.SoundFileError, OSError) as error:
            raise LoadAudioError(
                f"{path} is missing or cannot be decoded ({error}): {self._remedy}."
            ) from error
        if info.samplerate == self.sample_rate:
            # Only the stretch is decoded: WHAM!'s recordings are long.
            def read(start):
                samples, _ = read_mono(path, start, self.n_samples, remedy=self._remedy)
                return torch.from_numpy(samples)

            return info.frames, read
        if self.cache_folder is None:
            wav = load_audio(path, self.sample_rate, remedy=self._remedy)
            return len(wav), lambda start: wav[start : start + self.n_samples]
        decoded = decode_once(
            path, self.sample_rate, None, self.cache_folder, remedy=self._remedy
        )
        return decoded_length(decoded), lambda start: load_decoded(
            decoded, start, self.n_samples
        )

    def _loop(self, wav):
        """Repeat (T',) up to (T,)."""
        n_repeats = math.ceil(self.n_samples / len(wav))
        return wav.repeat(n_repeats)[: self.n_samples]

    def _loudest_start(self, path):
        """Start of the stretch around the loudest sample of a recording."""
        wav = load_audio(path, self.sample_rate, remedy=self._remedy)
        centred = int(wav.abs().argmax()) - self.n_samples // 2
        return max(0, min(centred, len(wav) - self.n_samples))


def _randint(n, generator):
    return int(torch.randint(n, (1,), generator=generator))
