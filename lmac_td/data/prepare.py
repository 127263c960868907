"""One call from settings to data: obtain, check, decode, and mix on demand."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from lmac_td.data import corpus
from lmac_td.data.datasets import make_dataset
from lmac_td.data.download import download_esc50
from lmac_td.data.esc50 import class_names, prepare_esc50, read_clips
from lmac_td.data.noise import NoisePool, wham_split_folder
from lmac_td.errors import SettingError, require_number


@dataclass(frozen=True)
class PreparedData:
    """Decoded splits, and the mixtures that can be made of them.

    Attributes
    ----------
    manifests : dict of str to Path
        One a split.
    class_names : list of str
        By class index.
    folds : dict of str to list of int
        The folds of each split.
    noise_pools : dict of str to NoisePool
        One a split, none without noise.
    snr_db : float
    mixing_seed : int
    """

    manifests: dict
    class_names: list
    folds: dict
    noise_pools: dict
    snr_db: float
    mixing_seed: int

    def sample_ids(self, split, n_samples):
        """Ids of ``n_samples`` clips spread evenly over the classes of a split."""
        clips = json.loads(self.manifests[split].read_text(encoding="utf-8"))
        clip_ids = sorted(clips, key=lambda clip_id: clips[clip_id]["class_index"])
        wanted = min(n_samples, len(clip_ids))
        return {clip_ids[i * len(clip_ids) // wanted] for i in range(wanted)}

    def dataset(self, split, condition="in_domain", clean_probability=0.0):
        """The mixtures of a split: drawn anew in ``train``, fixed in the others.

        Arguments
        ---------
        split : str
        condition : str
            As in :func:`lmac_td.data.datasets.make_dataset`.
        clean_probability : float
            Only for ``train``.

        Returns
        -------
        DynamicItemDataset
        """
        return make_dataset(
            self.manifests[split],
            condition,
            noise_pool=self.noise_pools.get(split),
            snr_db=self.snr_db,
            mixing_seed=None if split == "train" else self.mixing_seed,
            clean_probability=clean_probability,
        )


def prepare(
    splits,
    data_folder,
    wham_folder,
    output_folder,
    fold_nums,
    out_n_neurons,
    sample_rate,
    signal_length_s,
    snr_db,
    mixing_seed,
    cache_folder,
    skip_bad_files=False,
    download=False,
    generate_corpus=False,
    noise=True,
):
    """Prepare the splits that a command needs.

    Arguments
    ---------
    splits : sequence of str
        Of ``train``, ``valid`` and ``test``.
    data_folder, wham_folder : str or Path
        In ESC-50's and in WHAM!'s layout; neither is written to.
    output_folder : str or Path
        Manifests go to its subfolder ``manifest``.
    fold_nums : dict of str to list of int
        Of all three splits. Validation and test may share folds, training none.
    out_n_neurons : int
        Classes that the classifier tells apart.
    sample_rate : int
        In Hz.
    signal_length_s : float
        In seconds.
    snr_db : float
        Of the noise, in dB.
    mixing_seed : int
        Of the noise in validation and test.
    cache_folder : str or Path
        Of decoded audio.
    skip_bad_files : bool
    download : bool
        Fetch ESC-50 if ``data_folder`` does not exist.
    generate_corpus : bool
        Make the embedded corpus if ``data_folder`` does not exist.
    noise : bool
        Whether mixtures with noise are wanted; without, ``wham_folder`` is not read.

    Returns
    -------
    PreparedData

    Raises
    ------
    UserError
        As named by the parts; nothing is written to ``output_folder`` then.
    """
    require_number("sample_rate", sample_rate)
    require_number("signal_length_s", signal_length_s)
    require_number("wham_snr_db", snr_db, above=-math.inf)
    if not _holds_something(data_folder):
        if generate_corpus:
            _generate(data_folder, wham_folder)
        elif download:
            download_esc50(data_folder)
    names = class_names(read_clips(data_folder))
    noise_pools = {
        split: NoisePool(
            wham_split_folder(wham_folder, split),
            sample_rate,
            signal_length_s,
            cache_folder,
            skip_bad_files,
        )
        for split in (splits if noise else ())
    }
    manifests = prepare_esc50(
        data_folder,
        output_folder,
        fold_nums,
        out_n_neurons,
        sample_rate,
        signal_length_s,
        cache_folder,
        skip_bad_files,
        splits,
    )
    return PreparedData(manifests, names, fold_nums, noise_pools, snr_db, mixing_seed)


def _holds_something(folder):
    return Path(folder).is_dir() and any(Path(folder).iterdir())


def _generate(data_folder, wham_folder):
    """The corpus makes ``ESC-50`` and ``wham_noise`` side by side, so ask for that."""
    root = Path(data_folder).parent
    if Path(data_folder).name != "ESC-50" or Path(wham_folder) != root / "wham_noise":
        raise SettingError(
            "generate_corpus makes FOLDER/ESC-50 and FOLDER/wham_noise: set "
            f"data_folder and wham_folder so, not to {data_folder} and {wham_folder}"
        )
    print(f"Generating the embedded corpus in {root} ...", flush=True)
    corpus.generate_corpus(root)
