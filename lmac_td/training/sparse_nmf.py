"""Sparse NMF: learn L2I's dictionary of spectral patterns.

    min 1/2 ||X - W H||_F^2 + mu ||H||_1   s.t.  W >= 0, H >= 0, ||w_k||_2 = 1

This is eq. 5 of L2I (Parekh et al., "Listen to Interpret"), with a factor 1/2 that sets
the scale of mu. X (bins, frames) are the frames of a training set, W (bins, K) is the
dictionary, and H (K, frames) holds the activations of its components. The updates are
those of Le Roux, Weninger and Hershey, "Sparse NMF - half-baked or well done?" (MERL,
Tech. Rep. TR2015-023), for the Euclidean distance (beta = 2):

    H <- H * W'X / (W'W H + mu)
    W <- W * (A + W diag(W'B)) / (B + W diag(W'A)),  A = X H',  B = W H H'
    w_k <- w_k / ||w_k||

The two diagonal terms come from the gradient of the norm, so the normalisation of W
does not undo the step. No library solves this problem on CPU and GPU: torchnmf
penalises W like H and does not normalise it; scikit-learn runs on the CPU only.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lmac_td.errors import SettingError
from lmac_td.validation import require_count, require_number

# The least value of W and H. It avoids division by zero, and zeros that never change.
FLOOR = 1e-16
# Frames per matrix product. Products have the frames' precision; their sum is float64.
CHUNK = 16384


@torch.no_grad()
def sparse_nmf(
    frames: Tensor,
    n_components: int,
    sparsity: float,
    n_iterations: int,
    seed: int,
    on_iteration: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, Tensor, list[float]]:
    """Learn a dictionary by multiplicative updates.

    Le Roux et al. do not prove that the step of W decreases the objective; in our tests
    it never increased. No tensor of the size of X is allocated besides X.

    Arguments
    ---------
    frames : Tensor (bins, frames)
        X, non-negative, on any device. Silent frames do not change W.
    n_components : int
        K.
    sparsity : float
        mu, at least 0.
    n_iterations : int
        Each iteration updates H, then W.
    seed : int
        Seed of the initial W, which is uniform in [0, 1) and drawn on the CPU, so it is
        the same for all devices. The initial H is one everywhere.
    on_iteration : callable, optional
        Called after each iteration with its number, from 1, and the objective.

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
        If a setting is out of its range, or there are more components than frames that
        are not silent.

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


def _update_h(
    frames: Tensor, w: Tensor, h: Tensor, sparsity: float
) -> tuple[Tensor, Tensor, Tensor]:
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


def _update_w(w: Tensor, xh: Tensor, hh: Tensor) -> Tensor:
    """Return W after its step and normalisation, in float64."""
    whh = w @ hh
    gain = (xh + w * (w * whh).sum(dim=0)) / (whh + w * (w * xh).sum(dim=0))
    w = (w * gain).clamp(min=FLOOR)
    return w / w.norm(dim=0)


def check_settings(n_components: int, sparsity: float, n_iterations: int) -> None:
    """Refuse settings that are out of their range.

    Raises
    ------
    SettingError

    Example
    -------
    >>> check_settings(100, -1, 200)
    Traceback (most recent call last):
    lmac_td.errors.SettingError: sparsity is -1: give --sparsity a number from 0
    """
    require_count("n_components", n_components)
    require_count("n_iterations", n_iterations)
    require_number("sparsity", sparsity, least=0)


def _check_frames(frames: Tensor, n_components: int) -> None:
    """Refuse frames that are no spectra, or too few."""
    if frames.ndim != 2 or not frames.min() >= 0 or not frames.max() < math.inf:
        raise ValueError("frames must be (bins, frames), finite and non-negative")
    n_sounding = int((frames.amax(dim=0) > 0).sum())
    if n_sounding < n_components:
        raise SettingError(
            f"n_components is {n_components}, but only {n_sounding} frames are not "
            "silent: give a smaller --n_components, or more clips"
        )


@torch.no_grad()
def reconstruction_error(frames: Tensor, w: Tensor, h: Tensor) -> float:
    """Return ||X - W H||_F / ||X||_F: 0 is perfect, 1 is the error of W H = 0.

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


def components_per_frame(h: Tensor, share: float = 0.01) -> float:
    """Return the mean number of components that are active in a frame.

    Arguments
    ---------
    h : Tensor (K, frames)
    share : float
        A component is active above this share of the largest activation of the frame.

    Returns
    -------
    float
        From 1 to K.

    Example
    -------
    >>> components_per_frame(torch.tensor([[1.0, 1.0], [0.0, 0.5], [0.001, 0.2]]))
    2.0
    """
    return float((h > share * h.amax(dim=0)).sum(dim=0).double().mean())
