"""Load SpeechBrain's ``EncoderClassifier``, its sample rate and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from speechbrain.inference.classifiers import EncoderClassifier

from lmac_td.classifiers.labels import read_labels
from lmac_td.classifiers.speechbrain_sources import HYPERPARAMS, settings_of_source
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.model_sources import ADDRESS, FOLDER, HUB_ID, require_source
from lmac_td.runtime.loading import weights_only


def open_encoder(
    source: str | Path,
    savedir: str | Path | None = None,
    run_opts: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> EncoderClassifier:
    """Load an ``EncoderClassifier`` without a change of torch's random state.

    Arguments
    ---------
    source, savedir, run_opts, trust_remote_code
        See :class:`~lmac_td.classifiers.speechbrain.SpeechBrainClassifier`.

    Returns
    -------
    EncoderClassifier

    Raises
    ------
    CheckpointError
        If the source is missing, cannot be downloaded or cannot be loaded.
    SettingError
        If a source that is not on this disk runs code of its own.
    """
    source = str(source)
    remedy = (
        f"give pretrained_classifier a folder with {HYPERPARAMS}, or a hub id such as "
        "owner/name"
    )
    is_local = require_source(source, remedy, (FOLDER, ADDRESS, HUB_ID)) == FOLDER
    if is_local and not (Path(source) / HYPERPARAMS).is_file():
        raise CheckpointError(
            f"{source} has no {HYPERPARAMS}: give the folder of a SpeechBrain "
            "EncoderClassifier as pretrained_classifier"
        )
    try:
        settings = settings_of_source(source, savedir, trust_remote_code)
        settings["run_opts"] = run_opts or {"device": "cpu"}
        with torch.random.fork_rng(devices=[]), weights_only():
            return EncoderClassifier.from_hparams(source=source, **settings)
    except SettingError:
        raise
    except Exception as error:  # the yaml may run any code
        what, remedy = "loaded", "check its files and that its yaml is of this version"
        if not is_local:
            what = "downloaded or loaded"
            remedy = "check the name and the network, or give a local folder"
        raise CheckpointError(
            f"pretrained_classifier: {source} could not be {what} ({reason(error)}): "
            f"{remedy}"
        ) from error


def reason(error: Exception) -> str:
    """Return the class and the first 200 characters of an error, for a message."""
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def check_modules(encoder: EncoderClassifier, source: object) -> None:
    """Refuse an ``EncoderClassifier`` that cannot be used.

    Arguments
    ---------
    encoder : EncoderClassifier
    source : object
        Folder, address or hub id of the encoder, for the message.

    Raises
    ------
    SettingError
        If a module is missing, or the normalisation mixes clips.
    """
    where = "the EncoderClassifier"
    if not isinstance(source, EncoderClassifier):
        where = f"pretrained_classifier: {source}"
    mods = encoder.mods
    missing = [name for name in EncoderClassifier.MODULES_NEEDED if name not in mods]
    if missing:
        raise SettingError(
            f"{where} has no {' and no '.join(missing)} among its modules "
            f"({', '.join(mods)}): give an EncoderClassifier that has them, or wrap "
            "the network in lmac_td.classifiers.modules.ModuleClassifier"
        )
    if getattr(mods["mean_var_norm"], "norm_type", None) == "batch":
        raise SettingError(
            f"{where} normalises by the statistics of a batch, so the decision on a "
            "clip depends on the others: set norm_type of its mean_var_norm to "
            "sentence or global"
        )


def sample_rate_of(encoder: EncoderClassifier) -> int:
    """Return the ``sample_rate`` of the yaml, else of the audio normaliser, in Hz.

    Arguments
    ---------
    encoder : EncoderClassifier

    Returns
    -------
    int
    """
    rate = getattr(getattr(encoder, "hparams", None), "sample_rate", None)
    return encoder.audio_normalizer.sample_rate if rate is None else rate


def labels_of(encoder: EncoderClassifier, n_classes: int) -> tuple[str, ...]:
    """Return the names in the label encoder by index; numbers if there is none.

    Arguments
    ---------
    encoder : EncoderClassifier
    n_classes : int

    Returns
    -------
    tuple of str

    Raises
    ------
    SettingError
        If the indices of the label encoder are not those of the classes.
    """
    label_encoder = getattr(getattr(encoder, "hparams", None), "label_encoder", None)
    names = getattr(label_encoder, "ind2lab", {})
    if not names:
        return read_labels(n_classes)
    if sorted(names) != list(range(n_classes)):
        raise SettingError(
            f"the label encoder of the EncoderClassifier has {len(names)} labels, from "
            f"index {min(names)} to {max(names)}, and its classifier has {n_classes} "
            "classes: give the label encoder with which it was trained"
        )
    return read_labels([str(names[index]) for index in range(n_classes)])
