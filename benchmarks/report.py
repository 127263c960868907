"""What the benchmarks print alike."""

import torch
import torch.nn.functional as F

from benchmarks.measure import (
    environment_note,
    machine,
    matrix_rate,
    ratios,
    with_spread,
)
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.experiment.open import set_up_process
from lmac_td.runtime.linear import as_convolution


def head(what, options):
    """Print the machine and what is measured.

    Returns
    -------
    dict of str to float
        GFLOP/s of matrix products, the yardstick of efficiency: in ``float32``, in
        ``bf16``, and ``as published``, which is TF32 on a GPU.
    """
    set_up_process()
    device = options.device
    rates = matrix_rates(device)
    told = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
    fastest = max(rate for name, rate in rates.items() if "float32" in name)
    print(f"Machine: {machine(device)}")
    print(f"Matrix product: {told}")
    if environment_note():
        print(f"Environment: {environment_note()}")
    if "TF32" in rates:
        print("As published: float32 products in TF32, as SpeechBrain leaves them")
    print(f"{what}; {options.repeats} turns\n")
    unset = rates.get("TF32", fastest)
    return {"float32": fastest, "bf16": rates["bf16"], "as published": unset}


def matrix_rates(device):
    """Measure how fast the machine multiplies, in each arithmetic.

    Returns
    -------
    dict of str to float
        GFLOP/s: ``float32`` and ``bf16``, on a GPU ``TF32``, on a CPU ``float32 through
        oneDNN``.
    """
    rates = {
        "float32": matrix_rate(device),
        "bf16": matrix_rate(device, torch.bfloat16),
    }
    if device.startswith("cuda"):
        rates["TF32"] = matrix_rate(device, product=_in_tf32)
    else:  # the faster of the two libraries
        rates["float32 through oneDNN"] = matrix_rate(device, product=as_convolution)
    return rates


def _in_tf32(a, b):
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return F.linear(a, b)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def _arithmetic(side):
    """Of which of the rates a side could make use."""
    if not side.set_up:
        return "as published"
    return "bf16" if "bf16" in side.name else "float32"


def speed_table(what, sides, measured, n_clips, rates):
    """Markdown: seconds, ratio to the first side, memory, FLOP, efficiency.

    Arguments
    ---------
    what : str
        What each side does, for the head of the first column.
    sides : sequence of Side
    measured : sequence of Measured
        Of the sides.
    n_clips : int
        Of one piece of work.
    rates : dict of str to float
        Of :func:`head`.
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
        what, "s", "times as fast", "clips/s", "peak memory (GB)", "GFLOP",
        "of matrix rate (%)",
    ]  # fmt: skip
    return markdown_table(columns, rows)
