"""Run one part of a GPU run; it writes each figure as soon as it is measured.

    python -m benchmarks.gpu.parts --part train_bf16 --folder FOLDER [--dry]

Classifiers have random weights and clips are noise, since only the computation is
compared.
"""

import argparse
import math
from collections.abc import Sequence
from functools import partial

from benchmarks.command import machine
from benchmarks.gpu import figures
from benchmarks.gpu.bf16_training import bf16_training
from benchmarks.gpu.equality import gpu_equals_cpu
from benchmarks.gpu.scale import DRY, Run, Scale
from benchmarks.gpu.speed import BUILD, MODES, speed
from benchmarks.report import matrix_rates
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.runtime.process import set_up_process


def rates(run: Run) -> None:
    """Measure the rate of matrix products in each arithmetic."""
    set_up_process()
    measured = matrix_rates(run.scale.device, run.scale.repeats)
    rows = [[name, f"{rate / 1e3:.3g}"] for name, rate in measured.items()]
    table = markdown_table(["matrix product", "TFLOP/s"], rows)
    text = f"## Matrix rate\n\n{machine(run.scale.device)}\n\n{table}"
    figures.write(run.folder, "rates", {"gflop_per_s": measured, "markdown": text})


PARTS = {
    "rates": rates,
    "gpu_equals_cpu": gpu_equals_cpu,
    "bf16_training": bf16_training,
    **{
        f"{work}_{mode}": partial(speed, work, mode) for work in BUILD for mode in MODES
    },
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one part."""
    options = argparse.ArgumentParser(description="Run one part of a GPU run.")
    options.add_argument("--part", choices=PARTS, required=True)
    options.add_argument("--folder", required=True, help="folder of the figures")
    options.add_argument(
        "--until", type=float, default=math.inf, help="end, in Unix time"
    )
    options.add_argument(
        "--dry", action="store_true", help="on the CPU, with tiny networks"
    )
    given = options.parse_args(argv)
    scale = DRY if given.dry else Scale()
    PARTS[given.part](Run(given.folder, scale, given.until))


if __name__ == "__main__":
    main()
