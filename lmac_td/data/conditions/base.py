"""The contract of a condition: an interference and its ratio to the clip.

A condition of your own subclasses :class:`Condition` and returns an
:class:`Interference` from :meth:`Condition.prepare`. A recipe gives it a name::

    conditions:
        hum: !new:my_conditions.Hum {snr_db: 3}
"""

import math
from dataclasses import dataclass
from pathlib import Path

from lmac_td.errors import require_choice, require_number
from lmac_td.random import seeded_generator


@dataclass(frozen=True)
class SplitSetup:
    """What a condition may read when it is prepared for a split.

    Attributes
    ----------
    split : str
        ``train``, ``valid`` or ``test``.
    sample_rate : int
        Hz.
    signal_length_s : float
        Seconds of a clip.
    cache_folder : str or Path
        Of decoded recordings.
    skip_bad_files : bool
        Whether recordings that cannot be used are left out.
    manifest : Path, optional
        Of the split's clips; None before they are decoded.
    """

    split: str
    sample_rate: int
    signal_length_s: float
    cache_folder: str | Path
    skip_bad_files: bool = False
    manifest: Path | None = None

    @property
    def n_samples(self):
        """Samples of a clip."""
        return round(self.signal_length_s * self.sample_rate)


class Interference:
    """What the clips of a split are mixed with. It can be pickled for workers.

    A subclass writes :meth:`draw`.

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

    def draw(self, clip_id, generator=None):
        """Draw the interference of a clip.

        Arguments
        ---------
        clip_id : str
            The clip to be mixed with; None where a draw belongs to no clip.
        generator : torch.Generator, optional
            The only source of randomness; torch's global one when left out.

        Returns
        -------
        torch.Tensor
            (T,), float32, as long as a clip and not silent. Its level is free: mixing
            scales it.
        """
        raise NotImplementedError

    def fixed(self, clip_id, condition, seed):
        """Draw what belongs to a clip, a condition and a seed: always the same.

        Arguments
        ---------
        clip_id : str
            The clip to be mixed with.
        condition : str
            The name of the condition.
        seed : int or tuple of int
            Another seed gives another set of mixtures; in training, seed and epoch.

        Returns
        -------
        torch.Tensor
            (T,), float32, as :meth:`draw` gives it.
        """
        return self.draw(clip_id, seeded_generator(clip_id, condition, seed))

    def random(self):
        """Draw by torch's global generator, for no clip in particular."""
        return self.draw(None)


class Condition:
    """What clips are mixed with, at one ratio.

    Arguments
    ---------
    snr_db : float
        Power of the clip over that of the interference, dB.

    Attributes
    ----------
    snr_db : float or None
        None where clips stay alone.
    for_training : bool
        Whether training clips may be mixed by it.
    needs_clips : bool
        Whether :meth:`prepare` reads the manifest. A condition that does not is
        prepared before clips are decoded: its mistakes are found minutes earlier.
    snr_setting : str
        The setting that ``snr_db`` is named by in errors.

    Raises
    ------
    SettingError
        ``snr_db`` is not a finite number.
    """

    for_training = False
    needs_clips = False
    snr_setting = "snr_db"

    def __init__(self, snr_db):
        require_number(self.snr_setting, snr_db, above=-math.inf)
        self.snr_db = snr_db

    @property
    def identity(self):
        """One line that identifies the condition; saved with what is trained on it."""
        plain = (bool, int, float, str, Path, list, type(None))
        values = ", ".join(
            f"{name}={value}"
            for name, value in sorted(vars(self).items())
            if isinstance(value, plain)
        )
        return f"{type(self).__module__}.{type(self).__qualname__}({values})"

    def prepare(self, setup):
        """Read or check what the clips of a split are to be mixed with.

        Arguments
        ---------
        setup : SplitSetup

        Returns
        -------
        Interference

        Raises
        ------
        DataError
            A folder or a recording is not what it should be.
        """
        raise NotImplementedError


class PaperCondition(Condition):
    """A condition whose ratio differs between the papers and their published code.

    Arguments
    ---------
    snr_db : float
        The ratio of the papers, dB.
    snr : str
        ``paper``: ``snr_db``. ``published``: ``published_snr_db`` instead.

    Attributes
    ----------
    published_snr_db : float
        The ratio that the gains of the published code give for sounds of the same
        power, dB. They scale amplitudes, not powers.

    Raises
    ------
    SettingError
        ``snr_db`` is not a finite number, or ``snr`` is not one of its choices.
    """

    published_snr_db = math.nan

    def __init__(self, snr_db, snr="paper"):
        super().__init__(snr_db)
        require_choice("snr", snr, ("paper", "published"))
        if snr == "published":
            self.snr_db = self.published_snr_db
