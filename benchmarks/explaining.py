"""Time the explanation of a clip by each method that needs no training, on one core.

    python -m benchmarks.explaining --setting size small [--repeats 3]

A method's time is that of the processor, so that other processes do not change it, and
of one thread. Each method explains a clip that is not timed first. The classifier has
random weights, and the clips are noise.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks import sides
from benchmarks.command import machine, overrides, parser, say
from benchmarks.measure import with_spread
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.settings import declarations
from lmac_td.interpreters.perturbation import METHODS

# Method, recipe, and settings of the recipe.
ROWS = (
    ("evidence", "hparams/evidence.yaml", ()),
    ("mask optimisation", "hparams/mask_optimisation.yaml", ()),
    *(
        (name, "hparams/perturbation.yaml", (("methods", f"[{name}]"),))
        for name in METHODS
    ),
)


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return parser(__doc__.splitlines()[0]).parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(argv)
    torch.set_num_threads(1)
    rows = []
    for name, recipe, settings in ROWS:
        declared = declarations(typed_recipe(recipe, {}))
        given = [pair for pair in options.setting if pair[0] in declared]
        work = sides.explaining(
            recipe, overrides([*given, *settings]), options.batch_size, options.device
        )
        calls = Calls(work)
        seconds = [calls.processor_seconds() for _ in range(1 + options.repeats)][1:]
        say(f"{name}: {statistics.median(seconds):.1f} s")
        n_clips = options.batch_size
        rows.append(
            [
                name,
                f"{calls.n / n_clips:.0f}",
                with_spread([s / n_clips for s in seconds]),
            ]
        )
    columns = ["method", "classified sounds per clip", "processor seconds per clip"]
    print(f"Machine: {machine(options.device)}")
    print(f"{options.repeats} turns\n")
    print(markdown_table(columns, rows))


class Calls:
    """Counts how many sounds a classifier classifies while a task runs.

    Arguments
    ---------
    work : benchmarks.sides.Work
    """

    def __init__(self, work: Any) -> None:
        self.work = work
        self.n = 0
        run = work.classifier.run

        def counted(inputs: torch.Tensor) -> Any:
            self.n += len(inputs)
            return run(inputs)

        work.classifier.run = counted

    def processor_seconds(self) -> float:
        """Run the task once; return the processor time, and count from 0."""
        self.n = 0
        begin = time.process_time()
        self.work()
        return time.process_time() - begin


if __name__ == "__main__":
    main()
