"""Read webMUSHRA's results; mean opinion scores with intervals, and their figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmac_td.errors import DataError, UnreadableFileError
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.files import write_atomically
from lmac_td.reading import checked, read_csv, read_json
from lmac_td.report.lettering import readable, save_figure
from lmac_td.report.listening_test.export import STUDY_FILE

REFERENCE = "reference"
# Columns of webMUSHRA's own files, and of those that pymushra exports.
_FORMATS = (
    {"trial": "trial_id", "stimulus": "stimuli", "rating": "stimuli_rating"},
    {"trial": "trial_id", "stimulus": "rating_stimulus", "rating": "rating_score"},
    {
        "trial": "wm_id",
        "stimulus": "responses_stimulus",
        "rating": "responses_stimulusRating",
    },
    {"trial": "wm_id", "stimulus": "responses_stimulus", "rating": "responses_score"},
)
OF_PAGE = ("clip", "condition", "target", "question")
# Columns that differ between the answers of one listener.
_OF_ANSWERS = ("time", "comment", "date")


def read_ratings(study: str | Path, results: Sequence[str | Path]) -> pd.DataFrame:
    """Read the ratings of a listening test.

    Arguments
    ---------
    study : str or Path
        The exported folder, or its ``study.json``.
    results : sequence of str or Path
        ``lms.csv`` or ``mushra.csv`` of webMUSHRA, or what pymushra exports.

    Returns
    -------
    pandas.DataFrame
        A line for each rating: ``listener``, ``clip``, ``condition``, ``target``,
        ``question``, ``method`` and ``rating``. The hidden reference of ``mushra`` is
        the method ``reference``.

    Raises
    ------
    DataError
        If a file cannot be read, or is about another study.
    """
    pages = _read_pages(Path(study))
    lines = [line for path in results for line in _lines(Path(path), pages)]
    if not lines:
        raise DataError(f"there is no rating in {', '.join(map(str, results))}")
    return pd.DataFrame(lines)


def _read_pages(path):
    path = path / STUDY_FILE if path.is_dir() else path
    try:
        return checked(path, read_json(path), _pages)
    except (OSError, UnreadableFileError) as error:
        raise DataError(
            f"{path} is no key of a listening test: give the folder that was exported"
        ) from error


def _pages(study):
    """Return what :func:`_lines` needs of a study; errors if it is missing."""
    for page in study["pages"].values():
        _ = [str(method) for method in page["methods"].values()]
        if not all(isinstance(page[name], str) for name in OF_PAGE):
            raise TypeError
    return study["pages"]


def _lines(path, pages):
    """Yield the ratings of one file."""
    try:
        names, rows = read_csv(path, ";,")
    except (OSError, UnreadableFileError) as error:
        raise DataError(f"{error}; export it again") from error
    columns = next((f for f in _FORMATS if set(f.values()) <= set(names)), None)
    if columns is None:
        raise DataError(
            f"{path} is no lms.csv or mushra.csv of webMUSHRA: it has other columns"
        )
    seen = {}
    for _, row in rows:
        trial, stimulus, rating = (row[columns[name]].strip() for name in columns)
        if trial not in pages:
            raise DataError(f"{path}: page {trial!r} is not of this study")
        page = pages[trial]
        method = page["methods"].get(stimulus, stimulus)
        if method == stimulus != REFERENCE:
            raise DataError(f"{path}: page {trial!r} has no stimulus {stimulus!r}")
        answers = _listener(row, columns.values())
        # Two listeners may give the same name: the second rates a page again.
        again = seen[answers, trial, stimulus] = (
            seen.get((answers, trial, stimulus), 0) + 1
        )
        try:
            value = float(rating)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 100:
            raise DataError(
                f"{path}: {rating!r} is no rating from 0 to 100: correct it"
            )
        known = {name: page[name] for name in OF_PAGE}
        yield {
            "listener": f"{answers} {again}",
            **known,
            "method": method,
            "rating": value,
        }


def _listener(row, columns):
    """Return what is the same in all answers of a listener."""
    same = [
        value
        for name, value in sorted(row.items())
        if name not in columns and not any(part in name for part in _OF_ANSWERS)
    ]
    return " ".join(map(str, same))


def mean_opinion_scores(
    ratings: pd.DataFrame, confidence: float = 0.95
) -> pd.DataFrame:
    """Return the mean rating of each method for each question.

    Arguments
    ---------
    ratings : pandas.DataFrame
        Of :func:`read_ratings`.
    confidence : float

    Returns
    -------
    pandas.DataFrame
        ``question``, ``method``, ``mean``, ``low``, ``high`` (bootstrap: listeners are
        drawn, each with all of their ratings), ``ratings`` and ``listeners``.

    Example
    -------
    >>> ratings = pd.DataFrame(
    ...     {
    ...         "listener": ["a", "a", "b", "b"],
    ...         "question": ["quality"] * 4,
    ...         "method": ["lmac", "l2i"] * 2,
    ...         "rating": [80.0, 40.0, 60.0, 50.0],
    ...     }
    ... )
    >>> mean_opinion_scores(ratings)[["method", "mean", "low", "high"]].values.tolist()
    [['lmac', 70.0, 60.0, 80.0], ['l2i', 45.0, 40.0, 50.0]]
    """
    lines = []
    for (question, method), rows in ratings.groupby(["question", "method"], sort=False):
        listeners = rows["listener"].tolist()
        mean, low, high = summarise(
            rows["rating"].to_numpy(float), confidence=confidence, clips=listeners
        )
        lines.append(
            {
                "question": question,
                "method": method,
                "mean": mean,
                "low": low,
                "high": high,
                "ratings": len(rows),
                "listeners": len(set(listeners)),
            }
        )
    return pd.DataFrame(lines)


def scores_to_markdown(scores: pd.DataFrame) -> str:
    """Render mean opinion scores, one table for each question.

    Arguments
    ---------
    scores : pandas.DataFrame
        Of :func:`mean_opinion_scores`.
    """
    sections = []
    for question, rows in scores.groupby("question", sort=False):
        lines = [
            [r.method, f"{r.mean:.1f} [{r.low:.1f}, {r.high:.1f}]", str(r.ratings)]
            for r in rows.itertuples()
        ]
        table = markdown_table([question, "MOS ↑", "ratings"], lines)
        sections.append(f"{table}\n")
    return "\n".join(sections)


def scores_figure(path: Path, scores: pd.DataFrame) -> None:
    """Draw mean opinion scores with intervals, one panel for each question.

    It is the figure of LMAC-TD's user study (its Fig. 2).

    Arguments
    ---------
    path : Path
        A png file.
    scores : pandas.DataFrame
        Of :func:`mean_opinion_scores`.
    """
    questions = list(scores.groupby("question", sort=False))
    n_methods = max(len(rows) for _, rows in questions)
    size = (1.6 + 0.8 * n_methods) * len(questions), 4.2
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(questions), sharey=True, squeeze=False)[0]
    for axis, (question, rows) in zip(axes, questions, strict=True):
        places, mean = range(len(rows)), rows["mean"].to_numpy(float)
        axis.bar(places, mean, color="#c9814f", width=0.65)
        ends = [mean - rows["low"].to_numpy(float), rows["high"].to_numpy(float) - mean]
        axis.errorbar(places, mean, yerr=ends, fmt="none", ecolor="black", capsize=4)
        names = map(readable, rows["method"])
        axis.set_xticks(places, list(names), rotation=30, ha="right")
        axis.set_title(question, fontsize=11)
        axis.set_ylim(0, 100)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean opinion score, 95 % intervals")
    with write_atomically(path) as file:
        save_figure(figure, file, dpi=120)
