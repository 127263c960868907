"""How concise is a map, whatever the classifier says of it?

Sparseness is the Gini index (Chalasani et al., ICML 2020), complexity the entropy
(Bhatt et al., IJCAI 2020), both as the Quantus library defines them, but exact:
nothing is added to the bins, nothing is divided by the maximum of the batch, the
caller's map is left alone and each clip is measured by itself.

The two are bound to each other: for every map of n bins,
COMP ≥ ln n · (n (1 − SPS) − 1) / (n − 1), see :func:`complexity_bound`.
"""

import math

import numpy as np
import torch

from lmac_td.metrics._tensors import in_double
from lmac_td.metrics.registry import SOMETIMES, ZERO_MAP, Metric, register


def sparseness(attribution):
    """Compute sparseness (SPS): the Gini index of |a|; higher is better.

    With |a| sorted ascending and i = 1 … n, Σ (2i − n − 1) |a_i| / (n Σ |a_i|).

    Arguments
    ---------
    attribution : torch.Tensor
        (B, ...) map; all dimensions after the first are one list of n bins.

    Returns
    -------
    torch.Tensor
        (B,) in [0, 1): 0 for a constant map, 1 − 1/n for a single bin, NaN for a
        map that is zero everywhere.

    Example
    -------
    >>> sparseness(torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, 1.0, 1.0, 1.0]]))
    tensor([0.7500, 0.0000])
    """
    (a,), dtype = in_double(attribution=attribution)
    a = a.abs().flatten(1).sort(dim=1).values  # (B, n)
    n = a.shape[1]
    rank = torch.arange(1, n + 1, dtype=a.dtype, device=a.device)
    gini = ((2 * rank - n - 1) * a).sum(dim=1) / (n * a.sum(dim=1))
    # Rounding alone takes a constant map below 0; clamp leaves the NaN of 0 / 0.
    return gini.clamp(min=0).to(dtype)


def complexity(attribution):
    """Complexity (COMP): the entropy of |a| / Σ|a| in nats, lower is better.

    Arguments
    ---------
    attribution : torch.Tensor
        (B, ...) map; all dimensions after the first are one list of n bins.

    Returns
    -------
    torch.Tensor
        (B,) in [0, ln n], with 0 log 0 = 0: ln n for a constant map, 0 for a single
        bin, NaN for a map that is zero everywhere.

    Example
    -------
    >>> complexity(torch.tensor([[0.0, 0.0, 0.0, 5.0], [0.5, 0.5, -0.5, 0.5]]))
    tensor([0.0000, 1.3863])
    """
    (a,), dtype = in_double(attribution=attribution)
    a = a.abs().flatten(1)  # (B, n)
    share = a / a.sum(dim=1, keepdim=True)
    return torch.special.entr(share).sum(dim=1).clamp(min=0).to(dtype)


def complexity_bound(sps, n_bins):
    """Return the least COMP that a map of this SPS can have.

    A sorted map is a mixture of "constant on its k largest bins", for which SPS is
    1 − k/n and COMP is ln k; the Gini index is linear in such mixtures, the entropy
    and the logarithm are concave.

    Arguments
    ---------
    sps : float | torch.Tensor | numpy.ndarray
        Gini index of the map.
    n_bins : int | numpy.ndarray
        Number of bins of the map, 2 or more.

    Returns
    -------
    float | torch.Tensor | numpy.ndarray
        ln n · (n (1 − SPS) − 1) / (n − 1), nats.

    Example
    -------
    >>> round(complexity_bound(0.47, 220_000), 2)  # L-MAC's Table 1 prints 4.71
    6.52
    """
    log = np.log if isinstance(n_bins, np.ndarray) else math.log
    return log(n_bins) * (n_bins * (1 - sps) - 1) / (n_bins - 1)


def mask_mean(mask):
    """Mask mean (MM): the mean of the mask, neither high nor low is better.

    Arguments
    ---------
    mask : torch.Tensor
        (B, ...) mask in [0, 1].

    Returns
    -------
    torch.Tensor
        (B,) mean over everything but the clip.

    Example
    -------
    >>> mask_mean(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
    tensor([0.7500])
    """
    (mask,), dtype = in_double(mask=mask)
    return mask.flatten(1).mean(dim=1).to(dtype)


def _n_bins(maps):
    """Return the size of the map, which bounds COMP; it is kept in files."""
    return torch.full(maps.shape[:1], maps.shape[1:].numel())


register(
    Metric(
        "bins", lambda s: _n_bins(s.attribution), range=(1, math.inf), printed=False
    ),
    Metric(
        "SPS",
        lambda s: sparseness(s.attribution),
        better="higher",
        range=(0, 1),
        undefined=ZERO_MAP,
    ),
    Metric(
        "COMP",
        lambda s: complexity(s.attribution),
        decimals=2,
        better="lower",
        range=(0, math.inf),
        undefined=ZERO_MAP,
    ),
    after="Fid-In",
)
register(
    Metric(
        "bins (mask)",
        lambda s: _n_bins(s.mask),
        range=(1, math.inf),
        needs=("stft_mask",),
        printed=False,
    ),
    Metric(
        "SPS (mask)",
        lambda s: sparseness(s.mask),
        better="higher",
        range=(0, 1),
        undefined=SOMETIMES,
        needs=("stft_mask",),
    ),
    Metric(
        "COMP (mask)",
        lambda s: complexity(s.mask),
        decimals=2,
        better="lower",
        range=(0, math.inf),
        undefined=SOMETIMES,
        needs=("stft_mask",),
    ),
    Metric(
        "MM",
        lambda s: mask_mean(s.mask),
        range=(0, 1),
        tolerance=1e-5,
        needs=("stft_mask",),
    ),
    after="kept (dB)",
)
