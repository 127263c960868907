"""Does the classifier find in the explanation what it found in the clip?

AI, AD, AG, FF and Fid-In of L-MAC (Paissan et al., ICML 2024, section 3.1) follow the
printed equations and return one value per clip. The papers report the mean over clips.
c is the class that is explained: by default the one that the classifier decided on the
mixture, never the label.

All take (B, C) probabilities, one softmax (sigmoids if multi-label): ``p_x`` of the
mixture, ``p_in`` of what is kept, ``p_out`` of what is removed.
"""

import torch

from lmac_td.metrics._tensors import require_finite, shaped_in_double
from lmac_td.metrics.registry import Metric, register

# A half-precision softmax may round this far above 1.
PROBABILITY_TOLERANCE = 1e-3


def _probabilities(**tensors):
    """Return the (B, C) arguments in float64 and the type of the result."""
    doubles, dtype = shaped_in_double(dims=("B", "C"), **tensors)
    low, high = -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE
    # NaN and infinity lie in no range, so that one look at the values is enough.
    in_range = torch.stack([((p >= low) & (p <= high)).all() for p in doubles])
    if in_range.all():
        return doubles, dtype
    require_finite(**tensors)
    name, p = next(
        (name, p)
        for name, p, fits in zip(tensors, doubles, in_range.tolist(), strict=True)
        if not fits
    )
    raise ValueError(
        f"{name} must hold probabilities in [0, 1], "
        f"not values from {p.min():.3g} to {p.max():.3g}: apply the softmax."
    )


def _classes(p_x, target):
    """Return the classes (B,) that are explained."""
    if target is None:
        return p_x.argmax(dim=1)
    if target.shape != p_x.shape[:1]:
        raise ValueError(
            f"target must have shape {tuple(p_x.shape[:1])}, not {tuple(target.shape)}."
        )
    return target.to(p_x.device)


def of_class(p, c):
    """Return the probability (B,) that p (B, C) gives to the classes c (B,)."""
    return p.gather(1, c.unsqueeze(1)).squeeze(1)


def decided_class(p_x):
    """Return the class that the classifier decided.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.

    Returns
    -------
    torch.Tensor
        (B,) argmax of each row, the first index on ties.

    Example
    -------
    >>> decided_class(torch.tensor([[0.2, 0.4, 0.4]]))
    tensor([1])
    """
    (p_x,), _ = _probabilities(p_x=p_x)
    return p_x.argmax(dim=1)


def average_increase(p_x, p_in, target=None):
    """Average Increase (AI): 100 · 1[p_in,c > p_x,c], higher is better.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.
    p_in : torch.Tensor
        (B, C) probabilities of what is kept.
    target : torch.Tensor | None
        (B,) classes c; by default argmax p_x.

    Returns
    -------
    torch.Tensor
        (B,) percent, 0 or 100: the inequality is strict, a tie is no increase.

    Example
    -------
    >>> p_x = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    >>> p_in = torch.tensor([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]])
    >>> average_increase(p_x, p_in)
    tensor([100.,   0.])
    """
    (p_x, p_in), dtype = _probabilities(p_x=p_x, p_in=p_in)
    c = _classes(p_x, target)
    return 100 * (of_class(p_in, c) > of_class(p_x, c)).to(dtype)


def average_drop(p_x, p_in, target=None):
    """Average Drop (AD): 100 · max(0, p_x,c − p_in,c) / p_x,c, lower is better.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.
    p_in : torch.Tensor
        (B, C) probabilities of what is kept.
    target : torch.Tensor | None
        (B,) classes c; by default argmax p_x.

    Returns
    -------
    torch.Tensor
        (B,) percent of the confidence that is lost; 0 where p_x,c = 0 (sigmoids
        may all be 0), because nothing can be lost.

    Example
    -------
    >>> average_drop(torch.tensor([[0.75, 0.25]]), torch.tensor([[0.375, 0.625]]))
    tensor([50.])
    """
    (p_x, p_in), dtype = _probabilities(p_x=p_x, p_in=p_in)
    return _average_drop(p_x, p_in, _classes(p_x, target)).to(dtype)


def _average_drop(p_x, p_in, c):
    before, after = of_class(p_x, c), of_class(p_in, c)
    drop = 100 * (before - after).clamp(min=0) / before
    return torch.where(before > 0, drop, 0)


def average_gain(p_x, p_in, target=None):
    """Average Gain (AG): 100 · max(0, p_in,c − p_x,c) / (1 − p_x,c), higher is better.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.
    p_in : torch.Tensor
        (B, C) probabilities of what is kept.
    target : torch.Tensor | None
        (B,) classes c; by default argmax p_x.

    Returns
    -------
    torch.Tensor
        (B,) percent of what could be gained; 0 where p_x,c = 1, because nothing
        can be gained.

    Example
    -------
    >>> average_gain(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]]))
    tensor([50.])
    """
    (p_x, p_in), dtype = _probabilities(p_x=p_x, p_in=p_in)
    c = _classes(p_x, target)
    before, after = of_class(p_x, c), of_class(p_in, c)
    gain = 100 * (after - before).clamp(min=0) / (1 - before)
    return torch.where(before < 1, gain, 0).to(dtype)


def faithfulness(p_x, p_out, target=None):
    """Compute Faithfulness on Spectra (FF): p_x,c − p_out,c; higher is better.

    The mean is L-MAC's number, the median is what the L2I paper reports.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.
    p_out : torch.Tensor
        (B, C) probabilities of what is removed.
    target : torch.Tensor | None
        (B,) classes c; by default argmax p_x.

    Returns
    -------
    torch.Tensor
        (B,) confidence lost when the explanation is taken away, in [−1, 1].

    Example
    -------
    >>> faithfulness(torch.tensor([[0.75, 0.25]]), torch.tensor([[0.25, 0.75]]))
    tensor([0.5000])
    """
    (p_x, p_out), dtype = _probabilities(p_x=p_x, p_out=p_out)
    c = _classes(p_x, target)
    return (of_class(p_x, c) - of_class(p_out, c)).to(dtype)


