"""Convert a dictionary of SpeechBrain's NMF to the folder that ``train_nmf.py`` writes.

SpeechBrain keeps W (bins, K) in ``nmf_decoder.ckpt``, and negative entries count as 0.
Here columns have unit norm and their scale belongs to the activations, so a column is
divided by its norm, and one that is all 0 is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmac_td.classifiers.weights import read_tensors
from lmac_td.convert.checkpoints import (
    AGAIN,
    find_checkpoint,
    read_hyperparams,
)
from lmac_td.convert.folders import Converted, card_of, new_folder, write_card
from lmac_td.convert.origins import HYPERPARAMS, LINE, Settings
from lmac_td.convert.origins import WEIGHTS as FROM_WEIGHTS
from lmac_td.errors import CheckpointError
from lmac_td.experiment.build import plain_settings, typed_recipe
from lmac_td.experiment.kept import save_settings
from lmac_td.experiment.settings import declarations
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.nn.dictionary import DICTIONARY, load_dictionary

RECIPE = HPARAMS / "nmf.yaml"
FILES = ("nmf_decoder.ckpt", "nmf_dictionary.pt")
FRONT_END = ("sample_rate", "n_fft", "win_length", "hop_length")
# SpeechBrain's nmf.yaml; all else is as in our recipe.
SAMPLE_RATE = 44100


def convert_dictionary(
    source: str | Path, out: str | Path, given: Mapping[str, Any] | None = None
) -> Converted:
    """Convert a dictionary into a folder for ``nmf_dictionary``.

    Arguments
    ---------
    source : str or Path
        ``nmf_decoder.ckpt``, or ``nmf_dictionary.pt``, or their folder.
    out : str or Path
        A folder that does not exist.
    given : mapping, optional
        Settings of the STFT that replace what is found.

    Returns
    -------
    Converted

    Raises
    ------
    CheckpointError
        If it holds no dictionary, or one of another number of bins.
    SettingError
        If the folder exists, or a setting is not valid.
    """
    path = find_checkpoint(source, FILES, "a dictionary of NMF")
    dictionary = read_dictionary(path)
    norms = dictionary.norm(dim=0)
    n_dead = int((norms == 0).sum())
    dictionary = dictionary[:, norms > 0] / norms[norms > 0]
    plain = plain_settings(RECIPE) | {"sample_rate": SAMPLE_RATE}
    settings = Settings({name: plain[name] for name in FRONT_END})
    settings.add(HYPERPARAMS, read_hyperparams(source), only=FRONT_END)
    settings.add(FROM_WEIGHTS, {"n_components": dictionary.shape[1]})
    settings.add(LINE, dict(given or {}))
    tree = typed_recipe(RECIPE, settings.values)
    values = {name: tree[name] for name in settings.values}
    roles = {name: declarations(tree)[name].roles for name in values}
    with new_folder(out) as folder:
        np.save(folder / DICTIONARY, dictionary.double().numpy())
        save_settings(folder, values, roles)
        load_dictionary(folder, **{name: values[name] for name in FRONT_END})
        text = (
            f"{len(norms) - n_dead} spectral patterns of {len(dictionary)} bins, "
            "converted from SpeechBrain's NMF by `lmac-td convert nmf`: a folder for "
            "`nmf_dictionary` of L2I."
        )
        write_card(folder, card_of("NMF", text, {"W": path}, settings))
    dead = f"{n_dead} of {len(norms)} patterns are 0 everywhere and left out."
    return Converted(Path(out), settings, (dead,) if n_dead else ())


def read_dictionary(path: Path) -> Tensor:
    """Read W (bins, K), at least 0, from a file of SpeechBrain.

    Raises
    ------
    CheckpointError
        If the file holds something else.
    """
    held = read_tensors(path, path, AGAIN)
    found = held.get("W") if isinstance(held, dict) else held
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise CheckpointError(
            f"{path} holds no dictionary: give nmf_decoder.ckpt, whose W is (bins, "
            "patterns), or nmf_dictionary.pt, which is that matrix"
        )
    found = found.detach().float().relu()
    if not torch.isfinite(found).all() or not found.any():
        raise CheckpointError(
            f"{path} holds a dictionary that is 0, NaN or infinite: {AGAIN}"
        )
    return found
