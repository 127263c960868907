"""Time a training step or an evaluation batch for clips of several lengths.

    python -m benchmarks.scaling [--work evaluation] [--lengths 1 2 5 10 30]

It prints the seconds for each length, and their deviation from a linear function.
Training steps use activation checkpointing, so that clips of 30 s fit into memory.
"""

import argparse
import statistics
from collections.abc import Sequence

from benchmarks import sides
from benchmarks.command import parser, say
from benchmarks.measure import Measured, measure, with_spread
from benchmarks.report import print_head
from lmac_td.evaluation.markdown import markdown_table

WORK = {
    "training": (sides.training, [("checkpoint_activations", True)]),
    "evaluation": (sides.evaluation_batch, []),
}
UNIT_S = 5  # length of the papers' clips


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--work", choices=WORK, default="training")
    options.add_argument(
        "--lengths", type=float, nargs="+", default=[1, 2, 5, 10, 30], metavar="S"
    )
    return options.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(argv)
    lengths = sorted({*options.lengths, UNIT_S})
    build, settings = WORK[options.work]
    every = [
        sides.side(
            f"{length:g} s",
            build,
            sides.DEFAULT,
            options,
            [*settings, ("signal_length_s", length)],
        )
        for length in lengths
    ]
    print_head(f"{options.work.capitalize()}, batches of {options.batch_size}", options)
    measured = measure(every, options.repeats, options.device, say)
    print(scaling_table(lengths, measured, options.batch_size))


def scaling_table(
    lengths: Sequence[float], measured: Sequence[Measured], batch_size: int
) -> str:
    """Return a table of seconds by length, with their deviation from linear.

    Two deviations are given: from proportionality to the length, and from the straight
    line through the shortest and the longest, which allows a constant cost per clip.
    """
    unit = measured[lengths.index(UNIT_S)]
    rows, deviations = [], []
    for length, taken in zip(lengths, measured, strict=True):
        relative = [
            (seconds / length) / (unit_seconds / UNIT_S)
            for seconds, unit_seconds in zip(taken.seconds, unit.seconds, strict=True)
        ]
        deviations.append(abs(statistics.median(relative) - 1))
        rows.append(
            [
                f"{length:g}",
                with_spread(taken.seconds),
                with_spread(relative),
                f"{taken.peak_gb:.1f}",
                f"{taken.gflop / length / batch_size:.3g}",
            ]
        )
    columns = [
        "length (s)", "s", f"per second of sound, against {UNIT_S} s",
        "peak memory (GB)", "GFLOP per second of sound",
    ]  # fmt: skip
    return (
        f"{markdown_table(columns, rows)}\n"
        f"Largest deviation from proportional: {100 * max(deviations):.0f} %; from the "
        f"straight line through the ends: {100 * from_line(lengths, measured):.0f} %."
    )


def from_line(lengths: Sequence[float], measured: Sequence[Measured]) -> float:
    """Return the largest relative deviation from the line through both ends."""
    seconds = [taken.median for taken in measured]
    rise = (seconds[-1] - seconds[0]) / (lengths[-1] - lengths[0] or 1)
    line = [seconds[0] + rise * (length - lengths[0]) for length in lengths]
    return max(abs(a / b - 1) for a, b in zip(seconds, line, strict=True))


if __name__ == "__main__":
    main()
