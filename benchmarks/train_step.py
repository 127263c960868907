"""Time a training step: the published implementation and this project's.

    python -m benchmarks.train_step [--device cuda] [--repeats 7] [--also bf16 ...]

It prints two tables: both implementations with the published geometry, for which loss
and gradient must be equal; and this project's default geometry against the published
implementation. ``--also`` adds a third table, with variants of the default geometry;
with ``--without_published`` it is the only one.
"""

import argparse
import math
from collections.abc import Sequence

from benchmarks import sides
from benchmarks.command import parser, say
from benchmarks.measure import Measured, Side, measure
from benchmarks.report import print_head, speed_table

# Variants of this project's step: settings of the recipe, and run options.
VARIANTS = {
    "bf16": ([], {"precision": "bf16"}),
    "checkpointing": ([("checkpoint_activations", True)], {}),
    "compile": ([], {"compile": True}),
    "bf16 compile": ([], {"precision": "bf16", "compile": True}),
}


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
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
        help="measure only the variants, which need a quarter of the memory",
    )
    given = options.parse_args(argv)
    if given.without_published and not given.also:
        options.error(
            "with --without_published there is nothing to measure: give --also"
        )
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(argv)
    rates = print_head(f"A training step of {options.batch_size} x 5 s", options)
    theirs = sides.training_as_published
    published = sides.side("as published", theirs, sides.PUBLISHED, options)
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
        # In pairs: with a published step there is no memory for a third side.
        first = measure_and_print(
            "Published geometry", [published, same], options, rates
        )
        print(f"{agreement(*(measured.outcome for measured in first))}\n")
        measure_and_print("Default geometry", [published, default], options, rates)
    if variants:
        measure_and_print(
            "Variants of the default", [default, *variants], options, rates
        )


def measure_and_print(
    title: str,
    every: Sequence[Side],
    options: argparse.Namespace,
    rates: dict[str, float],
) -> list[Measured]:
    """Measure some sides, and print their table."""
    measured = measure(every, options.repeats, options.device, say)
    table = speed_table("step", every, measured, options.batch_size, rates)
    print(f"### {title}\n\n{table}", flush=True)
    return measured


def agreement(one: dict, other: dict) -> str:
    """Describe the differences of two first steps from the same weights.

    The difference of the gradients is also given without the tensor that differs most:
    its gradient is a sum whose terms almost cancel, so its digits are rounding errors.
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
