"""An evaluation batch: the published way, and this one, at the published sizes.

    python -m benchmarks.eval_batch [--device cuda] [--repeats 7]

Prints a table: the seven metrics of the papers (AI, AD, AG, FF, Fid-In, SPS, COMP), in
which both must agree, and what all of this project's columns cost.
"""

from benchmarks import sides
from benchmarks.measure import measure, parser, say
from benchmarks.report import head, speed_table


def read_options(argv):
    """The command line."""
    return parser(__doc__.splitlines()[0]).parse_args(argv)


def main(argv=None):
    """Measure and print."""
    options = read_options(argv)
    rates = head(f"An evaluation batch of {options.batch_size} x 5 s", options)
    ours, geometry = sides.evaluation_batch, sides.PUBLISHED
    way = sides.evaluation_as_published
    published = sides.side("as published", way, geometry, options)
    same = sides.side("lmac-td", ours, geometry, options)
    whole = sides.side("lmac-td, all columns", ours, geometry, options, equal_size=True)
    default = sides.side("lmac-td, default geometry", ours, sides.DEFAULT, options)
    every = [published, same, whole, default]
    measured = measure(every, options.repeats, options.device, say)
    print(speed_table("batch", every, measured, options.batch_size, rates))
    print(agreement(measured[0].outcome, measured[1].outcome))


def agreement(one, other):
    """How far the metrics of two sides are from each other."""
    difference = {
        name: max(abs(a - b) for a, b in zip(one[name], other[name], strict=True))
        for name in sides.SEVEN
    }
    told = ", ".join(f"{name} {value:.1e}" for name, value in difference.items())
    return f"Largest difference of a clip's metrics: {told}."


if __name__ == "__main__":
    main()
