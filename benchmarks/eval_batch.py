"""An evaluation batch: the published way, and this one, at the published sizes.

    python -m benchmarks.eval_batch [--device cuda] [--repeats 7]

Prints a table: the seven metrics of the papers (AI, AD, AG, FF, Fid-In, SPS, COMP), in
which both must agree, and what all of this project's columns cost.
"""

from benchmarks import sides
from benchmarks.measure import Side, check_device, measure, overrides, parser, say
from benchmarks.report import head, speed_table

COLUMNS = "all columns"


def read_options(argv):
    """The command line."""
    return parser(__doc__.splitlines()[0]).parse_args(argv)


def main(argv=None):
    """Measure and print."""
    options = read_options(argv)
    check_device(options.device)
    rates = head(f"An evaluation batch of {options.batch_size} x 5 s", options)
    published = _side("as published", sides.evaluation_as_published, options)
    ours = _side("lmac-td", sides.evaluation_batch, options)
    whole = _side(
        f"lmac-td, {COLUMNS}", sides.evaluation_batch, options, equal_size=True
    )
    default = _side(
        "lmac-td, default geometry",
        sides.evaluation_batch,
        options,
        recipe=sides.DEFAULT,
    )
    every = [published, ours, whole, default]
    measured = measure(every, options.repeats, options.device, say)
    print(speed_table("batch", every, measured, options.batch_size, rates))
    print(agreement(measured[0].outcome, measured[1].outcome))


def _side(name, build, options, recipe=sides.PUBLISHED, **settings):
    return Side(
        name,
        build,
        {
            "recipe": recipe,
            "overrides": overrides(options.setting),
            "batch_size": options.batch_size,
            **settings,
        },
        set_up=build is sides.evaluation_batch,
    )


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
