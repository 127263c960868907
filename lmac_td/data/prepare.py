"""Prepare data in one call: obtain it, check it, decode it, make datasets."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmac_td.data.conditions.base import Condition, Interference, SplitSetup
from lmac_td.data.datasets import make_dataset
from lmac_td.data.epoch_seeds import EpochSeededDataset
from lmac_td.data.manifests import write_manifests
from lmac_td.data.sources.base import DataSource, read_source
from lmac_td.errors import SettingError
from lmac_td.reading import read_json
from lmac_td.validation import require_choice, require_number


@dataclass(frozen=True)
class PreparedData:
    """Decoded splits and prepared conditions, of which datasets are made.

    Attributes
    ----------
    manifests : dict of str to Path
        The manifest of each split.
    class_names : list of str
        The class names of the data set, by class index.
    folds : dict of str to list of int
        The folds of each split.
    conditions : dict of str to Condition
        All conditions of the recipe, by name.
    training_condition : str
        The condition of the training.
    interference : dict of (str, str) to Interference
        By condition and split; only for prepared ones.
    mixing_seed : int
        Seed of the interference in validation and test.
    """

    manifests: dict[str, Path]
    class_names: list[str]
    folds: dict[str, list[int]]
    conditions: dict[str, Condition]
    training_condition: str
    interference: dict[tuple[str, str], Interference | None]
    mixing_seed: int

    @property
    def snr_db(self) -> dict[str, float]:
        """The signal-to-noise ratio of each condition with interference, in dB."""
        return {
            name: condition.snr_db
            for name, condition in self.conditions.items()
            if condition.snr_db is not None
        }

    def sample_ids(self, split: str, n_samples: int) -> set[str]:
        """Return the ids of up to ``n_samples`` clips, spread over the classes."""
        clips = read_json(self.manifests[split])
        clip_ids = sorted(clips, key=lambda clip_id: clips[clip_id]["class_index"])
        wanted = min(n_samples, len(clip_ids))
        return {clip_ids[i * len(clip_ids) // wanted] for i in range(wanted)}

    def dataset(
        self,
        split: str,
        condition: str | None = None,
        clean_probability: float = 0.0,
        snr_range_db: tuple[float, float] = (0.0, 0.0),
    ) -> EpochSeededDataset:
        """Make the dataset of a split under a condition.

        ``train`` has new interference in each epoch; the other splits have the same
        interference every time.

        Arguments
        ---------
        split : str
        condition : str, optional
            The name of a condition of the recipe; by default the training condition.
        clean_probability : float
            Probability that a clip stays clean; only for ``train``.
        snr_range_db : (float, float)
            Lowest and highest dB that are added to the ratio; only for ``train``.

        Returns
        -------
        EpochSeededDataset
            See :func:`lmac_td.data.datasets.make_dataset`.

        Raises
        ------
        SettingError
            If the condition is unknown, not for this split, or was not prepared.
        """
        condition = condition or self.training_condition
        require_choice("condition", condition, tuple(self.conditions))
        chosen = self.conditions[condition]
        if split == "train" and not chosen.for_training:
            raise SettingError(
                f"condition {condition} is for validation and test: train on "
                f"{' or '.join(training_conditions(self.conditions))}."
            )
        mixes = chosen.snr_db is not None
        if mixes and (condition, split) not in self.interference:
            raise SettingError(
                f"condition {condition} was not prepared for {split}: pass it to "
                "prepare() in conditions."
            )
        return make_dataset(
            self.manifests[split],
            condition,
            self.interference[condition, split] if mixes else None,
            snr_db=chosen.snr_db if mixes else 0.0,
            mixing_seed=None if split == "train" else self.mixing_seed,
            clean_probability=clean_probability,
            snr_range_db=snr_range_db,
            n_classes=len(self.class_names),
        )


def training_conditions(conditions: dict[str, Condition]) -> list[str]:
    """Return the names of the conditions that a training may use.

    Arguments
    ---------
    conditions : dict of str to Condition

    Returns
    -------
    list of str
    """
    return [name for name, condition in conditions.items() if condition.for_training]


def prepare(
    splits: Sequence[str],
    dataset: DataSource,
    all_conditions: dict[str, Condition],
    output_folder: str | Path,
    fold_nums: dict[str, list[int]],
    sample_rate: int,
    signal_length_s: float,
    mixing_seed: int,
    cache_folder: str | Path,
    training_condition: str = "in_domain",
    skip_bad_files: bool = False,
    n_classes: int | None = None,
    conditions: Sequence[str] | None = None,
    cache_limit_gb: float | None = None,
    decode_from: float = 0.0,
) -> PreparedData:
    """Prepare the splits and conditions that a command needs.

    Arguments
    ---------
    splits : sequence of str
        Some of ``train``, ``valid`` and ``test``.
    dataset : DataSource
        The data set; see :mod:`lmac_td.data.sources`.
    all_conditions : dict of str to Condition
        All conditions of the recipe, by name; see :mod:`lmac_td.data.conditions`.
    output_folder : str or Path
        Manifests go to its subfolder ``manifest``.
    fold_nums : dict of str to list of int
        The folds of all three splits. Validation and test may share folds; training
        shares none.
    sample_rate : int
        In Hz.
    signal_length_s : float
        In seconds.
    mixing_seed : int
        Seed of the interference in validation and test.
    cache_folder : str or Path
        The folder of decoded recordings.
    training_condition : str
        The condition of the training.
    skip_bad_files : bool
        Skip recordings that cannot be used, with a warning.
    n_classes : int, optional
        Refuse a data set with another number of classes; for training a classifier.
    conditions : sequence of str, optional
        The conditions to prepare; by default the training condition. ``train`` gets
        only those that are for training.
    cache_limit_gb, decode_from
        See :func:`lmac_td.data.manifests.write_manifests`.

    Returns
    -------
    PreparedData

    Raises
    ------
    UserError
        If a setting or the data cannot be used. At most manifests have been written to
        ``output_folder`` then.
    """
    require_number("sample_rate", sample_rate)
    require_number("signal_length_s", signal_length_s)
    check_named_objects(dataset, all_conditions)
    if "train" in splits:
        possible = training_conditions(all_conditions)
        require_choice("training_condition", training_condition, possible)
    wanted = [training_condition] if conditions is None else conditions
    for condition in wanted:
        require_choice("condition", condition, tuple(all_conditions))
    dataset.obtain()
    read_source(dataset)  # reports mistakes of the data set first
    setups = {
        split: SplitSetup(
            split, sample_rate, signal_length_s, cache_folder, skip_bad_files
        )
        for split in splits
    }
    chosen = {name: all_conditions[name] for name in wanted}
    # Checked before clips are decoded, which takes minutes.
    interference = _prepare_conditions(chosen, setups.values(), needs_clips=False)
    manifests, class_names = write_manifests(
        dataset,
        output_folder,
        fold_nums,
        sample_rate,
        signal_length_s,
        cache_folder,
        skip_bad_files,
        splits,
        n_classes,
        cache_limit_gb,
        decode_from,
    )
    decoded = [
        dataclasses.replace(setup, manifest=manifests[split])
        for split, setup in setups.items()
    ]
    interference |= _prepare_conditions(chosen, decoded, needs_clips=True)
    return PreparedData(
        manifests,
        class_names,
        fold_nums,
        dict(all_conditions),
        training_condition,
        interference,
        mixing_seed,
    )


def _prepare_conditions(
    conditions: dict[str, Condition], setups: Iterable[SplitSetup], needs_clips: bool
) -> dict[tuple[str, str], Interference | None]:
    """Prepare the conditions that need clips, or those that do not.

    Returns {(condition, split): interference}.
    """
    return {
        (name, setup.split): condition.prepare(setup)
        for setup in setups
        for name, condition in conditions.items()
        if condition.needs_clips == needs_clips
        and (condition.for_training or setup.split != "train")
    }


def check_named_objects(dataset: object, conditions: object) -> None:
    """Refuse a recipe whose data source or conditions are of another type.

    Arguments
    ---------
    dataset : object
        Must be a DataSource.
    conditions : object
        Must be a dict of str to Condition.

    Raises
    ------
    SettingError
        If either is of another type.
    """
    if not isinstance(dataset, DataSource):
        raise SettingError(
            f"dataset is {dataset!r}: name a class of lmac_td.data.sources, or one of "
            "your own, as !new:lmac_td.data.sources.esc50.ESC50"
        )
    if not isinstance(conditions, dict):
        raise SettingError(
            f"conditions is {conditions!r}: give a mapping of names to classes of "
            "lmac_td.data.conditions, as hparams/base/data.yaml does"
        )
    for name, condition in conditions.items():
        # Evaluations name folders after conditions, and `all` stands for every one.
        if not isinstance(name, str) or "/" in name or name in ("", "all"):
            raise SettingError(
                f"a condition is named {name!r}: write a text without a slash, other "
                "than all"
            )
        if not isinstance(condition, Condition):
            raise SettingError(
                f"condition {name} is {condition!r}: name a class of "
                "lmac_td.data.conditions, or one of your own, as "
                "!new:lmac_td.data.conditions.clean.Clean {}"
            )
