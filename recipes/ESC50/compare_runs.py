#!/usr/bin/env python
"""Put several evaluations in one table: seeds of a method, values of alpha.

    python recipes/ESC50/compare_runs.py results/lmac_td_small_*/*/evaluation/table.json

Reads what ``eval_faithfulness.py`` wrote. One row a run, the rows that explain nothing
once, and, where a method has several seeds, their mean and standard deviation. Below,
what a method's evaluation had to remark.
"""

import argparse
import json
import statistics
from pathlib import Path

from lmac_td.errors import DataError, exit_on_user_error
from lmac_td.metrics.table import COLUMNS, OPTIONAL_COLUMNS, markdown_table

# Tables that differ in one of these were not made from the same mixtures.
MIXTURES = ("test_fold_nums", "mixing_seed", "in_domain snr_db")
# Nor are they of the same decisions, if they differ in one of these.
RECIPE = ("data_folder", "wham_folder", "sample_rate", "pretrained_classifier")


def read_runs(paths):
    """Rows of every table, and the remarks on them.

    The run's own method comes first in its table; so it does here, before the baselines
    of all tables.

    Returns
    -------
    list of (str, str, int, dict)
        Condition, method, seed, values by column header.
    dict of str to str
        Remarks by method.

    Raises
    ------
    DataError
        If a file is no such table, or was not made from the mixtures of the first.
    """
    methods, baselines, remarks, mixtures = [], [], {}, None
    for path in paths:
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            seed = content["settings"]["seed"]
            heard = [content["settings"][name] for name in MIXTURES]
            heard += [content["settings"]["recipe"][name] for name in RECIPE]
            heard.append({(r["condition"], r["n_clips"]) for r in content["rows"]})
            own = content["rows"][0]["method"]
            if content["settings"].get("remark"):
                remarks[own] = content["settings"]["remark"]
            for row in content["rows"]:
                metrics = row["metrics"]
                values = {
                    c.header: metrics[c.metric][c.statistic]
                    for c in (*COLUMNS, *OPTIONAL_COLUMNS)
                    if c in COLUMNS or c.metric in metrics
                }
                is_own = row["method"] in (own, f"{own}, as audio")
                rows = methods if is_own else baselines
                rows.append((row["condition"], row["method"], seed, values))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{path} is no table.json of eval_faithfulness.py: name such files"
            ) from error
        mixtures = mixtures or heard
        if heard != mixtures:
            raise DataError(
                f"{path} was not made from the mixtures of {paths[0]}: compare runs "
                f"that agree in {', '.join(MIXTURES + RECIPE)} and condition"
            )
    return methods + baselines, remarks


def summarise_runs(runs, remarks):
    """Markdown: a section a condition, a row a run, mean and deviation over seeds."""
    known = {header for *_, values in runs for header in values}
    columns = [c for c in (*COLUMNS, *OPTIONAL_COLUMNS) if c.header in known]
    sections = []
    for condition in dict.fromkeys(run[0] for run in runs):
        by_method = {}
        for _, method, seed, values in (r for r in runs if r[0] == condition):
            seeds = by_method.setdefault(method, {})
            # The baselines are the same in every run, but for the last digits.
            if not any(_are_same(values, other) for other in seeds.values()):
                if seed in seeds:
                    raise DataError(
                        f"{method} with seed {seed} stands in two tables, and they "
                        "differ: name only one of them"
                    )
                seeds[seed] = values
        rows = []
        for method, seeds in by_method.items():
            for seed, values in seeds.items():
                name = f"{method}, seed {seed}" if len(seeds) > 1 else method
                rows.append([name, *_cells(columns, [values])])
            if len(seeds) > 1:
                name = f"{method}, mean ± sd of {len(seeds)} seeds"
                rows.append([name, *_cells(columns, seeds.values())])
        head = ["method", *(column.header for column in columns)]
        sections.append(f"### {condition}\n\n{markdown_table(head, rows)}")
    sections += [f"{method}: {remark}\n" for method, remark in remarks.items()]
    return "\n".join(sections)


def _are_same(values, others):
    """Whether no column differs by more than one unit of its last digit."""
    pairs = [(c.decimals, values[c.header], others[c.header]) for c in COLUMNS]
    return all(
        a == b if None in (a, b) else abs(a - b) < 1.001 * 10**-decimals
        for decimals, a, b in pairs
    )


def _cells(columns, runs):
    return [_cell(c, [values.get(c.header) for values in runs]) for c in columns]


def _cell(column, values):
    if None in values:  # not finite, as the energy that zeros keeps
        return "–"
    mean = f"{statistics.mean(values):.{column.decimals}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{column.decimals}f}"


def main(argv=None):
    """Print the table of the runs that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", help="evaluation/table.json of each run")
    print(summarise_runs(*read_runs(parser.parse_args(argv).tables)))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
