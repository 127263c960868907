"""Measure the cost of a task: seconds, peak memory, FLOP; and the rate of a machine."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils import flop_counter

from lmac_td.runtime.allocator import give_freed_memory_back

GB = 1e9


def timed(task: Callable[[], Any], device: str) -> float:
    """Return the seconds of the second of two calls."""
    task()
    synchronise(device)
    return clocked(task, device)


def clocked(task: Callable[[], Any], device: str) -> float:
    """Return the seconds of one call."""
    begin = time.perf_counter()
    task()
    synchronise(device)
    return time.perf_counter() - begin


def give_back(device: str) -> None:
    """Release the freed memory of the CPU, and of the GPU if it is used."""
    give_freed_memory_back()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def synchronise(device: str) -> None:
    """Wait until the GPU has finished, if it is used."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def peak_gb(device: str) -> float:
    """Return the peak memory of this process so far, in 1e9 bytes."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / GB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GB


def counted(task: Callable[[], Any]) -> float:
    """Return the GFLOP of one call. Networks must be compiled before, if at all."""
    with flop_counter.FlopCounterMode(display=False, custom_mapping=_ON_CPU) as counter:
        task()
    return counter.get_total_flops() / 1e9


def _attention(query, key, value, *_, out_shape=None, **__):
    return flop_counter.sdpa_flop_count(query, key, value)


def _attention_backward(grad, query, key, value, *_, out_shape=None, **__):
    return flop_counter.sdpa_backward_flop_count(grad, query, key, value)


# PyTorch's own counter knows attention only on GPUs.
_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward
    ),
}


def matrix_rate(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = F.linear,
    repeats: int = 7,
) -> float:
    """Measure the rate of products of square matrices.

    Arguments
    ---------
    device : str
    dtype : torch.dtype
    product : callable
        Multiplies the first matrix by the transpose of the second.
    repeats : int

    Returns
    -------
    float
        Median, in GFLOP/s.
    """
    n = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds = [timed(lambda: product(a, b), device) for _ in range(repeats)]
    return 2 * n**3 / statistics.median(seconds) / 1e9