def input_fidelity(p_x, p_in, target=None, threshold=None):
    """Input Fidelity (Fid-In): 1[argmax p_in = c], higher is better.

    For tags, 1[p_in,c >= threshold]: the tag still reaches its threshold.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.
    p_in : torch.Tensor
        (B, C) probabilities of what is kept.
    target : torch.Tensor | None
        (B,) classes c; by default argmax p_x.
    threshold : float | None
        For tags, in (0, 1); None for one class per clip.

    Returns
    -------
    torch.Tensor
        (B,) 1 where the decision stays, else 0; argmax takes the first index on ties.

    Example
    -------
    >>> input_fidelity(torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]]))
    tensor([1.])
    >>> p_x, p_in = torch.tensor([[0.9, 0.8]]), torch.tensor([[0.9, 0.6]])
    >>> input_fidelity(p_x, p_in, target=torch.tensor([1]), threshold=0.5)
    tensor([1.])
    """
    precision = p_in.dtype
    (p_x, p_in), dtype = _probabilities(p_x=p_x, p_in=p_in)
    c = _classes(p_x, target)
    if threshold is not None:
        # In the precision in which tags are decided; p equal to the threshold counts.
        least = torch.tensor(threshold, dtype=precision).double()
        return (of_class(p_in, c) >= least.to(p_in.device)).to(dtype)
    return (p_in.argmax(dim=1) == c).to(dtype)


def average_drop_published(p_x, p_in, target=None):
    """Compute AD as the published code does, only to compare with the papers.

    That code applies a softmax to p_x and p_in, which are probabilities already. Its
    AD can never pass 100 · (1 − 1/e) = 63.2 %; with 50 classes a fall from .99 to .5
    (AD 49.5 %) reads 38.1 %.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.
    p_in : torch.Tensor
        (B, C) probabilities of what is kept.
    target : torch.Tensor | None
        (B,) classes c; by default argmax p_x.

    Returns
    -------
    torch.Tensor
        (B,) percent, lower is better.

    Example
    -------
    >>> average_drop_published(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([63.2121])
    """
    (p_x, p_in), dtype = _probabilities(p_x=p_x, p_in=p_in)
    c = _classes(p_x, target)
    return _average_drop(p_x.softmax(dim=1), p_in.softmax(dim=1), c).to(dtype)


def apply_tie_tolerance(p_x, p_in, tolerance=1e-6):
    """Return p_in, with p_x's own row where the two are the same but for rounding.

    Float32 expm1(log1p(·)) moves half of the bins, so keeping everything moves p_in
    by about 1e-7, and the strict inequality of AI would count that as an increase.
    The metrics stay literal: the evaluation calls this before them.

    Arguments
    ---------
    p_x : torch.Tensor
        (B, C) probabilities of the mixture.
    p_in : torch.Tensor
        (B, C) probabilities of what is kept (or removed).
    tolerance : float
        The largest difference, over all classes of a clip, that is a tie.

    Returns
    -------
    torch.Tensor
        (B, C) p_in, with p_x's row in each clip that ties.

    Example
    -------
    >>> p_x = torch.tensor([[0.75, 0.25]])
    >>> p_in = p_x + torch.tensor([[2e-7, -2e-7]])
    >>> average_increase(p_x, p_in)
    tensor([100.])
    >>> average_increase(p_x, apply_tie_tolerance(p_x, p_in))
    tensor([0.])
    """
    (exact_x, exact_in), _ = _probabilities(p_x=p_x, p_in=p_in)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, not {tolerance}.")
    ties = ((exact_in - exact_x).abs() <= tolerance).all(dim=1, keepdim=True)
    return torch.where(ties, p_x, p_in)


def _probability(name, of):
    """Return the probability of the explained class, which is kept in files."""
    return Metric(
        name,
        lambda scored: of_class(getattr(scored, of), scored.explained),
        range=(0, 1),
        tolerance=PROBABILITY_TOLERANCE,
        printed=False,
    )


register(
    _probability("p_x", of="p_x"),
    _probability("p_in", of="p_in"),
    _probability("p_out", of="p_out"),
    Metric(
        "AI",
        lambda s: average_increase(s.p_x, s.p_in, s.explained),
        header="AI (%)",
        decimals=2,
        better="higher",
        range=(0, 100),
    ),
    Metric(
        "AD",
        lambda s: average_drop(s.p_x, s.p_in, s.explained),
        header="AD (%)",
        decimals=2,
        better="lower",
        range=(0, 100),
        tolerance=100 * PROBABILITY_TOLERANCE,
    ),
    Metric(
        "AG",
        lambda s: average_gain(s.p_x, s.p_in, s.explained),
        header="AG (%)",
        decimals=2,
        better="higher",
        range=(0, 100),
        tolerance=100 * PROBABILITY_TOLERANCE,
    ),
    Metric(
        "FF",
        lambda s: faithfulness(s.p_x, s.p_out, s.explained),
        better="higher",
        range=(-1, 1),
        tolerance=PROBABILITY_TOLERANCE,
        statistics=("mean", "median"),
    ),
    Metric(
        "Fid-In",
        lambda s: input_fidelity(s.p_x, s.p_in, s.explained, s.threshold),
        better="higher",
        range=(0, 1),
    ),
)
register(
    Metric(
        "AD (published)",
        lambda s: average_drop_published(s.p_x, s.p_in, s.explained),
        decimals=2,
        better="lower",
        range=(0, 100),
    ),
    after="COMP",
)
