"""Read evaluations from disk, and combine several in one table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lmac_td.errors import DataError, SettingError, UnreadableFileError
from lmac_td.evaluation.columns import AS_AUDIO
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.reading import checked, read_json
from lmac_td.report.same_mixtures import differing_settings, differing_snrs

# Keys in a table's settings: methods that ask the classifier, and controls.
ASKING, CONTROLS = "asks_classifier", "controls"
# Files of an evaluation.
TABLE, CLIPS, PACKED_CLIPS = "table.json", "clips.csv", "clips.csv.gz"


@dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes
    ----------
    path : Path
        Path of its table.json.
    settings : dict
        The settings of the table.
    table : FaithfulnessTable
    """

    path: Path
    settings: dict
    table: FaithfulnessTable

    def is_own(self, row: str) -> bool:
        """Return whether a row is a method of the recipe, not a reference row."""
        return row.removesuffix(AS_AUDIO) in self.settings["methods"]

    def differences(self, other: "Run") -> list[str]:
        """Describe how the mixtures of another run differ from those of this run.

        Conditions that only one of the two has do not count, but one must be shared.
        """
        found = differing_settings(self.settings, other.settings)
        ours, theirs = _sizes(self.table), _sizes(other.table)
        shared = ours.keys() & theirs.keys()
        snrs = shared | (self.settings["snr_db"].keys() & other.settings["snr_db"])
        if differing_snrs(self.settings, other.settings, snrs):
            found.append("snr_db")
        if not shared:
            found.append("the conditions")
        if any(ours[condition] != theirs[condition] for condition in shared):
            found.append("the number of clips")
        return found


def _sizes(table):
    """Return the number of clips of each condition."""
    return {condition: len(s) for (condition, _), s in table.rows.items()}


def read_run(path: str | Path) -> Run:
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
        If it is not an evaluation, or incomplete.
    """
    path = Path(path)
    path = path / TABLE if path.is_dir() else path
    try:
        return checked(path, read_json(path), lambda content: _run(path, content))
    except (OSError, UnreadableFileError) as error:
        raise DataError(
            f"{path} is not a table.json of eval_faithfulness.py: name such files, or "
            "the folders that they are in"
        ) from error


def _run(path, content):
    """Make a run of the content of a table.json; errors if something is missing."""
    settings = content["settings"]
    table = _read_table(path.parent, settings)
    run = Run(path, settings, table)
    _ = run.differences(run), settings["seed"], dict(settings["remarks"])
    for condition in table.conditions:
        _ = [table.row(condition, method) for method in settings["methods"]]
    return run


def _read_table(folder, settings):
    """Read clips.csv, packed or not, or the Parquet files of a large evaluation."""
    paths = [folder / CLIPS, folder / PACKED_CLIPS]
    written = next((path for path in paths if path.exists()), None)
    files = sorted((folder / "scores").glob("*.parquet"))
    if files and written is None:
        return FaithfulnessTable.read_parquet(files, settings=settings)
    return FaithfulnessTable.read_clips(written or paths[0], settings)


@dataclass(frozen=True)
class Runs:
    """Several evaluations in one table.

    Attributes
    ----------
    table : FaithfulnessTable
        All methods, then the reference rows.
    seeds : dict of str to list of str
        The rows of each method that has several seeds.
    remarks : dict of str to str
        Remarks by method.
    asking, controls : list of str
        The methods that ask the classifier what to keep, and the controls.
    seed_of : dict of str to int
        The seed of each row; reference rows have none.
    """

    table: FaithfulnessTable
    seeds: dict = field(default_factory=dict)
    remarks: dict = field(default_factory=dict)
    asking: list = field(default_factory=list)
    controls: list = field(default_factory=list)
    seed_of: dict = field(default_factory=dict)

    @property
    def base_of(self) -> dict[str, str]:
        """The method of each row that is one of several seeds."""
        return {row: base for base, rows in self.seeds.items() for row in rows}


def require_same_mixtures(runs: Sequence[Run]) -> None:
    """Refuse evaluations that have other mixtures than the first.

    Raises
    ------
    DataError
    """
    for run in runs:
        if differences := runs[0].differences(run):
            raise DataError(
                f"{run.path} was not made from the mixtures of {runs[0].path}: they "
                f"differ in {', '.join(differences)}; compare runs that agree in it"
            )


def read_runs(paths: Sequence[str | Path]) -> Runs:
    """Read evaluations into one table.

    Arguments
    ---------
    paths : sequence of str or Path
        Paths for :func:`read_run`.

    Returns
    -------
    Runs

    Raises
    ------
    DataError
        If one is not an evaluation, or has other mixtures than the first, or two differ
        in a row that both have.
    """
    runs = [read_run(path) for path in paths]
    require_same_mixtures(runs)
    of_seeds = {}
    for run in runs:
        for method in run.settings["methods"]:
            of_seeds.setdefault(method, set()).add(run.settings["seed"])
    whole = Runs(FaithfulnessTable(runs[0].settings))
    references = FaithfulnessTable()
    for run in runs:
        own, others = _split(run, of_seeds, whole.seeds)
        seed = run.settings["seed"]
        whole.seed_of.update({row: seed for _, row in own.rows})
        for table, more in ((whole.table, own), (references, others)):
            try:
                table.merge(more)
            except ValueError as error:
                raise DataError(
                    f"{run.path}: {error} Name only one of the two evaluations."
                ) from error
        whole.remarks.update(run.settings["remarks"])
        for methods, key in ((whole.asking, ASKING), (whole.controls, CONTROLS)):
            found = run.settings.get(key, ())
            methods += [method for method in found if method not in methods]
    whole.table.merge(references)
    return whole


def _split(run, of_seeds, rows_of_seeds):
    """Split a run's table into its methods, named by seed, and its references."""
    own, others = FaithfulnessTable(), FaithfulnessTable()
    for (condition, row), scores in run.table.rows.items():
        if not run.is_own(row):
            others.put(condition, row, scores)
            continue
        name = row
        if len(of_seeds[row.removesuffix(AS_AUDIO)]) > 1:
            name = f"{row}, seed {run.settings['seed']}"
            members = rows_of_seeds.setdefault(row, [])
            if name not in members:
                members.append(name)
        own.put(condition, name, scores)
    return own, others


