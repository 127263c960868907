"""Compare the scores of two folders of evaluations, clip by clip.

    python -m benchmarks.golden BEFORE AFTER [--tolerance 1e-5]

Both folders hold evaluations of ``eval_faithfulness.py``, made from the same
checkpoints by two versions of the code. Each ``clips.csv`` below BEFORE is compared
with the one at the same relative path below AFTER. The command prints the largest
difference of each column. Its exit code is 1 if a difference is above the tolerance
(absolute, or relative for numbers above 1; percentages are compared as fractions) or if
rows, clips or columns are missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lmac_td.evaluation.markdown import markdown_table

KEYS = ["condition", "method", "clip_id", "decided"]
PERCENTAGES = ("AI", "AD", "AG", "AD (published)")


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("before", type=Path)
    options.add_argument("after", type=Path)
    options.add_argument("--tolerance", type=float, default=1e-5)
    return options.parse_args(argv)


def differences(
    before: pd.DataFrame, after: pd.DataFrame
) -> dict[str, tuple[float, str]]:
    """Return the largest difference of each column of two tables of scores.

    Arguments
    ---------
    before, after : pandas.DataFrame
        The content of a ``clips.csv``.

    Returns
    -------
    dict of str to (float, str)
        For each column: |after - before| / max(1, |before|), with percentages as
        fractions, and its row. Infinite if a row or a value is missing on one side.
    """
    missing = [name for name in before if name not in after]
    if missing:
        return {name: (np.inf, "the column is missing") for name in missing}
    before, after = (table.set_index(KEYS).sort_index() for table in (before, after))
    lost = before.index.difference(after.index)
    if len(lost):
        return {"clip_id": (np.inf, f"{len(lost)} rows, such as {lost[0]}")}
    after = after.loc[before.index]
    found = {}
    for name in before.columns:
        unit = 100.0 if name in PERCENTAGES else 1.0
        one, other = before[name].astype(float) / unit, after[name].astype(float) / unit
        gap = (other - one).abs() / one.abs().clip(lower=1)
        gap = gap.mask(one.isna() & other.isna(), 0.0).fillna(np.inf)
        gap = gap.mask(one == other, 0.0)  # also for infinite values
        where = gap.idxmax()
        found[name] = (float(gap.max()), " / ".join(map(str, where[:3])))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print; return the exit code."""
    options = read_options(sys.argv[1:] if argv is None else argv)
    paths = sorted(options.before.rglob("clips.csv"))
    if not paths:
        print(f"error: {options.before} holds no clips.csv", file=sys.stderr)
        return 2
    worst, n_rows = {}, 0
    for path in paths:
        place = path.relative_to(options.before)
        if not (options.after / place).exists():
            print(f"error: {options.after / place} is missing", file=sys.stderr)
            return 2
        before, after = pd.read_csv(path), pd.read_csv(options.after / place)
        n_rows += len(before)
        for name, (gap, where) in differences(before, after).items():
            if gap >= worst.get(name, (-1.0,))[0]:
                worst[name] = (gap, f"{place.parent}: {where}" if gap else "–")
    rows = [[name, f"{gap:.1e}", where] for name, (gap, where) in worst.items()]
    print(markdown_table(["column", "largest difference", "where"], rows))
    above = [name for name, (gap, _) in worst.items() if gap > options.tolerance]
    print(
        f"{n_rows} rows of {len(paths)} evaluations; tolerance {options.tolerance:g}: "
        + (f"above it in {', '.join(above)}" if above else "all columns within it")
    )
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
