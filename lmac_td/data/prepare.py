"""One call from settings to data: obtain, check, decode, and mix on demand."""

import dataclasses
import json
from dataclasses import dataclass

from lmac_td.data.conditions.base import Condition, SplitSetup
from lmac_td.data.datasets import make_dataset
from lmac_td.data.manifests import write_manifests
from lmac_td.data.sources.base import DataSource, read_source
from lmac_td.errors import SettingError, require_choice, require_number


@dataclass(frozen=True)
class PreparedData:
    """Decoded splits, and the mixtures that can be made of them.

    Attributes
    ----------
    manifests : dict of str to Path
        One a split.
    class_names : list of str
        Of the data set, by class index.
    folds : dict of str to list of int
        The folds of each split.
    conditions : dict of str to Condition
        All that the recipe names.
    training_condition : str
        The one that a training mixes its clips in.
    interference : dict of (str, str) to Interference
        By condition and split, for those that were prepared.
    mixing_seed : int
    """

    manifests: dict
    class_names: list
    folds: dict
    conditions: dict
    training_condition: str
    interference: dict
    mixing_seed: int

    @property
    def snr_db(self):
        """dict of str to float: the ratio of each condition that mixes, dB."""
        return {
            name: condition.snr_db
            for name, condition in self.conditions.items()
            if condition.snr_db is not None
        }

    def sample_ids(self, split, n_samples):
        """Ids of ``n_samples`` clips spread evenly over the classes of a split."""
        clips = json.loads(self.manifests[split].read_text(encoding="utf-8"))
        clip_ids = sorted(clips, key=lambda clip_id: clips[clip_id]["class_index"])
        wanted = min(n_samples, len(clip_ids))
        return {clip_ids[i * len(clip_ids) // wanted] for i in range(wanted)}

    def dataset(self, split, condition=None, clean_probability=0.0):
        """The mixtures of a split: drawn anew in ``train``, fixed in the others.

        Arguments
        ---------
        split : str
        condition : str, optional
            One of the recipe's; that of training when left out.
        clean_probability : float
            Only for ``train``.

        Returns
        -------
        EpochSeededDataset
            See :func:`lmac_td.data.datasets.make_dataset`.

        Raises
        ------
        SettingError
            The condition is unknown, not for this split, or was not prepared.
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
                f"condition {condition} has nothing to mix clips of {split} with: "
                "prepare it, too."
            )
        return make_dataset(
            self.manifests[split],
            condition,
            self.interference[condition, split] if mixes else None,
            snr_db=chosen.snr_db if mixes else 0.0,
            mixing_seed=None if split == "train" else self.mixing_seed,
            clean_probability=clean_probability,
        )


def training_conditions(conditions):
    """Names of the conditions that a training may mix its clips in.

    Arguments
    ---------
    conditions : dict of str to Condition

    Returns
    -------
    list of str
    """
    return [name for name, condition in conditions.items() if condition.for_training]


def prepare(
    splits,
    dataset,
    all_conditions,
    output_folder,
    fold_nums,
    sample_rate,
    signal_length_s,
    mixing_seed,
    cache_folder,
    training_condition="in_domain",
    skip_bad_files=False,
    n_classes=None,
    conditions=None,
):
    """Prepare the splits that a command needs.

    Arguments
    ---------
    splits : sequence of str
        Of ``train``, ``valid`` and ``test``.
    dataset : DataSource
        Where clips come from; see :mod:`lmac_td.data.sources`.
    all_conditions : dict of str to Condition
        What clips can be mixed with, by name; see :mod:`lmac_td.data.conditions`.
    output_folder : str or Path
        Manifests go to its subfolder ``manifest``.
    fold_nums : dict of str to list of int
        Of all three splits. Validation and test may share folds, training none.
    sample_rate : int
        In Hz.
    signal_length_s : float
        In seconds.
    mixing_seed : int
        Of the interference in validation and test.
    cache_folder : str or Path
        Of decoded audio.
    training_condition : str
        The condition that a training mixes its clips in.
    skip_bad_files : bool
    n_classes : int, optional
        Refuse a data set with another number of classes, for a classifier that is
        trained on it.
    conditions : sequence of str, optional
        Those that are wanted: what only others need is not read. ``train`` gets those
        of them that are for training. That of training when left out.

    Returns
    -------
    PreparedData

    Raises
    ------
    UserError
        As named by the parts; nothing but manifests is written to ``output_folder``
        then.
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
    read_source(dataset)  # its mistakes come first
    setups = {
        split: SplitSetup(
            split, sample_rate, signal_length_s, cache_folder, skip_bad_files
        )
        for split in splits
    }
    chosen = {name: all_conditions[name] for name in wanted}
    # Before clips are decoded, which takes minutes.
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


def _prepare_conditions(conditions, setups, needs_clips):
    """{(condition, split): interference} of those that need clips, or do not."""
    return {
        (name, setup.split): condition.prepare(setup)
        for setup in setups
        for name, condition in conditions.items()
        if condition.needs_clips == needs_clips
        and (condition.for_training or setup.split != "train")
    }


def check_named_objects(dataset, conditions):
    """Refuse a recipe whose data source or conditions are other objects.

    Arguments
    ---------
    dataset : object
        It must be a DataSource.
    conditions : dict of str to object
        Each must be a Condition.

    Raises
    ------
    SettingError
        If one is not.
    """
    if not isinstance(dataset, DataSource):
        raise SettingError(
            f"dataset is {dataset!r}: name a class of lmac_td.data.sources, or one of "
            "your own, as !new:lmac_td.data.sources.esc50.ESC50"
        )
    if not isinstance(conditions, dict):
        raise SettingError(
            f"conditions is {conditions!r}: name one of lmac_td.data.conditions "
            "by each name, as hparams/base/data.yaml does"
        )
    for name, condition in conditions.items():
        if not isinstance(condition, Condition):
            raise SettingError(
                f"condition {name} is {condition!r}: name a class of "
                "lmac_td.data.conditions, or one of your own, as "
                "!new:lmac_td.data.conditions.clean.Clean {}"
            )
