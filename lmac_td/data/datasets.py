"""Make a SpeechBrain dataset from a manifest and a condition.

Training draws new interference in every epoch; validation and test pass
``mixing_seed`` and get the same interference every time. An item holds the clip and its
interference separately: :func:`lmac_td.data.mixing.make_mixtures` mixes them later, on
the device.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from lmac_td.data.cache import decoded_length, load_decoded
from lmac_td.data.conditions.base import Interference
from lmac_td.data.epoch_seeds import EpochSeededDataset
from lmac_td.data.mixing import CLEAN_DB, require_sound
from lmac_td.errors import SettingError
from lmac_td.random import seeded_generator
from lmac_td.reading import read_json

OUTPUT_KEYS = ["id", "clip", "interference", "snr_db", "n_samples", "class_index"]


def make_dataset(
    manifest: str | Path,
    condition: str,
    interference: Interference | None = None,
    snr_db: float = 0.0,
    mixing_seed: int | None = None,
    clean_probability: float = 0.0,
    snr_range_db: tuple[float, float] = (0.0, 0.0),
    n_classes: int | None = None,
) -> EpochSeededDataset:
    """Make the dataset of one split under one condition.

    Arguments
    ---------
    manifest : str or Path
        Written by :func:`lmac_td.data.manifests.write_manifests`.
    condition : str
        The name of the condition; the draws depend on it.
    interference : Interference, optional
        What clips are mixed with. Without it, all clips stay clean.
    snr_db : float
        Power of the clip over the power of the interference, in dB.
    mixing_seed : int, optional
        The seed of mixtures that are the same every time. ``None`` draws new
        interference in every epoch: from the seed and the epoch if the loader has an
        :class:`~lmac_td.data.epoch_seeds.EpochSeededSampler`, otherwise from the global
        torch generator of the process that reads.
    clean_probability : float
        Probability that a clip stays clean, in [0, 1]; only if ``mixing_seed`` is None.
    snr_range_db : (float, float)
        Each clip's ratio is ``snr_db`` plus a number drawn uniformly from this range;
        only if ``mixing_seed`` is None.
    n_classes : int, optional
        Needed for ``tags``.

    Returns
    -------
    EpochSeededDataset
        Its items have ``id``, ``clip`` and ``interference`` (both (T,), float32, as
        decoded), ``snr_db`` (a float), ``n_samples`` (the length of the clip before
        padding) and ``class_index``. A clip that stays clean has an infinite ``snr_db``
        and an interference of zeros. If clips may have several labels or none,
        ``class_index`` is that of the first (-1: none), and ``tags`` (C,) is 1 for each
        label and 0 for other classes.

    Raises
    ------
    SettingError
        If a number is out of its range, or contradicts another setting.

    Example
    -------
    >>> import tempfile
    >>> from speechbrain.dataio.dataloader import make_dataloader
    >>> from lmac_td.data.demo.corpus import generate_corpus
    >>> from lmac_td.data.manifests import write_manifests
    >>> from lmac_td.data.mixing import make_mixtures
    >>> from lmac_td.data.noise import NoisePool
    >>> from lmac_td.data.sources.esc50 import ESC50
    >>> root = tempfile.TemporaryDirectory()
    >>> corpus = generate_corpus(
    ...     f"{root.name}/corpus", clips_per_class_and_fold=1, duration_s=0.5
    ... )
    >>> manifests, _ = write_manifests(
    ...     ESC50(corpus / "ESC-50"), f"{root.name}/results", {"test": [5]},
    ...     sample_rate=16000, signal_length_s=0.5, cache_folder=f"{root.name}/cache",
    ... )
    >>> pool = NoisePool(corpus / "wham_noise" / "tt", 16000, signal_length_s=0.5)
    >>> dataset = make_dataset(manifests["test"], "in_domain", pool, mixing_seed=0)
    >>> batch = next(iter(make_dataloader(dataset, batch_size=4)))
    >>> make_mixtures(batch, "cpu").mixture.shape, batch.class_index.shape
    (torch.Size([4, 8000]), torch.Size([4]))
    """
    if not math.isfinite(snr_db):
        raise SettingError(f"snr_db is {snr_db}: give a finite number of decibels.")
    if not 0 <= clean_probability <= 1:
        raise SettingError(
            f"clean_probability is {clean_probability}: give a number from 0 to 1."
        )
    lowest_db, highest_db = _range_of(snr_range_db)
    for name, is_given in (
        ("clean_probability", clean_probability > 0),
        ("snr_range_db", (lowest_db, highest_db) != (0, 0)),
    ):
        if is_given and mixing_seed is not None:
            raise SettingError(
                f"{name} is for training, where mixing_seed is null: set it to 0 for "
                "fixed mixtures."
            )

    mixer = Mixer(
        condition,
        interference,
        snr_db,
        mixing_seed,
        clean_probability,
        (lowest_db, highest_db),
    )
    clips = read_json(manifest)
    for clip in clips.values():
        if "n_samples" not in clip:
            clip["n_samples"] = decoded_length(clip["wav"])
    dataset = EpochSeededDataset(clips)
    # One call provides all three, so they always belong to the same draw.
    dataset.add_dynamic_item(
        mixer,
        takes=["id", "wav", "n_samples", "epoch_seed"],
        provides=["clip", "interference", "snr_db"],
    )
    keys = list(OUTPUT_KEYS)
    if n_classes is not None and any("class_indices" in c for c in clips.values()):
        dataset.add_dynamic_item(
            Tags(n_classes), takes=["class_indices"], provides=["tags"]
        )
        keys.append("tags")
    dataset.set_output_keys(keys)
    return dataset


@dataclass(frozen=True)
class Tags:
    """Converts the classes of a clip to ones and zeros. It can be pickled for workers.

    Arguments
    ---------
    n_classes : int

    Example
    -------
    >>> Tags(3)([0, 2])
    tensor([1., 0., 1.])
    """

    n_classes: int

    def __call__(self, class_indices: list[int]) -> torch.Tensor:
        """Return (n_classes,): 1 for the given classes, 0 for the others."""
        tags = torch.zeros(self.n_classes)
        tags[class_indices] = 1
        return tags


def _range_of(snr_range_db):
    lowest_and_highest = tuple(map(float, snr_range_db))
    if len(lowest_and_highest) != 2 or lowest_and_highest[0] > lowest_and_highest[1]:
        raise SettingError(
            f"snr_range_db is {list(snr_range_db)}: give the lowest and the highest "
            "number of decibels that are added to the ratio, such as [-3, 9]"
        )
    return lowest_and_highest


@dataclass(frozen=True)
class Mixer:
    """Reads a clip and draws its interference. It can be pickled for workers.

    Arguments
    ---------
    condition, interference, snr_db, mixing_seed, clean_probability, snr_range_db
        As in :func:`make_dataset`.
    """

    condition: str
    interference: Interference | None
    snr_db: float
    mixing_seed: int | None
    clean_probability: float
    snr_range_db: tuple[float, float] = (0.0, 0.0)

    def __call__(
        self,
        clip_id: str,
        wav: str,
        n_samples: int,
        epoch_seed: tuple[int, int] | None,
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Return a decoded clip (T,), its interference (T,) and their ratio in dB."""
        clip = load_decoded(wav)
        require_sound(clip, f"the clip {clip_id!r}")
        seed = epoch_seed if self.mixing_seed is None else self.mixing_seed
        if self._stays_clean(clip_id, seed):
            return clip, torch.zeros_like(clip), CLEAN_DB
        if seed is None:
            other = self.interference.random()
        else:
            other = self.interference.fixed(clip_id, self.condition, seed)
        if other.shape != clip.shape:  # padding in a batch would change its power
            raise ValueError(
                f"the clip {clip_id!r} and its noise must both be (T,), not "
                f"{tuple(clip.shape)} and {tuple(other.shape)}"
            )
        require_sound(other, f"the noise for {clip_id!r}")
        return clip, _sounding_within(other, n_samples), self._snr_db(clip_id, seed)

    def _stays_clean(self, clip_id: str, seed: int | tuple[int, int] | None) -> bool:
        """Draw whether a clip stays clean."""
        if self.interference is None:
            return True
        if self.clean_probability == 0:
            return False
        generator = None if seed is None else seeded_generator(clip_id, "clean", seed)
        return torch.rand(1, generator=generator).item() < self.clean_probability

    def _snr_db(self, clip_id: str, seed: int | tuple[int, int] | None) -> float:
        """Draw the ratio of a clip to its interference, in dB."""
        lowest_db, highest_db = self.snr_range_db
        if lowest_db == highest_db:
            return float(self.snr_db + lowest_db)
        generator = None if seed is None else seeded_generator(clip_id, "snr", seed)
        share = torch.rand(1, generator=generator).item()
        return self.snr_db + lowest_db + share * (highest_db - lowest_db)


def _sounding_within(wav: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Rotate a sound (T,) to its start if its first n_samples are silent."""
    if wav[:n_samples].any():
        return wav
    return wav.roll(-int(wav.nonzero()[0, 0]))