def named_row(text: str) -> tuple[str, str]:
    """Parse ``FOLDER`` or ``FOLDER:ROW``; the row is empty if it is not named.

    Example
    -------
    >>> named_row("results/no/such:lmac"), named_row("results/no/such")
    (('results/no/such', 'lmac'), ('results/no/such', ''))
    """
    if os.path.exists(text):  # a name may have a colon
        return text, ""
    folder, _, row = text.partition(":")
    return folder, row


def find_row(
    row: str, rows: Sequence[str], settings: dict | None = None
) -> tuple[str, dict[str, pd.DataFrame]]:
    """Find a row for a comparison, before the table exists.

    Arguments
    ---------
    row : str
        The name of a row, or the folder of an evaluation (its first method is used),
        or ``FOLDER:ROW``.
    rows : list of str
        Names of the rows that the table will have.
    settings : dict, optional
        Settings of the table; without them, mixtures are not compared.

    Returns
    -------
    str
        The name of the row in the table.
    dict of str to pandas.DataFrame
        Its scores by condition; empty if it is one of ``rows``.

    Raises
    ------
    SettingError
        If it is neither one of the rows nor on disk, or has other mixtures.
    DataError
        If the folder holds no complete evaluation.
    """
    if row in rows:
        return row, {}
    folder, name = named_row(row)
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
    if settings is not None:
        _require_same_mixtures(row, run.settings, settings, scores)
    return f"{name} ({row})" if name in rows else name, scores


def _require_same_mixtures(row, theirs, ours, conditions):
    shared = [c for c in conditions if c in ours["conditions"]]
    found = [] if shared else ["condition"]
    found += differing_settings(theirs, ours)
    if differing_snrs(theirs, ours, shared):
        found.append("snr_db")
    if found:
        raise SettingError(
            f"--compare {row!r} was not made from the mixtures of this evaluation: "
            f"they differ in {', '.join(found)}; compare runs that agree in it"
        )
