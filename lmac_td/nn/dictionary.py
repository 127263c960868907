"""The file of an NMF dictionary: save it, load it, check it.

A dictionary is a folder with ``dictionary.npy``, an array (bins, K) whose columns are
non-negative and have unit L2 norm, and ``settings.json``, the settings that it was
learned with.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmac_td.errors import CheckpointError, UnreadableFileError
from lmac_td.files import temporary_folder_beside
from lmac_td.reading import read_json, regular_size

DICTIONARY = "dictionary.npy"
SETTINGS = "settings.json"

_COMMAND = "`python recipes/ESC50/train_nmf.py hparams/nmf.yaml`"
_LEARN_AGAIN = f"learn the nmf_dictionary again with {_COMMAND}"


def save_dictionary(
    folder: str | Path,
    dictionary: np.ndarray,
    save_settings: Callable[[Path], None],
) -> None:
    """Write a dictionary and its settings, both or neither.

    Arguments
    ---------
    folder : str or Path
        The folder of the dictionary; an existing one is replaced.
    dictionary : ndarray (bins, K)
    save_settings : callable
        Writes ``settings.json`` into the folder that it is called with.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "dictionary"
    >>> save_dictionary(
    ...     folder, np.eye(5, 3), lambda made: (made / SETTINGS).write_text("{}")
    ... )
    >>> sorted(os.listdir(folder))
    ['dictionary.npy', 'settings.json']
    """
    folder = Path(folder)
    with temporary_folder_beside(folder) as scratch:
        made = scratch / "made"
        made.mkdir()
        np.save(made / DICTIONARY, dictionary)
        save_settings(made)
        if folder.exists():
            os.replace(folder, scratch / "old")
        os.replace(made, folder)


def load_dictionary(
    folder: str | Path,
    sample_rate: int,
    n_fft: int,
    win_length: float,
    hop_length: float,
) -> Tensor:
    """Load a dictionary, and check that it was learned from the same kind of spectra.

    Arguments
    ---------
    folder : str or Path
        Holds ``dictionary.npy`` and, if ``train_nmf.py`` made it, ``settings.json``.
    sample_rate : int
        In Hz.
    n_fft : int
        Points of the FFT.
    win_length, hop_length : float
        In milliseconds. These four settings must be the same as in the training of the
        dictionary; otherwise its patterns would be at other frequencies.

    Returns
    -------
    Tensor (bins, K)
        In float32.

    Raises
    ------
    CheckpointError
        If the dictionary is missing or corrupt, or was learned from other spectra.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/dictionary.npy", np.eye(5, 3))
    >>> load_dictionary(folder.name, 16000, 8, win_length=20, hop_length=10).shape
    torch.Size([5, 3])
    """
    path = Path(folder) / DICTIONARY
    dictionary = _read_array(path)
    wanted = {
        "sample_rate": sample_rate,
        "n_fft": n_fft,
        "win_length": win_length,
        "hop_length": hop_length,
    }
    learned = _read_settings(path.with_name(SETTINGS))
    for name, value in wanted.items():
        if learned.get(name, value) != value:
            raise CheckpointError(
                f"{path} was learned with {name} {learned[name]!r}, not {value!r}: "
                f"give the same --{name}, or {_LEARN_AGAIN}"
            )
    n_bins = n_fft // 2 + 1
    if dictionary.ndim != 2 or len(dictionary) != n_bins or dictionary.shape[1] == 0:
        raise CheckpointError(
            f"{path} has shape {dictionary.shape}, but n_fft {n_fft} needs ({n_bins}, "
            f"components): give the --n_fft of its training, or {_LEARN_AGAIN}"
        )
    norms = np.linalg.norm(dictionary, axis=0)
    # NaN fails both comparisons; the norm of a column with infinity is not 1.
    if not ((dictionary >= 0).all() and (abs(norms - 1) < 1e-3).all()):
        raise CheckpointError(
            f"{path} has columns that are not finite, non-negative and of unit norm: "
            f"correct it, or {_LEARN_AGAIN}"
        )
    return torch.from_numpy(dictionary).float()


def _read_array(path: Path) -> np.ndarray:
    """Read an array of floats."""
    try:
        regular_size(path)
        # Mapped, so that a header cannot ask for more memory than the file has.
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{path} does not exist: learn it with {_COMMAND} and the same "
            "--size, and give its folder as nmf_dictionary"
        ) from error
    except Exception as error:  # numpy raises many types
        raise CheckpointError(
            f"{path} is corrupt or not an array of numbers: {_LEARN_AGAIN}"
        ) from error
    if not np.issubdtype(array.dtype, np.floating):
        raise CheckpointError(f"{path} holds {array.dtype}, not floats: {_LEARN_AGAIN}")
    return array


def _read_settings(path: Path) -> dict:
    """Read the settings of the training; empty if there is no file of settings."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return {}
    except UnreadableFileError as error:
        raise CheckpointError(f"{error}; {_LEARN_AGAIN}") from error
