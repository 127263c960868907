"""Remove bins of an STFT, or add noise to it, in the functions given to Quantus.

Quantus' "black" is the most negative number of the input, which is loud in an STFT, and
its noise has the level of an image. Here a bin is removed by :func:`silence`, both
channels at once, and noise is 20 dB below the clip.
"""

import numpy as np
import quantus

NOISE_DB = -20


def silence(arr: np.ndarray, indices: np.ndarray, **_) -> np.ndarray:
    """Set bins to 0, the real and the imaginary part at once.

    Arguments
    ---------
    arr : array (B, 2n)
        Real parts of n bins, then imaginary parts.
    indices : array (B, k)
        Positions to remove; the other part of each bin is removed with it.

    Returns
    -------
    array (B, 2n)
        A copy.

    Example
    -------
    >>> silence(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[3]])).tolist()
    [[1.0, 0.0, 3.0, 0.0]]
    """
    arr = arr.copy()
    n_bins = arr.shape[1] // 2
    clip = np.arange(len(arr))[:, None]
    arr[clip, indices % n_bins] = 0
    arr[clip, indices % n_bins + n_bins] = 0
    return arr


def faint_noise(arr: np.ndarray, indices: np.ndarray, **_) -> np.ndarray:
    """Add Gaussian noise, 20 dB below each clip.

    Arguments
    ---------
    arr : array (B, 2n)
    indices : array
        Not used: noise is added to every number.

    Returns
    -------
    array (B, 2n)
        A copy.
    """
    rms = np.sqrt(np.square(arr).mean(axis=1, keepdims=True))
    noise = np.random.standard_normal(arr.shape)
    return (arr + 10 ** (NOISE_DB / 20) * rms * noise).astype(arr.dtype)


def impute(arr: np.ndarray, indices: np.ndarray, **kwargs) -> np.ndarray:
    """Impute bins from their neighbours in both channels, as ROAD does in one.

    Arguments
    ---------
    arr : array (2, frames, bins)
    indices : array (k,)
        As in :func:`silence`.
    **kwargs
        Arguments of ``quantus.noisy_linear_imputation``.

    Returns
    -------
    array (2, frames, bins)
        A copy.
    """
    bins = np.unique(indices % arr[0].size)
    return quantus.noisy_linear_imputation(arr=arr, indices=bins, **kwargs)
