"""Deletion and insertion at equal size: what are a map's best bins worth?

Samek et al. ("Evaluating the visualization of what a deep neural network has
learned", 2017) and RISE (Petsiuk et al., BMVC 2018) follow the classifier while the
bins of a map are taken away, or put in, largest first. Here the curve's abscissa is
not a number of bins but the share of the mixture's energy that they hold. A map only
orders the bins, and every map is cut where it has spent the same energy: a large mask
cannot win by keeping everything, a small one not by removing hardly anything, and
the level of a mask does not count at all.

By energy, quiet bins are free: a map that spreads over them pays nothing. A second pair
of columns measures size by amplitude, where they have a price.
"""

import functools
import itertools

import torch

from lmac_td.metrics._tensors import in_double
from lmac_td.metrics.confidence import PROBABILITY_TOLERANCE
from lmac_td.metrics.registry import EQUAL_SIZE, Metric, register

# What a size is a share of, and the power of the magnitude that it sums.
EXPONENTS = {"energy": 2, "amplitude": 1}
# Shares of the mixture's energy (or amplitude) at which maps are cut.
SIZES = (0.05, 0.1, 0.2, 0.4, 0.6)
# Names of the columns that come once a size.
P_KEPT = tuple(f"p kept {100 * size:g} %" for size in SIZES)
P_REMOVED = tuple(f"p removed {100 * size:g} %" for size in SIZES)
_SEED = 0


def top_bins(ranking, magnitude, size, by="energy"):
    """Take a map's largest bins until they hold a share of the mixture's energy.

    See :func:`top_bins_at`, which sorts once for several sizes.

    Example
    -------
    >>> ranking = torch.tensor([[[0.1, 0.9, 0.5]]])
    >>> magnitude = torch.tensor([[[3.0, 1.0, 2.0]]])  # energies 9, 1 and 4
    >>> top_bins(ranking, magnitude, 0.2)
    tensor([[[False,  True,  True]]])
    """
    return top_bins_at(ranking, magnitude, (size,), by)[0]


def top_bins_at(ranking, magnitude, sizes=SIZES, by="energy"):
    """Cut each map at several sizes.

    With the bins in the order of ``ranking``, largest first, the first k are taken:
    the least k ≥ 1 for which Σ_{j ≤ k} |X_j|² ≥ size · Σ_j |X_j|². So the bin that
    crosses the line is in, and bins in which the mixture is silent cost nothing. By
    amplitude, the sums are of |X_j|.
    Bins of equal rank, such as all those that a sparse mask leaves at 0, follow each
    other in one pseudo-random order, the same for every clip and method; by position,
    a constant map would mean "the first frames first".

    Arguments
    ---------
    ranking : torch.Tensor
        (B, n, f) map of either sign: only its order counts.
    magnitude : torch.Tensor
        (B, n, f) |X| of the mixture.
    sizes : sequence of float
        Shares of the mixture's energy or amplitude, each in (0, 1].
    by : str
        ``energy`` or ``amplitude``: what the sizes are shares of.

    Returns
    -------
    tuple of torch.Tensor
        For each size, (B, n, f) boolean; a larger size contains a smaller one.

    Raises
    ------
    ValueError
        Names the argument that is not as above.

    Example
    -------
    >>> maps = torch.rand(2, 5, 9)
    >>> small, large = top_bins_at(maps, torch.ones(2, 5, 9), (0.2, 0.6))
    >>> small.sum(dim=(1, 2)), large.sum(dim=(1, 2))
    (tensor([9, 9]), tensor([27, 27]))
    """
    (_, magnitude), _ = in_double(
        dims=("B", "n", "f"), ranking=ranking, magnitude=magnitude
    )
    if by not in EXPONENTS:
        raise ValueError(f"by must be one of {', '.join(EXPONENTS)}, not {by!r}.")
    for size in sizes:
        if not 0 < size <= 1:
            raise ValueError(f"sizes must be in (0, 1], not {size}.")
    shuffled = _shuffled(ranking.shape[1:].numel()).to(ranking.device)
    order = ranking.flatten(1)[:, shuffled].sort(dim=1, descending=True, stable=True)
    order = shuffled[order.indices]  # (B, n f): the bin at each place
    spent = magnitude.pow(EXPONENTS[by]).flatten(1).gather(1, order).cumsum(dim=1)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    place = torch.empty_like(order).scatter_(1, order, places).view(ranking.shape)
    # Shares of what the sum itself comes to: the last bin always reaches a size of 1.
    limits = spent[:, -1:] * torch.tensor(sizes, dtype=spent.dtype, device=spent.device)
    last = torch.searchsorted(spent, limits)  # (B, n_sizes)
    return tuple(place <= last[:, i, None, None] for i in range(len(sizes)))


