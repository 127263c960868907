"""The base classes of a condition: its interference and its signal-to-noise ratio.

To add a condition, subclass :class:`Condition` and return an :class:`Interference` from
:meth:`Condition.prepare`. A recipe gives it a name::

    conditions:
        hum: !new:my_conditions.Hum {snr_db: 3}
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from lmac_td.random import seeded_generator
from lmac_td.validation import require_choice, require_number


@dataclass(frozen=True)
class SplitSetup:
    """The split and the settings that a condition is prepared for.

    Attributes
    ----------
    split : str
        ``train``, ``valid`` or ``test``.
    sample_rate : int
        Hz.
    signal_length_s : float
        Length of a clip, seconds.
    cache_folder : str or Path
        The folder of decoded recordings.
    skip_bad_files : bool
        Whether to skip recordings that cannot be used.
    manifest : Path, optional
        The manifest of the split; None before its clips are decoded.
    """

    split: str
    sample_rate: int
    signal_length_s: float
    cache_folder: str | Path
    skip_bad_files: bool = False
    manifest: Path | None = None

    @property
    def n_samples(self) -> int:
        """Length of a clip in samples."""
        return round(self.signal_length_s * self.sample_rate)


class Interference:
    """Draws what the clips of a split are mixed with.

    A subclass implements :meth:`draw`. It must be picklable, for dataloader workers.

    Example
    -------
    >>> import torch
    >>> class Noise(Interference):
    ...     def draw(self, clip_id, generator=None):
    ...         return torch.randn(8000, generator=generator)
    >>> first = Noise().fixed("dog", "noise", seed=0)
    >>> torch.equal(first, Noise().fixed("dog", "noise", seed=0))
    True
    """

    def draw(
        self, clip_id: str | None, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Draw the interference of a clip.

        Arguments
        ---------
        clip_id : str or None
            The clip that is mixed; None if the draw is for no particular clip.
        generator : torch.Generator, optional
            The only source of randomness; by default torch's global generator.

        Returns
        -------
        torch.Tensor
            (T,), float32, as long as a clip and not silent, at any level: mixing scales
            it.
        """
        raise NotImplementedError

    def fixed(
        self, clip_id: str, condition: str, seed: int | tuple[int, int]
    ) -> torch.Tensor:
        """Draw the interference of a clip, the same one for the same arguments.

        Arguments
        ---------
        clip_id : str
            The clip that is mixed.
        condition : str
            The name of the condition.
        seed : int or tuple of int
            The seed of all mixtures; in training, the seed and the epoch.

        Returns
        -------
        torch.Tensor
            (T,), float32; see :meth:`draw`.
        """
        return self.draw(clip_id, seeded_generator(clip_id, condition, seed))

    def random(self) -> torch.Tensor:
        """Draw from torch's global generator, for no particular clip."""
        return self.draw(None)


class Condition:
    """What clips are mixed with, and at which signal-to-noise ratio.

    Arguments
    ---------
    snr_db : float
        Power of the clip over the power of the interference, in dB.

    Attributes
    ----------
    snr_db : float or None
        None if clips stay clean.
    for_training : bool
        Whether training may use the condition.
    needs_clips : bool
        Whether :meth:`prepare` reads the manifest. A condition that does not is
        prepared before clips are decoded, so its mistakes are reported minutes earlier.
    snr_setting : str
        The setting that holds ``snr_db``, for error messages.

    Raises
    ------
    SettingError
        If ``snr_db`` is not a finite number.
    """

    for_training: bool = False
    needs_clips: bool = False
    snr_setting: str = "snr_db"

    def __init__(self, snr_db: float):
        require_number(self.snr_setting, snr_db, above=-math.inf)
        self.snr_db = snr_db

    @property
    def identity(self) -> str:
        """One line that identifies the condition; saved with trained weights."""
        plain = (bool, int, float, str, Path, list, type(None))
        values = ", ".join(
            f"{name}={value}"
            for name, value in sorted(vars(self).items())
            if isinstance(value, plain)
        )
        return f"{type(self).__module__}.{type(self).__qualname__}({values})"

    def prepare(self, setup: SplitSetup) -> Interference | None:
        """Check the data of the condition, and return its interference for a split.

        Arguments
        ---------
        setup : SplitSetup

        Returns
        -------
        Interference or None
            None if clips stay clean.

        Raises
        ------
        DataError
            If a folder or a recording cannot be used.
        """
        raise NotImplementedError


class PaperCondition(Condition):
    """A condition whose ratio differs between the papers and their published code.

    Arguments
    ---------
    snr_db : float
        The ratio in the papers, dB.
    snr : str
        ``paper``: use ``snr_db``. ``published``: use ``published_snr_db``.

    Attributes
    ----------
    published_snr_db : float
        The ratio in the published code, dB. The code multiplies amplitudes by gains;
        this is the resulting ratio for two sounds of equal power.

    Raises
    ------
    SettingError
        If ``snr_db`` is not a finite number, or ``snr`` is not one of its choices.
    """

    published_snr_db: float = math.nan

    def __init__(self, snr_db: float, snr: str = "paper"):
        super().__init__(snr_db)
        require_choice("snr", snr, ("paper", "published"))
        if snr == "published":
            self.snr_db = self.published_snr_db
