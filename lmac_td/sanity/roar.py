"""Train the missing cells of RemOve And Retrain, and summarise all cells."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from lmac_td.contracts import Classifier
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.files import write_atomically
from lmac_td.sanity.cells import Cells
from lmac_td.sanity.rankings import LOUDEST, Ranking
from lmac_td.sanity.removal import SPLITS, Removal
from lmac_td.sanity.retraining import recognised_clips, retrain

NOTHING = "nothing removed"


def complete_cells(
    cells: Cells,
    removal: Removal,
    classifier: Classifier,
    rankings: Mapping[str, Ranking],
    levels: Sequence[float],
    repeats: Iterable[int],
    progress: bool = True,
    **training,
) -> None:
    """Train the cells that are not finished; save each when it is finished.

    Arguments
    ---------
    cells : Cells
        Receives the cells. A cell does not depend on which others are computed.
    removal : Removal
    classifier : Classifier
        The one that is explained; new ones have its architecture.
    rankings : dict of str to callable
        The result of :func:`~lmac_td.sanity.rankings.ranking_functions`.
    levels : sequence of float
        Shares of the bins that are removed. One further cell removes nothing.
    repeats : iterable of int
        Seeds of the trainings.
    progress : bool
        Show a progress bar.
    **training
        ``epochs``, ``lr`` and ``batch_size`` of
        :func:`~lmac_td.sanity.retraining.retrain`.
    """
    wanted = {NOTHING: [0.0], **dict.fromkeys(rankings, levels)}
    missing = {
        ranking: _missing(cells, ranking, own, repeats)
        for ranking, own in wanted.items()
    }
    total = len(list(repeats)) * sum(map(len, wanted.values()))
    n_missing = sum(len(r) for own in missing.values() for r in own.values())
    with tqdm(
        total=total,
        initial=total - n_missing,
        desc="trainings",
        disable=not progress,
        dynamic_ncols=True,
    ) as bar:
        for ranking, own in missing.items():
            if not own:
                continue
            # If nothing is removed, the order does not matter.
            rank = rankings.get(ranking, rankings[LOUDEST])
            clips = removal.clips(rank, list(own))
            for level, seeds in own.items():
                for seed in seeds:
                    train, valid, test = (clips[level][split] for split in SPLITS)
                    model = retrain(classifier, train, valid, seed=seed, **training)
                    hits = recognised_clips(model, test)
                    cells.put(ranking, level, seed, hits.tolist())
                    bar.update()


def _missing(cells, ranking, levels, repeats):
    """Return the unfinished repeats, by level; finished levels are left out."""
    missing = {
        level: [r for r in repeats if not cells.has(ranking, level, r)]
        for level in levels
    }
    return {level: left for level, left in missing.items() if left}


def accuracies(
    hits: pd.DataFrame,
    rankings: Iterable[str],
    levels: Sequence[float],
    repeats: Iterable[int],
) -> pd.DataFrame:
    """Return the accuracy of every ranking at every level.

    Arguments
    ---------
    hits : pandas.DataFrame
        ``Cells.frame``.
    rankings : iterable of str
    levels : sequence of float
    repeats : iterable of int
        The repeats that count.

    Returns
    -------
    pandas.DataFrame
        One line per ranking and level (``ranking``, ``removed``); the first level of
        each is 0. ``accuracy`` is the mean over repeats and clips in [0, 1]. Its 95 %
        bootstrap interval over clips is ``low`` and ``high``.

    Example
    -------
    >>> hits = [(NOTHING, 0.0, 0, 0, 1), ("lmac", 0.5, 0, 0, 0)]
    >>> hits = pd.DataFrame(hits, columns=["ranking", "removed", "repeat", "clip",
    ...                                    "recognised"])
    >>> accuracies(hits, ["lmac"], [0.5], [0])[["removed", "accuracy"]].values.tolist()
    [[0.0, 1.0], [0.5, 0.0]]
    """
    hits = hits[hits["repeat"].isin(list(repeats))]

    def accuracy(ranking, level):
        cell = hits[(hits["ranking"] == ranking) & (hits["removed"] == level)]
        return summarise(cell.groupby("clip")["recognised"].mean())

    whole = accuracy(NOTHING, 0.0)
    lines = []
    for ranking in rankings:
        lines.append((ranking, 0.0, *whole))
        lines += [(ranking, level, *accuracy(ranking, level)) for level in levels]
    return pd.DataFrame(
        lines, columns=["ranking", "removed", "accuracy", "low", "high"]
    )


def accuracies_to_markdown(table: pd.DataFrame) -> str:
    """Return a table of accuracies (%) with intervals, one row per ranking.

    Arguments
    ---------
    table : pandas.DataFrame
        The result of :func:`accuracies`.
    """
    levels = table["removed"].unique()
    head = ["most important first by", *(f"{100 * level:g} %" for level in levels)]
    rows = [
        [ranking, *(_percent(*line) for line in curve)]
        for ranking, curve in accuracy_curves(table).items()
    ]
    return markdown_table(head, rows)


def _percent(value, low, high):
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def accuracy_curves(
    table: pd.DataFrame,
) -> dict[str, list[tuple[float, float, float]]]:
    """Return (accuracy, low, high) at every level, by ranking, as a figure needs them.

    Arguments
    ---------
    table : pandas.DataFrame
        The result of :func:`accuracies`.
    """
    return {
        ranking: list(
            own[["accuracy", "low", "high"]].itertuples(index=False, name=None)
        )
        for ranking, own in table.groupby("ranking", sort=False)
    }


def accuracies_to_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write accuracies and intervals, one line per ranking and level.

    Arguments
    ---------
    path : str or Path
        The file to write; its folders are created.
    table : pandas.DataFrame
        The result of :func:`accuracies`.
    """
    with write_atomically(path, "w", encoding="utf-8", newline="") as file:
        table.to_csv(file, index=False, lineterminator="\n")
