"""Check that a classifier gets the spectrograms that it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lmac_td.errors import CheckpointError, UnreadableFileError
from lmac_td.features import SpectralFeatures
from lmac_td.reading import read_json

SETTINGS = "settings.json"


def check_front_end(
    folder: str | Path, features: SpectralFeatures, others: Mapping[str, object]
) -> None:
    """Refuse weights that were trained with another front end.

    A classifier answers other spectrograms without an error, and wrongly.

    Arguments
    ---------
    folder : str or Path
        Of the weights. If ``settings.json`` is in it, its ``sample_rate``, ``n_fft``,
        ``win_length``, ``hop_length`` and the others are compared.
    features : SpectralFeatures
        The STFT of the classifier. Its window and hop are compared in samples.
    others : mapping of str to object
        Further settings of the classifier, such as ``activation``.

    Raises
    ------
    CheckpointError
        If they differ, or the file is damaged.
    """
    path = Path(folder) / SETTINGS
    try:
        trained = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except UnreadableFileError as error:
        raise CheckpointError(
            f"{path} cannot be read as the settings of a training: restore it, or "
            "train again into another folder"
        ) from error
    now = {
        "sample_rate": features.sample_rate,
        "n_fft": features.n_fft,
        "win_length": features.win_samples,
        "hop_length": features.hop_samples,
        **others,
    }
    for name, value in now.items():
        given = trained.get(name)
        is_time = name in ("win_length", "hop_length") and _is_number(given)
        was = round(given * features.sample_rate / 1000) if is_time else given
        if given is not None and was != value:
            shown = f"{value / features.sample_rate * 1000:g}" if is_time else value
            raise CheckpointError(
                f"pretrained_classifier {folder} was trained with {name} {given}, not "
                f"{shown}: give --{name} {given}, or another pretrained_classifier"
            )


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
