"""Time an evaluation batch: the published implementation and this project's.

    python -m benchmarks.eval_batch [--device cuda] [--repeats 7]

It prints the cost of the papers' seven metrics (AI, AD, AG, FF, Fid-In, SPS, COMP) in
both implementations, the largest difference of the metrics, and the cost of all columns
of this project.
"""

import argparse
from collections.abc import Sequence

from benchmarks import sides
from benchmarks.command import parser, say
from benchmarks.measure import measure
from benchmarks.report import print_head, speed_table


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return parser(__doc__.splitlines()[0]).parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(argv)
    rates = print_head(f"An evaluation batch of {options.batch_size} x 5 s", options)
    ours, geometry = sides.evaluation_batch, sides.PUBLISHED
    theirs = sides.evaluation_as_published
    published = sides.side("as published", theirs, geometry, options)
    same = sides.side("lmac-td", ours, geometry, options)
    whole = sides.side("lmac-td, all columns", ours, geometry, options, equal_size=True)
    default = sides.side("lmac-td, default geometry", ours, sides.DEFAULT, options)
    every = [published, same, whole, default]
    measured = measure(every, options.repeats, options.device, say)
    print(speed_table("batch", every, measured, options.batch_size, rates))
    print(agreement(measured[0].outcome, measured[1].outcome))


def agreement(one: dict[str, list[float]], other: dict[str, list[float]]) -> str:
    """Describe the largest difference of each metric between two sides."""
    difference = {
        name: max(abs(a - b) for a, b in zip(one[name], other[name], strict=True))
        for name in sides.SEVEN
    }
    listed = ", ".join(f"{name} {value:.1e}" for name, value in difference.items())
    return f"Largest difference of a clip's metrics: {listed}."


if __name__ == "__main__":
    main()
