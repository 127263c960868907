"""Time a training step and an explanation of several methods, side by side.

    python -m benchmarks.methods [--setting size small] [--repeats 7]

Training: LMAC-TD, L-MAC and the budgeted network. The budgeted network computes the
gradient of a mixture once in an epoch, so it has two kinds of steps, with mixtures that
are known and with new ones. A step of an epoch costs ``known + (new - known) /
repeats`` on average, with the recipe's ``repeats``. Explanation: those networks, and
evidence with its default and with a quick setting (one gradient pass, one kernel).
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import sides
from benchmarks.command import parser, say
from benchmarks.measure import Side, measure
from benchmarks.report import print_head, speed_table
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.settings import declarations

LMAC_TD, LMAC = "hparams/lmac_td.yaml", "hparams/lmac.yaml"
BUDGETED, EVIDENCE = "hparams/budgeted.yaml", "hparams/evidence.yaml"
# One gradient pass and one kernel.
QUICK = [
    ("gains", "[1.0]"),
    ("jitter", 0.0),
    ("draws", 1),
    ("kernels", "[[1015, 270]]"),
]


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return parser(__doc__.splitlines()[0], batch_size=4).parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(argv)
    title = f"A training step and an explanation of {options.batch_size} x 5 s"
    rates = print_head(title, options)
    training = [
        side("lmac-td", sides.training, LMAC_TD, options),
        side("l-mac", sides.training, LMAC, options),
        side("budgeted, known mixtures", sides.training, BUDGETED, options),
        side(
            "budgeted, new mixtures", sides.training_on_new_mixtures, BUDGETED, options
        ),
    ]
    explaining = [
        side("lmac-td", sides.explaining, LMAC_TD, options),
        side("l-mac", sides.explaining, LMAC, options),
        side("evidence", sides.explaining, EVIDENCE, options),
        side("evidence, quick", sides.explaining, EVIDENCE, options, QUICK),
        side("budgeted", sides.explaining, BUDGETED, options),
    ]
    for unit, every in (("step", training), ("explanation", explaining)):
        measured = measure(every, options.repeats, options.device, say)
        table = speed_table(unit, every, measured, options.batch_size, rates)
        print(f"{table}\n", flush=True)


def side(
    name: str,
    build: Callable,
    recipe: str,
    options: argparse.Namespace,
    settings: Sequence[tuple[str, Any]] = (),
) -> Side:
    """Return a side with those settings of the command line that its recipe has."""
    declared = declarations(typed_recipe(recipe, {}))
    known = [pair for pair in options.setting if pair[0] in declared]
    options = argparse.Namespace(**{**vars(options), "setting": known})
    return sides.side(name, build, recipe, options, settings)


if __name__ == "__main__":
    main()
