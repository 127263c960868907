"""What a clip costs by its length: a training step, or an evaluation batch.

    python -m benchmarks.scaling [--work evaluation] [--lengths 1 2 5 10 30]

Prints seconds by length, and how far they are from linear. Training steps checkpoint
their activations, so that half a minute fits.
"""

import statistics

from benchmarks import sides
from benchmarks.measure import measure, parser, say, with_spread
from benchmarks.report import head
from lmac_td.evaluation.markdown import markdown_table

WORK = {
    "training": (sides.training, [("checkpoint_activations", True)]),
    "evaluation": (sides.evaluation_batch, []),
}
UNIT_S = 5  # the papers' clips


def read_options(argv):
    """The command line."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--work", choices=WORK, default="training")
    options.add_argument(
        "--lengths", type=float, nargs="+", default=[1, 2, 5, 10, 30], metavar="S"
    )
    return options.parse_args(argv)


def main(argv=None):
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
    head(f"{options.work.capitalize()}, batches of {options.batch_size}", options)
    measured = measure(every, options.repeats, options.device, say)
    print(scaling_table(lengths, measured, options.batch_size))


def scaling_table(lengths, measured, batch_size):
    """Markdown of seconds a batch by length, and how far they are from linear.

    Two ways: from proportional to the length, which a cost that every clip has breaks,
    and from the straight line through the shortest and the longest, which does not.
    """
    unit = measured[lengths.index(UNIT_S)]
    rows, deviations = [], []
    for length, taken in zip(lengths, measured, strict=True):
        relative = [
            (seconds / length) / (of_unit / UNIT_S)
            for seconds, of_unit in zip(taken.seconds, unit.seconds, strict=True)
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
        "length (s)", "s", f"a second of sound, against {UNIT_S} s",
        "peak memory (GB)", "GFLOP a second of sound",
    ]  # fmt: skip
    return (
        f"{markdown_table(columns, rows)}\n"
        f"Largest deviation from proportional: {100 * max(deviations):.0f} %; from the "
        f"straight line through the ends: {100 * from_line(lengths, measured):.0f} %."
    )


def from_line(lengths, measured):
    """How far medians are from the line through the first and the last, relatively."""
    seconds = [taken.median for taken in measured]
    rise = (seconds[-1] - seconds[0]) / (lengths[-1] - lengths[0] or 1)
    line = [seconds[0] + rise * (length - lengths[0]) for length in lengths]
    return max(abs(a / b - 1) for a, b in zip(seconds, line, strict=True))


if __name__ == "__main__":
    main()
