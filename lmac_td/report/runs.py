"""Evaluations on disk, read back, and several of them in one table."""

import difflib
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.bootstrap import value_of
from lmac_td.evaluation.columns import ALL_COLUMNS, AS_AUDIO, GROUPS
from lmac_td.evaluation.markdown import interval, number
from lmac_td.evaluation.scores import left_out
from lmac_td.evaluation.table import FaithfulnessTable, markdown_table

# Tables that differ in one of these were not made from the same mixtures.
MIXTURES = ("test_fold_nums", "mixing_seed")
# Nor are they of the same decisions, if they differ in one of these.
RECIPE = (
    "data_folder", "wham_folder", "ljspeech_folder", "sample_rate", "signal_length_s",
    "n_fft", "win_length", "hop_length", "n_mels", "pretrained_classifier",
)  # fmt: skip
# The classifier's weights; not there where a hub keeps them.
WEIGHTS = "content of pretrained_classifier"
# Not there in tables from before there were other data sets and targets.
LATER = ("dataset", "target")
# What to say of it; the SNRs are compared in the conditions that both have.
_NAMES = *MIXTURES, "snr_db", *RECIPE, WEIGHTS, *LATER
AGREE = f"agree in {', '.join(_NAMES)} and condition"


@dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes
    ----------
    path : Path
        Of its table.json.
    settings : dict
        That the table was made with.
    table : FaithfulnessTable
    """

    path: Path
    settings: dict
    table: FaithfulnessTable

    @property
    def mixtures(self):
        """What another run must agree in to stand beside this one."""
        clips = {(condition, len(s)) for (condition, _), s in self.table.rows.items()}
        return [*mixtures_of(self.settings), self.settings["snr_db"], clips]

    def is_own(self, row):
        """Whether a row is of what was to be measured, or stands beside it."""
        return row.removesuffix(AS_AUDIO) in self.settings["methods"]


def mixtures_of(settings):
    """The settings of a table that another one must agree in, to be compared."""
    recipe = settings["recipe"]
    return [
        *(settings[name] for name in MIXTURES),
        *(recipe[name] for name in RECIPE),
        recipe.get(WEIGHTS),
        recipe.get("dataset", ESC50(str(recipe["data_folder"])).identity),
        recipe.get("target", "auto"),
    ]


def read_run(path):
    """Read an evaluation.

    Arguments
    ---------
    path : str or Path
        The folder that ``eval_faithfulness.py`` wrote, or the table.json in it.

    Returns
    -------
    Run

    Raises
    ------
    DataError
        If it is none, or not whole.
    """
    path = Path(path)
    path = path / "table.json" if path.is_dir() else path
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        table = FaithfulnessTable.read_clips(path.with_name("clips.csv"), settings)
        run = Run(path, settings, table)
        _ = run.mixtures, settings["methods"], settings["seed"], settings["remarks"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path} is no table.json of eval_faithfulness.py: name such files, or "
            "the folders that they are in"
        ) from error
    return run


@dataclass(frozen=True)
class Runs:
    """Several evaluations in one table.

    Attributes
    ----------
    table : FaithfulnessTable
        Methods before what stands beside all of them.
    seeds : dict of str to list of str
        The rows of a method that has several seeds.
    remarks : dict of str to str
        By method.
    """

    table: FaithfulnessTable
    seeds: dict = field(default_factory=dict)
    remarks: dict = field(default_factory=dict)


def read_runs(paths):
    """Read evaluations into one table.

    Arguments
    ---------
    paths : sequence of str or Path
        As :func:`read_run` takes them.

    Returns
    -------
    Runs

    Raises
    ------
    DataError
        If one is no evaluation, or not of the mixtures of the first, or two differ in
        a row that both have.
    """
    runs = [read_run(path) for path in paths]
    for run in runs:
        if run.mixtures != runs[0].mixtures:
            raise DataError(
                f"{run.path} was not made from the mixtures of {runs[0].path}: compare "
                f"runs that {AGREE}"
            )
    of_seeds = {}
    for run in runs:
        for method in run.settings["methods"]:
            of_seeds.setdefault(method, set()).add(run.settings["seed"])
    whole = Runs(FaithfulnessTable(runs[0].settings))
    beside = FaithfulnessTable()
    for run in runs:
        own, others = FaithfulnessTable(), FaithfulnessTable()
        for (condition, row), scores in run.table.rows.items():
            if not run.is_own(row):
                others.rows[condition, row] = scores
                continue
            name = row
            if len(of_seeds[row.removesuffix(AS_AUDIO)]) > 1:
                name = f"{row}, seed {run.settings['seed']}"
                members = whole.seeds.setdefault(row, [])
                if name not in members:
                    members.append(name)
            own.rows[condition, name] = scores
        for table, more in ((whole.table, own), (beside, others)):
            try:
                table.merge(more)
            except ValueError as error:
                raise DataError(
                    f"{run.path}: {error} Name only one of the two evaluations."
                ) from error
        whole.remarks.update(run.settings["remarks"])
    whole.table.merge(beside)
    return whole


def find_row(row, rows, settings=None):
    """Find a row that is to be compared, before there is a table.

    Arguments
    ---------
    row : str
        The name of a row, or the folder of an evaluation, whose first method is meant,
        or ``FOLDER:ROW``.
    rows : list of str
        Names of the rows that the table will have.
    settings : dict, optional
        Of the table; without it, what its mixtures are is not compared.

    Returns
    -------
    str
        The name that the row is to have in the table.
    dict of str to ClipScores
        Its scores by condition; empty if it is one of ``rows``.

    Raises
    ------
    SettingError
        If it is neither one of the rows nor on disk, or of other mixtures.
    DataError
        If the folder holds no whole evaluation.
    """
    if row in rows:
        return row, {}
    folder, _, name = row.partition(":")
    if not Path(folder).exists():
        raise SettingError(
            f"--compare {row!r} is no row of this table and no evaluation on disk: "
            f"the rows are {', '.join(rows)}"
        )
    run = read_run(folder)
    name = name or run.settings["methods"][0]
    scores = {c: s for (c, method), s in run.table.rows.items() if method == name}
    if not scores:
        there = dict.fromkeys(method for _, method in run.table.rows)
        raise SettingError(
            f"--compare {row!r}: {folder} has no row {name!r}, but {', '.join(there)}"
        )
    if settings is not None and not _same_mixtures(run.settings, settings, scores):
        raise SettingError(
            f"--compare {row!r} was not made from the mixtures of this evaluation: "
            f"compare runs that {AGREE}"
        )
    return f"{name} ({row})" if name in rows else name, scores


def _same_mixtures(theirs, ours, conditions):
    shared = [c for c in conditions if c in ours["conditions"]]
    return (
        bool(shared)
        and mixtures_of(theirs) == mixtures_of(ours)
        and all(theirs["snr_db"].get(c) == ours["snr_db"].get(c) for c in shared)
    )


def choose_columns(names):
    """Columns of the table by name, such as ``AI`` or ``FF median``.

    Raises
    ------
    SettingError
        If there is none of a name.
    """
    by_name = {column.name: column for column in ALL_COLUMNS}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(by_name)}"
            raise SettingError(f"--columns: the table has no column {name!r}: {hint}")
    return [by_name[name] for name in names]


def runs_to_markdown(runs, columns=()):
    """A section a condition, a table a group, means with their intervals.

    Arguments
    ---------
    runs : Runs
        Of a method with several seeds every one has a row, and a last one tells their
        mean and standard deviation.
    columns : sequence of Column
        One table a condition with these alone, instead of its groups.

    Returns
    -------
    str
    """
    table, sections = runs.table, []
    groups = {name: [c for c in ALL_COLUMNS if c.group == name] for name in GROUPS}
    if columns:
        groups = {"method": columns}
    for condition in dict.fromkeys(condition for condition, _ in table.rows):
        rows = {m: s for (c, m), s in table.rows.items() if c == condition}
        sections.append(f"### {condition}\n")
        for name, members in groups.items():
            shown = [c for c in members if any(c.metric in s for s in rows.values())]
            if shown:
                head = [name, *(column.header for column in shown)]
                lines = _lines(table, rows, shown, runs.seeds)
                note = left_out([column.metric for column in shown], rows.values())
                sections.append(markdown_table(head, lines) + (note and f"\n{note}"))
    confidence = 100 * table.confidence
    sections.append(
        f"In brackets: {confidence:g} % intervals, bootstrap over clips. ±: standard "
        "deviation over seeds.\n"
    )
    return "\n".join([*sections, remarks_to_markdown(runs.remarks)])


def remarks_to_markdown(remarks):
    """Remarks by method, each once.

    Example
    -------
    >>> print(remarks_to_markdown({"a": "no sound", "b": "no sound"}))
    a, b: no sound
    <BLANKLINE>
    """
    methods = {}
    for method, remark in remarks.items():
        methods.setdefault(remark, []).append(method)
    return "\n".join(f"{', '.join(of)}: {remark}\n" for remark, of in methods.items())


def _lines(table, rows, columns, seeds):
    lines, last = [], {members[-1]: m for m, members in seeds.items()}
    for method, scores in rows.items():
        if any(column.metric in scores for column in columns):
            lines.append([method, *(_cell(table, scores, c) for c in columns)])
        if method in last:
            members = [rows[name] for name in seeds[last[method]] if name in rows]
            name = f"{last[method]}, mean ± sd of {len(members)} seeds"
            lines.append([name, *(_over_seeds(members, c) for c in columns)])
    return lines


def _cell(table, scores, column):
    if column.metric not in scores:
        return "–"
    values = scores.values(column.metric)
    value, low, high = table.summary(values, column.statistic)
    ends = "" if low == high else f" {interval(low, high, column.decimals)}"
    return number(value, column.decimals) + ends.replace(" –", "")


def _over_seeds(members, column):
    if any(column.metric not in scores for scores in members):
        return "–"
    values = [value_of(s.values(column.metric), column.statistic) for s in members]
    if len(values) < 2:
        return number(values[0], column.decimals)
    return (
        f"{number(statistics.mean(values), column.decimals)} ± "
        f"{number(statistics.stdev(values), column.decimals)}"
    )
