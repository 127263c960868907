"""Sparse NMF: the dictionary of spectral patterns in which L2I explains a sound.

    min 1/2 ||X - W H||_F^2 + mu ||H||_1   s.t.  W >= 0, H >= 0, ||w_k||_2 = 1

is eq. 5 of L2I (Parekh et al., "Listen to Interpret"), with a half that fixes what mu
means. X (bins, frames) are the frames of a training set, W (bins, K) is the dictionary
and H (K, frames) says how much of each pattern is in a frame. The updates are those of
Le Roux, Weninger and Hershey, "Sparse NMF - half-baked or well done?" (MERL, Tech. Rep.
TR2015-023), for the Euclidean distance (beta = 2):

    H <- H * W'X / (W'W H + mu)
    W <- W * (A + W diag(W'B)) / (B + W diag(W'A)),  A = X H',  B = W H H'
    w_k <- w_k / ||w_k||

The two diagonals are the gradient of the norm: the step is that of the normalised W, so
normalising does not undo it. No library solves this on CPU and GPU: torchnmf penalises
W as it does H and does not normalise it, and scikit-learn is for the CPU alone.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

from lmac_td.errors import CheckpointError, SettingError, require_number

DICTIONARY = "dictionary.npy"
SETTINGS = "settings.json"
# Of every entry of W and H: nothing is divided by zero, nothing is stuck at zero.
FLOOR = 1e-16
# Frames in one product. Products are in the frames' precision, their sum in float64.
CHUNK = 16384

_COMMAND = "`python recipes/ESC50/train_nmf.py hparams/nmf.yaml`"
_ANEW = f"learn the nmf_dictionary anew with {_COMMAND}"


@torch.no_grad()
def sparse_nmf(frames, n_components, sparsity, n_iterations, seed, on_iteration=None):
    """Learn a dictionary by multiplicative updates.

    Le Roux et al. prove no descent for the step of W; in all our tests the objective
    never rose. Neither W H nor anything else of the size of X is ever made.

    Arguments
    ---------
    frames : Tensor (bins, frames)
        X, non-negative, on any device. Silent frames cost time and leave W as it is.
    n_components : int
        K.
    sparsity : float
        mu, at least 0.
    n_iterations : int
        Each updates H, then W.
    seed : int
        Of the first W, which is uniform in [0, 1) and drawn on the CPU, so that all
        devices begin alike; H begins with ones.
    on_iteration : callable, optional
        Given the number of iterations done and the objective after them.

    Returns
    -------
    w : Tensor (bins, K)
        Columns of unit L2 norm.
    h : Tensor (K, frames)
    objective : list of float
        (1/2 ||X - W H||_F^2 + mu ||H||_1) / frames after each iteration.

    Raises
    ------
    SettingError
        If a setting cannot work, or components outnumber the frames with sound.

    Example
    -------
    >>> w, h, objective = sparse_nmf(torch.rand(6, 50), 3, 0.1, 20, seed=0)
    >>> w.shape, h.shape, len(objective)
    (torch.Size([6, 3]), torch.Size([3, 50]), 20)
    """
    check_settings(n_components, sparsity, n_iterations)
    _check_frames(frames, n_components)
    n_bins, n_frames = frames.shape
    w = torch.rand(
        n_bins,
        n_components,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    ).to(frames.device)
    w = w / w.norm(dim=0)
    h = frames.new_ones(n_components, n_frames)
    energy = sum(x.double().square().sum() for x in frames.split(CHUNK, dim=1))
    objective = []
    for iteration in range(1, n_iterations + 1):
        xh, hh, l1 = _update_h(frames, w, h, sparsity)
        w = _update_w(w, xh, hh)
        error = energy - 2 * (w * xh).sum() + ((w.T @ w) * hh).sum()  # ||X - W H||^2
        objective.append(float(error / 2 + sparsity * l1) / n_frames)
        if on_iteration is not None:
            on_iteration(iteration, objective[-1])
    return w.to(frames.dtype), h, objective


def _update_h(frames, w, h, sparsity):
    """Update H in place; return X H', H H' and ||H||_1, all in float64."""
    n_bins, n_components = w.shape
    xh = w.new_zeros(n_bins, n_components)
    hh = w.new_zeros(n_components, n_components)
    l1 = w.new_zeros(())
    gram = (w.T @ w).to(frames.dtype)
    w = w.to(frames.dtype)
    for x, part in zip(frames.split(CHUNK, dim=1), h.split(CHUNK, dim=1), strict=True):
        part *= (w.T @ x) / (gram @ part + sparsity)
        part.clamp_(min=FLOOR)
        xh += x @ part.T
        hh += part @ part.T
        l1 += part.sum(dtype=torch.float64)
    return xh, hh, l1


def _update_w(w, xh, hh):
    """The step of the normalised W, and the normalisation; float64."""
    whh = w @ hh
    gain = (xh + w * (w * whh).sum(dim=0)) / (whh + w * (w * xh).sum(dim=0))
    w = (w * gain).clamp(min=FLOOR)
    return w / w.norm(dim=0)


def check_settings(n_components, sparsity, n_iterations):
    """Refuse settings with which nothing can be learned.

    Raises
    ------
    SettingError

    Example
    -------
    >>> check_settings(100, -1, 200)
    Traceback (most recent call last):
    lmac_td.errors.SettingError: sparsity is -1: give --sparsity a number from 0
    """
    for name, value in (("n_components", n_components), ("n_iterations", n_iterations)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SettingError(
                f"{name} is {value!r}: give --{name} a whole number from 1"
            )
    require_number("sparsity", sparsity, least=0)


def _check_frames(frames, n_components):
    if frames.ndim != 2 or not frames.min() >= 0 or not frames.max() < math.inf:
        raise ValueError("frames must be (bins, frames), finite and non-negative")
    n_sounding = int((frames.amax(dim=0) > 0).sum())
    if n_sounding < n_components:
        raise SettingError(
            f"n_components is {n_components}, but only {n_sounding} frames are not "
            "silent: give --n_components less, or more clips"
        )


@torch.no_grad()
def reconstruction_error(frames, w, h):
    """||X - W H||_F / ||X||_F: 0 is perfect, and 1 is no better than nothing.

    Arguments
    ---------
    frames : Tensor (bins, frames)
    w : Tensor (bins, K)
    h : Tensor (K, frames)

    Returns
    -------
    float

    Example
    -------
    >>> w, h = torch.rand(6, 2), torch.rand(2, 50)
    >>> round(reconstruction_error(2 * w @ h, w, h), 3)
    0.5
    """
    error = energy = 0.0
    for x, part in zip(frames.split(CHUNK, dim=1), h.split(CHUNK, dim=1), strict=True):
        error += (x - w @ part).double().square().sum()
        energy += x.double().square().sum()
    return float((error / energy).sqrt())


def components_per_frame(h, share=0.01):
    """How many components a frame uses: those above a share of its largest.

    Arguments
    ---------
    h : Tensor (K, frames)
    share : float

    Returns
    -------
    float
        Mean over frames, from 1 to K.

    Example
    -------
    >>> components_per_frame(torch.tensor([[1.0, 1.0], [0.0, 0.5], [0.001, 0.2]]))
    2.0
    """
    return float((h > share * h.amax(dim=0)).sum(dim=0).double().mean())


def load_dictionary(folder, sample_rate, n_fft, win_length, hop_length):
    """Read a dictionary, if it is one of the spectra that it shall explain.

    Arguments
    ---------
    folder : str or Path
        Holds ``dictionary.npy``, (bins, K) with columns of unit L2 norm, and, where
        ``train_nmf.py`` made it, ``settings.json``.
    sample_rate : int
        In Hz.
    n_fft : int
        Points of the FFT.
    win_length, hop_length : float
        In milliseconds. These four must be those that the dictionary was learned with:
        learned at 44.1 kHz, its patterns would lie at other frequencies at 16 kHz.

    Returns
    -------
    Tensor (bins, K)
        In float32.

    Raises
    ------
    CheckpointError
        If the dictionary is missing, corrupt, or of other spectra.

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
                f"give --{name} as it was, or {_ANEW}"
            )
    n_bins = n_fft // 2 + 1
    if dictionary.ndim != 2 or len(dictionary) != n_bins or dictionary.shape[1] == 0:
        raise CheckpointError(
            f"{path} has shape {dictionary.shape}, but n_fft {n_fft} needs ({n_bins}, "
            f"components): give --n_fft as it was, or {_ANEW}"
        )
    norms = np.linalg.norm(dictionary, axis=0)
    # NaN fails every comparison, and infinity has no unit norm.
    if not ((dictionary >= 0).all() and (abs(norms - 1) < 1e-3).all()):
        raise CheckpointError(
            f"{path} has columns that are not finite, non-negative and of unit norm: "
            f"mend it, or {_ANEW}"
        )
    return torch.from_numpy(dictionary).float()


def _read_array(path):
    try:
        with open(path, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{path} does not exist: learn it with {_COMMAND} (or nmf_small.yaml, "
            "nmf_demo.yaml), and give its folder as nmf_dictionary"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is corrupt or no array of numbers: {_ANEW}"
        ) from error
    if not np.issubdtype(array.dtype, np.floating):
        raise CheckpointError(f"{path} holds {array.dtype}, not floats: {_ANEW}")
    return array


def _read_settings(path):
    """What the dictionary was learned with; nothing where it came from elsewhere."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is corrupt: {_ANEW}") from error