@functools.lru_cache(maxsize=4)
def _shuffled(n_bins):
    """Return the order in which bins of equal rank are taken, (n_bins,)."""
    return torch.randperm(n_bins, generator=torch.Generator().manual_seed(_SEED))


def area_under(p, sizes=SIZES):
    """Area under a curve of probabilities over size: its mean height.

    The trapezoidal rule, divided by the range of the sizes. Of what is kept it is
    the insertion score, higher is better; of what is removed the deletion score,
    lower is better.

    Arguments
    ---------
    p : torch.Tensor
        (B, n_sizes) probability of the decided class at each size.
    sizes : sequence of float
        Two or more, ascending.

    Returns
    -------
    torch.Tensor
        (B,) in [0, 1] for probabilities.

    Raises
    ------
    ValueError
        Names the argument that is not as above.

    Example
    -------
    >>> area_under(torch.tensor([[0.0, 0.5, 1.0]]), (0.1, 0.2, 0.4))
    tensor([0.5833])
    """
    (p,), dtype = in_double(dims=("B", "n_sizes"), p=p)
    if len(sizes) != p.shape[1]:
        raise ValueError(f"p has {p.shape[1]} columns for {len(sizes)} sizes.")
    ascending = all(less < more for less, more in itertools.pairwise(sizes))
    if len(sizes) < 2 or not ascending:
        raise ValueError(f"sizes must be two or more, ascending, not {sizes}.")
    x = torch.tensor(sizes, dtype=p.dtype, device=p.device)
    return (torch.trapezoid(p, x, dim=1) / (x[-1] - x[0])).to(dtype)


def _answers(field, scored):
    """Return the probabilities (B, n_sizes) of one field, checked."""
    p, shape = getattr(scored, field), (len(scored), len(SIZES))
    if p.shape != shape:
        raise ValueError(
            f"{field} must have shape {shape}, a clip and a size of {SIZES}, not "
            f"{tuple(p.shape)}."
        )
    return p


def _of_curve(name, better, function, need="equal_size"):
    return Metric(
        name,
        function,
        better=better,
        range=(0, 1),
        tolerance=PROBABILITY_TOLERANCE,
        needs=(need,),
        group=EQUAL_SIZE,
    )


def _area_of(name, better, field, need="equal_size"):
    return _of_curve(name, better, lambda s: area_under(_answers(field, s)), need)


def _of_sizes(names, better, field):
    return [
        _of_curve(name, better, lambda s, place=place: _answers(field, s)[:, place])
        for place, name in enumerate(names)
    ]


register(
    _area_of("insertion", "higher", "p_kept"),
    _area_of("deletion", "lower", "p_removed"),
    _area_of("insertion (amplitude)", "higher", "p_kept_amplitude", "equal_amplitude"),
    _area_of("deletion (amplitude)", "lower", "p_removed_amplitude", "equal_amplitude"),
    *_of_sizes(P_KEPT, "higher", "p_kept"),
    *_of_sizes(P_REMOVED, "lower", "p_removed"),
)
