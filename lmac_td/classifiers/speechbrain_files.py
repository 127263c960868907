"""Load SpeechBrain's ``EncoderClassifier``, its sample rate and its labels."""

import re
from pathlib import Path

import torch
from speechbrain.inference.classifiers import EncoderClassifier

from lmac_td.classifiers.labels import read_labels
from lmac_td.errors import CheckpointError, SettingError

HYPERPARAMS = "hyperparams.yaml"


def open_encoder(source, savedir=None, run_opts=None):
    """Load an ``EncoderClassifier``; torch's random state stays as it is.

    Arguments
    ---------
    source, savedir, run_opts
        See :class:`~lmac_td.classifiers.speechbrain.SpeechBrainClassifier`.

    Returns
    -------
    EncoderClassifier

    Raises
    ------
    CheckpointError
        If the source is missing, cannot be fetched or cannot be loaded.
    """
    source = str(source)
    settings = {"run_opts": run_opts or {"device": "cpu"}}
    is_local = Path(source).is_dir()
    is_address = source.startswith(("http://", "https://"))
    if is_local:
        if not (Path(source) / HYPERPARAMS).is_file():
            raise CheckpointError(
                f"{source} holds no {HYPERPARAMS}: give the folder of a SpeechBrain "
                "EncoderClassifier as pretrained_classifier"
            )
        # Where the yaml names the hub that its folder was copied from.
        settings["overrides"] = {"pretrained_path": source}
        settings["overrides_must_match"] = False
    elif not is_address and (source.count("/") != 1 or source.startswith(("/", "."))):
        raise CheckpointError(
            f"{source} does not exist: give pretrained_classifier a folder with "
            f"{HYPERPARAMS}, or a hub id such as owner/name"
        )
    elif savedir is not None:
        # One folder a source: SpeechBrain takes a file that is there for the right one.
        settings["savedir"] = str(Path(savedir) / re.sub(r"[^\w.-]+", "_", source))
    try:
        with torch.random.fork_rng(devices=[]):
            return EncoderClassifier.from_hparams(source=source, **settings)
    except Exception as error:  # whatever the yaml runs
        what, remedy = "loaded", "check its files and that its yaml is of this version"
        if not is_local:
            what = "fetched or loaded"
            remedy = "check the name and the network, or give a local folder"
        raise CheckpointError(
            f"pretrained_classifier: {source} could not be {what} ({reason(error)}): "
            f"{remedy}"
        ) from error


def reason(error):
    """The class and the first 200 characters of an error, for a message."""
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def check_modules(encoder, source):
    """Refuse an ``EncoderClassifier`` that cannot be used.

    Arguments
    ---------
    encoder : EncoderClassifier
    source : object
        Where it is from, for the message.

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
            "the network by lmac_td.classifiers.modules.ModuleClassifier"
        )
    if getattr(mods["mean_var_norm"], "norm_type", None) == "batch":
        raise SettingError(
            f"{where} normalises by the statistics of a batch, so the decision on a "
            "clip depends on the others: set norm_type of its mean_var_norm to "
            "sentence or global"
        )


def sample_rate_of(encoder):
    """Return the rate in Hz: the yaml's ``sample_rate``, else the audio normaliser's.

    Arguments
    ---------
    encoder : EncoderClassifier

    Returns
    -------
    int
    """
    rate = getattr(getattr(encoder, "hparams", None), "sample_rate", None)
    return encoder.audio_normalizer.sample_rate if rate is None else rate


def labels_of(encoder, n_classes):
    """Labels of the label encoder by index; numbers where there is none.

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
        If the label encoder has other indices than the classes.
    """
    label_encoder = getattr(getattr(encoder, "hparams", None), "label_encoder", None)
    names = getattr(label_encoder, "ind2lab", {})
    if not names:
        return read_labels(n_classes)
    if sorted(names) != list(range(n_classes)):
        raise SettingError(
            f"the label encoder of the EncoderClassifier has {len(names)} labels, from "
            f"index {min(names)} to {max(names)}, and its classifier {n_classes} "
            "classes: give the label encoder that it was trained with"
        )
    return read_labels([str(names[index]) for index in range(n_classes)])
