"""Print the machine and the table of a speed benchmark."""

import argparse
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from benchmarks.command import environment_note, machine
from benchmarks.cost import matrix_rate
from benchmarks.measure import Measured, Side, ratios, with_spread
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.runtime.linear import as_convolution
from lmac_td.runtime.process import set_up_process


def print_head(title: str, options: argparse.Namespace) -> dict[str, float]:
    """Print the machine, its matrix rates and the title.

    Returns
    -------
    dict of str to float
        Matrix rates in GFLOP/s, the reference of the efficiency: ``float32``, ``bf16``,
        and ``as published``, which is TF32 on a GPU.
    """
    set_up_process()
    device = options.device
    rates = matrix_rates(device, options.repeats)
    listed = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
    fastest = max(rate for name, rate in rates.items() if "float32" in name)
    print(f"Machine: {machine(device)}")
    print(f"Matrix product: {listed}")
    if environment_note():
        print(f"Environment: {environment_note()}")
    if "TF32" in rates:
        print("As published: float32 products in TF32, which is SpeechBrain's default")
    print(f"{title}; {options.repeats} turns\n")
    published = rates.get("TF32", fastest)
    return {"float32": fastest, "bf16": rates["bf16"], "as published": published}


def matrix_rates(device: str, repeats: int) -> dict[str, float]:
    """Measure the rate of matrix products in each arithmetic.

    Arguments
    ---------
    device : str
    repeats : int
        Number of timed products in each arithmetic.

    Returns
    -------
    dict of str to float
        In GFLOP/s: ``float32`` and ``bf16``; on a GPU also ``TF32``; on a CPU also
        ``float32 through oneDNN``.
    """
    rates = {
        "float32": matrix_rate(device, repeats=repeats),
        "bf16": matrix_rate(device, torch.bfloat16, repeats=repeats),
    }
    if device.startswith("cuda"):
        rates["TF32"] = matrix_rate(device, product=_in_tf32, repeats=repeats)
    else:  # the faster of the two libraries
        rates["float32 through oneDNN"] = matrix_rate(
            device, product=as_convolution, repeats=repeats
        )
    return rates


def _in_tf32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply two matrices in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return F.linear(a, b)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def _arithmetic(side: Side) -> str:
    """Return the name of the matrix rate that a side is compared with."""
    if not side.set_up:
        return "as published"
    return "bf16" if "bf16" in side.name else "float32"


def speed_table(
    unit: str,
    sides: Sequence[Side],
    measured: Sequence[Measured],
    n_clips: int,
    rates: dict[str, float],
) -> str:
    """Return a table of seconds, ratios to the first side, memory, FLOP and efficiency.

    Arguments
    ---------
    unit : str
        The name of the task, for the header of the first column.
    sides : sequence of Side
    measured : sequence of Measured
        The cost of each side.
    n_clips : int
        The number of clips per call.
    rates : dict of str to float
        What :func:`print_head` returned.
    """
    rows = []
    for side, taken in zip(sides, measured, strict=True):
        rate = rates[_arithmetic(side)]
        rows.append(
            [
                side.name,
                with_spread(taken.seconds),
                with_spread(ratios(measured[0].seconds, taken.seconds)),
                f"{n_clips / taken.median:.3g}",
                f"{taken.peak_gb:.1f}",
                f"{taken.gflop:.0f}",
                f"{100 * taken.gflop / taken.median / rate:.0f}",
            ]
        )
    columns = [
        unit, "s", "times as fast", "clips/s", "peak memory (GB)", "GFLOP",
        "of matrix rate (%)",
    ]  # fmt: skip
    return markdown_table(columns, rows)
