"""Interference from a folder of recordings, such as WHAM! noise or speech.

A training clip gets new interference in each epoch. A validation or test clip always
gets the same excerpt of the same file, a pure function of (clip id, condition, seed),
so every method is scored on the same mixtures.
"""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from lmac_td.audio import load_audio, read_mono
from lmac_td.data.cache import decode_once, decoded_length, load_decoded
from lmac_td.data.conditions.base import Interference
from lmac_td.errors import DataError, LoadAudioError
from lmac_td.sound_files import check_recording, open_sound

logger = logging.getLogger(__name__)

ENDINGS = (".wav", ".flac")

DECODED_WHOLE = 2**28  # bytes of a folder; decoding them takes a second or two

# After so many silent excerpts, the excerpt around the loudest sample is taken.
_MAX_SILENT_EXCERPTS = 10


class NoisePool(Interference):
    """Random or reproducible excerpts of the recordings in one folder.

    Recordings may have any length (shorter ones are looped), any rate, and several
    channels (which are averaged).

    Arguments
    ---------
    folder : str or Path
        All its wav and flac files are used, but not those in subfolders.
    sample_rate : int
        Sample rate of an excerpt, Hz.
    signal_length_s : float
        Length of an excerpt, seconds.
    cache_folder : str or Path, optional
        The folder of resampled recordings, for recordings of another rate. Without it,
        such a recording is decoded as a whole at each draw.
    skip_bad_files : bool
        If a recording is corrupt, empty or silent, or holds NaN, take the next one with
        a warning, instead of raising an error.
    setting : str
        The setting that names the folder, for error messages.
    files : sequence of Path, optional
        Recordings to use instead of all of the folder, not empty.

    Raises
    ------
    DataError
        If the folder is missing or holds no wav or flac file.

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
        folder: str | Path,
        sample_rate: int,
        signal_length_s: float,
        cache_folder: str | Path | None = None,
        skip_bad_files: bool = False,
        setting: str = "wham_folder",
        files: Sequence[Path] | None = None,
    ):
        self.files = list_recordings(folder, setting) if files is None else list(files)
        self.sample_rate = sample_rate
        self.n_samples = round(signal_length_s * sample_rate)
        self.cache_folder = cache_folder
        self.skip_bad_files = skip_bad_files
        self.setting = setting
        self._remedy = f"remove it from {setting} or set skip_bad_files: True"
        self._check()

    def _check(self) -> None:
        """Refuse recordings that cannot be used now, not in the middle of a training.

        Small folders are decoded whole, of larger ones the ends of each recording.
        """
        found = [(path, _stat(path)) for path in self.files]
        whole = sum(size for _, (size, _) in found) <= DECODED_WHOLE
        n_bad = 0
        for path, stat in found:
            try:
                _check_once(path, stat, whole, self._remedy)
            except LoadAudioError as error:
                if not self.skip_bad_files:
                    raise
                logger.warning("a bad file is skipped: %s", error)
                n_bad += 1
        if n_bad == len(self.files):
            raise self._none_is_usable()

    def random(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw a random excerpt of a random recording.

        Arguments
        ---------
        generator : torch.Generator, optional
            By default torch's global generator.

        Returns
        -------
        torch.Tensor
            (T,), float32, not silent.

        Raises
        ------
        LoadAudioError
            If the recording is corrupt, empty or silent, or holds NaN.
        DataError
            If no recording is usable, with ``skip_bad_files``.
        """
        first = _randint(len(self.files), generator)
        for path in (*self.files[first:], *self.files[:first]):
            try:
                return self._draw(path, generator)
            except LoadAudioError as error:
                if not self.skip_bad_files:
                    raise
                logger.warning("skipped a bad file: %s", error)
        raise self._none_is_usable()

    def _none_is_usable(self) -> DataError:
        return DataError(
            f"{self.files[0].parent} holds no usable recording: fill it or correct "
            f"{self.setting}."
        )

    def _draw(self, path: Path, generator: torch.Generator | None) -> torch.Tensor:
        """Draw an excerpt (T,) of one recording that is not silent."""
        n_recorded, read = self._open(path)
        n_starts = max(1, n_recorded - self.n_samples + 1)
        for _ in range(_MAX_SILENT_EXCERPTS):
            excerpt = self._loop(read(_randint(n_starts, generator)))
            if excerpt.any():
                return excerpt
        return self._loop(read(self._loudest_start(path)))

    def draw(
        self, clip_id: str | None, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Draw a random excerpt; its distribution is the same for all clips."""
        return self.random(generator)

    def _open(self, path: Path) -> tuple[int, Callable[[int], torch.Tensor]]:
        """Return the length of a recording, and a function that reads from a start.

        The function returns at most (T,).
        """
        with open_sound(path, remedy=self._remedy) as file:
            n_frames, rate = file.frames, file.samplerate
        if rate == self.sample_rate:
            # Decode only the excerpt, since WHAM!'s recordings are long.
            def read(start):
                samples, _ = read_mono(path, start, self.n_samples, remedy=self._remedy)
                return torch.from_numpy(samples)

            return n_frames, read
        if self.cache_folder is None:
            wav = load_audio(path, self.sample_rate, remedy=self._remedy)
            return len(wav), lambda start: wav[start : start + self.n_samples]
        decoded = decode_once(
            path, self.sample_rate, None, self.cache_folder, remedy=self._remedy
        )
        return decoded_length(decoded), lambda start: load_decoded(
            decoded, start, self.n_samples
        )

    def _loop(self, wav: torch.Tensor) -> torch.Tensor:
        """Repeat a waveform (T',) to (T,)."""
        n_repeats = math.ceil(self.n_samples / len(wav))
        return wav.repeat(n_repeats)[: self.n_samples]

    def _loudest_start(self, path: Path) -> int:
        """Return the start of the excerpt around the loudest sample of a recording."""
        wav = load_audio(path, self.sample_rate, remedy=self._remedy)
        centred = int(wav.abs().argmax()) - self.n_samples // 2
        return max(0, min(centred, len(wav) - self.n_samples))


@functools.lru_cache(maxsize=200_000)  # splits and conditions share folders
def _check_once(path: Path, stat: tuple[int, int], whole: bool, remedy: str) -> None:
    """Check a recording, unless this process has since it was changed."""
    del stat
    check_recording(path, whole, remedy=remedy)


def _stat(path: Path) -> tuple[int, int]:
    """Return the size and the time of change of a file; zeros if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def list_recordings(
    folder: str | Path, setting: str, endings: Sequence[str] = ENDINGS
) -> list[Path]:
    """List the recordings of a folder by name, without those of its subfolders.

    Arguments
    ---------
    folder : str or Path
    setting : str
        The setting that names the folder, for error messages.
    endings : sequence of str
        Of the files, in lower case.

    Returns
    -------
    list of Path
        Not empty.

    Raises
    ------
    DataError
        If the folder is missing or holds no recording.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: correct {setting}.")
    # Sorted, since the order in which a disk lists files differs.
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in endings and not file.name.startswith(".")
    )
    if not files:
        kinds = " or ".join(ending.removeprefix(".") for ending in endings)
        raise DataError(
            f"{folder} holds no {kinds} file: fill it or correct {setting}."
        )
    return files


def _randint(n: int, generator: torch.Generator | None) -> int:
    """Draw a whole number from 0 to n - 1."""
    return int(torch.randint(n, (1,), generator=generator))
