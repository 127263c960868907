"""A training step: the published way, and this one, at the published sizes.

    python -m benchmarks.train_step [--device cuda] [--repeats 7] [--also bf16 ...]

Prints two tables: the published geometry, where both must come to the same loss and
gradient, and this project's default geometry against the published one; and a third one
of ``--also``, alone with ``--without_published``.
"""

import math

from benchmarks import sides
from benchmarks.measure import measure, parser, say
from benchmarks.report import head, speed_table

# Variants of this project's own step: settings of the recipe, and run options.
VARIANTS = {
    "bf16": ([], {"precision": "bf16"}),
    "checkpointing": ([("checkpoint_activations", True)], {}),
    "compile": ([], {"compile": True}),
    "bf16 compile": ([], {"precision": "bf16", "compile": True}),
}


def read_options(argv):
    """The command line."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument(
        "--also",
        nargs="+",
        default=[],
        choices=VARIANTS,
        metavar="VARIANT",
        help=f"variants of this project's steps: {', '.join(VARIANTS)}",
    )
    options.add_argument(
        "--without_published",
        action="store_true",
        help="only the variants, which need a quarter of the memory",
    )
    given = options.parse_args(argv)
    if given.without_published and not given.also:
        options.error("--without_published leaves nothing to measure: give --also")
    return given


def main(argv=None):
    """Measure and print."""
    options = read_options(argv)
    rates = head(f"A training step of {options.batch_size} x 5 s", options)
    way = sides.training_as_published
    published = sides.side("as published", way, sides.PUBLISHED, options)
    same = sides.side("lmac-td", sides.training, sides.PUBLISHED, options)
    default = sides.side(
        "lmac-td, default geometry", sides.training, sides.DEFAULT, options
    )
    variants = [
        sides.side(
            f"with {name}", sides.training, sides.DEFAULT, options, settings, **run_opts
        )
        for name in options.also
        for settings, run_opts in [VARIANTS[name]]
    ]
    if not options.without_published:
        # In pairs: a published step leaves room for no third.
        first = tell("Published geometry", [published, same], options, rates)
        print(f"{agreement(*(measured.outcome for measured in first))}\n")
        tell("Default geometry", [published, default], options, rates)
    if variants:
        tell("Variants of the default", [default, *variants], options, rates)


def tell(title, every, options, rates):
    """Measure some sides, and print a table."""
    measured = measure(every, options.repeats, options.device, say)
    table = speed_table("step", every, measured, options.batch_size, rates)
    print(f"### {title}\n\n{table}", flush=True)
    return measured


def agreement(one, other):
    """How far two first steps from the same weights are from each other.

    The largest difference is told apart: that of a tensor whose gradient is a sum in
    which almost everything cancels out, and whose digits are rounding.
    """
    loss = abs(one["loss"] - other["loss"]) / abs(one["loss"])
    differences = {
        name: abs(projection - other["projections"][name]) / one["gradient norm"]
        for name, projection in one["projections"].items()
    }
    largest = max(differences, key=differences.get)
    total = math.hypot(*differences.values())
    rest = math.hypot(*(d for name, d in differences.items() if name != largest))
    return (
        f"From the same weights the losses differ by {loss:.1e} of the loss, the "
        f"gradients by {total:.1e} of the gradient ({rest:.1e} without that of "
        f"{largest})."
    )


if __name__ == "__main__":
    main()
