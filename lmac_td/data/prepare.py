"""One call from settings to data: obtain, check, decode, and mix on demand."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from lmac_td.data import corpus
from lmac_td.data.datasets import CONDITIONS, TRAINING_CONDITIONS, make_dataset
from lmac_td.data.interference import OtherClasses, WhiteNoise
from lmac_td.data.manifests import write_manifests
from lmac_td.data.mixing import PUBLISHED_SNR_DB
from lmac_td.data.noise import NoisePool, speech_folder, wham_split_folder
from lmac_td.data.sources.base import read_source
from lmac_td.errors import DataError, SettingError, require_choice, require_number


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
    interference : dict of (str, str) to NoisePool, OtherClasses or WhiteNoise
        By condition and split, for those that were prepared.
    snr_db : dict of str to float
        By condition, the ratio that is really used; of all conditions but ``clean``.
    mixing_seed : int
    """

    manifests: dict
    class_names: list
    folds: dict
    interference: dict
    snr_db: dict
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
            self.interference.get((condition, split)),
            snr_db=self.snr_db.get(condition, 0.0),
            mixing_seed=None if split == "train" else self.mixing_seed,
            clean_probability=clean_probability,
        )


def prepare(
    splits,
    dataset,
    wham_folder,
    output_folder,
    fold_nums,
    sample_rate,
    signal_length_s,
    snr_db,
    mixing_seed,
    cache_folder,
    skip_bad_files=False,
    n_classes=None,
    conditions=TRAINING_CONDITIONS,
    ljspeech_folder=None,
    mixtures_snr_db=5.0,
    white_noise_snr_db=3.0,
    speech_snr_db=3.0,
    snr="paper",
):
    """Prepare the splits that a command needs.

    Arguments
    ---------
    splits : sequence of str
        Of ``train``, ``valid`` and ``test``.
    dataset : DataSource
        Where clips come from; see :mod:`lmac_td.data.sources`.
    wham_folder : str or Path
        In WHAM!'s layout; not written to.
    output_folder : str or Path
        Manifests go to its subfolder ``manifest``.
    fold_nums : dict of str to list of int
        Of all three splits. Validation and test may share folds, training none.
    sample_rate : int
        In Hz.
    signal_length_s : float
        In seconds.
    snr_db : float
        Of the clip to WHAM!'s noise, in dB.
    mixing_seed : int
        Of the interference in validation and test.
    cache_folder : str or Path
        Of decoded audio.
    skip_bad_files : bool
    n_classes : int, optional
        Refuse a data set with another number of classes, for a classifier that is
        trained on it.
    conditions : sequence of str
        Of :data:`lmac_td.data.datasets.CONDITIONS`, those that are wanted: what only
        others need is not read. ``train`` has those of training alone.
    ljspeech_folder : str or Path, optional
        Any folder in LJSpeech's layout, or of recordings; not written to. Needed by
        ``speech``. Utterances are cut or looped to the length of a clip.
    mixtures_snr_db, white_noise_snr_db, speech_snr_db : float
        Of the clip to the interference, in dB.
    snr : str
        ``"paper"``: the three above; ``"published"``: those of the published code,
        :data:`lmac_td.data.mixing.PUBLISHED_SNR_DB`, in their place.

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
    for condition in conditions:
        require_choice("condition", condition, CONDITIONS)
    snr_by_condition = _choose_snr(
        snr, snr_db, mixtures_snr_db, white_noise_snr_db, speech_snr_db
    )
    dataset.obtain()
    if "speech" in conditions and ljspeech_folder is not None:
        _check_corpus_has_speech(Path(ljspeech_folder))
    read_source(dataset)  # its mistakes come first
    # Before clips are decoded, which takes minutes.
    how = (sample_rate, signal_length_s, cache_folder, skip_bad_files)
    interference = {}
    if "in_domain" in conditions:
        for split in splits:
            interference["in_domain", split] = NoisePool(
                wham_split_folder(wham_folder, split), *how
            )
    measured = [split for split in splits if split != "train"]
    if "speech" in conditions and measured:
        pool = _speech_pool(ljspeech_folder, how)
        interference |= {("speech", split): pool for split in measured}
    manifests, names = write_manifests(
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
    for split in measured:
        if "mixtures" in conditions:
            interference["mixtures", split] = OtherClasses(manifests[split])
        if "white_noise" in conditions:
            n_samples = round(signal_length_s * sample_rate)
            interference["white_noise", split] = WhiteNoise(n_samples)
    return PreparedData(
        manifests, names, fold_nums, interference, snr_by_condition, mixing_seed
    )


def _choose_snr(snr, wham, mixtures, white_noise, speech):
    """The ratio of each condition, dB."""
    require_choice("snr", snr, ("paper", "published"))
    snr_db = {
        "in_domain": wham,
        "mixtures": mixtures,
        "white_noise": white_noise,
        "speech": speech,
    }
    for condition, value in snr_db.items():
        setting = "wham" if condition == "in_domain" else condition
        require_number(f"{setting}_snr_db", value, above=-math.inf)
    return snr_db | PUBLISHED_SNR_DB if snr == "published" else snr_db


def _speech_pool(ljspeech_folder, how):
    if ljspeech_folder is None:
        raise SettingError(
            "condition speech needs recordings of speech: give a folder in LJSpeech's "
            "layout with --ljspeech_folder"
        )
    return NoisePool(speech_folder(ljspeech_folder), *how, setting="ljspeech_folder")


def _check_corpus_has_speech(folder):
    """Say what to do about a corpus of before there was speech in it."""
    root = folder.parent
    is_corpus = folder.name == "LJSpeech-1.1" and (root / corpus.MARKER).exists()
    if is_corpus and not folder.exists():
        raise DataError(
            f"{root} holds an embedded corpus without speech, of an earlier version: "
            "remove it and give --generate_corpus True, and it is made anew, or give "
            "another --ljspeech_folder"
        )
