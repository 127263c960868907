"""Does a method's surrogate decide as the classifier does?

A surrogate is a model that imitates the classifier: L2I's Theta, FLINT's interpreter,
VIBI's approximator. Top-k fidelity is the share of clips whose explained class is among
the surrogate's k most probable classes (Parekh et al., "Listen to Interpret", section
4.1). It says how well the surrogate imitates, not how good the explanation is.
"""

import torch
from torch import Tensor

from lmac_td.metrics.registry import SURROGATE, Metric, register

TOP_K = (1, 3, 5)


def rank_of_class(logits: Tensor, c: Tensor) -> Tensor:
    """Return the rank of c (B,) in logits (B, C), from 0; ties go to lower indices.

    Example
    -------
    >>> rank_of_class(torch.tensor([[0.1, 0.7, 0.7]]), torch.tensor([2]))
    tensor([1])
    """
    own = logits.gather(1, c.unsqueeze(1))
    earlier = torch.arange(logits.shape[1], device=c.device) < c.unsqueeze(1)
    return ((logits > own) | ((logits == own) & earlier)).sum(dim=1)


def top_k_fidelity(logits: Tensor, c: Tensor, k: int) -> Tensor:
    """Compute top-k fidelity: whether c is among the k most probable classes.

    Arguments
    ---------
    logits : Tensor (B, C)
        The surrogate's logits.
    c : Tensor (B,), int64
        The classes that the classifier decided.
    k : int

    Returns
    -------
    Tensor (B,)
        0 or 100 %; higher is better.

    Example
    -------
    >>> logits = torch.tensor([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]])
    >>> top_k_fidelity(logits, torch.tensor([1, 0]), k=1)
    tensor([100.,   0.])
    """
    return 100.0 * (rank_of_class(logits, c) < k)


register(
    *(
        Metric(
            f"top-{k} fidelity",
            lambda s, k=k: top_k_fidelity(s.surrogate_logits, s.explained, k),
            header=f"top-{k} fidelity (%)",
            decimals=1,
            better="higher",
            range=(0, 100),
            needs=("surrogate",),
            group=SURROGATE,
        )
        for k in TOP_K
    )
)
