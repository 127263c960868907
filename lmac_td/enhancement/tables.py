"""The paper's tables of enhancement: how it was trained, what it looks at.

Table 2 has the speech relevance score of all models in one noise. Table 3 has it in the
noise that a model was trained with (Gen-train) and in the noise of table 2 (Gen-test),
and the change between them relative to Gen-train, in percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from scipy import stats

from lmac_td.enhancement.scoring import eta_column
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.markdown import compact_table, with_interval

N_RESAMPLES = 2000
ERRORS = ("errors (mixture)", "errors (enhanced)")


def relevance_table(
    scores: pd.DataFrame, noise: str, percentiles: Sequence[float]
) -> pd.DataFrame:
    """Make table 2: one row for each model, tested in one noise.

    Arguments
    ---------
    scores : DataFrame
        One row a mixture, with ``model``, ``noise`` and what
        :func:`~lmac_td.enhancement.scoring.score_mixtures` gives.
    noise : str
        Mixtures of this noise count.
    percentiles : sequence of float
        T of the score.

    Returns
    -------
    DataFrame of str
        Means and 95 % bootstrap intervals over utterances. ``random map`` is the score
        that a random map would have. The word error rates of
        mixtures and enhanced speech (table 1) where they are known.
    """
    rows = []
    for model, of_model in scores[scores.noise == noise].groupby("model", sort=False):
        row = {"model": model}
        for percentile in percentiles:
            row[f"η (%), T = {percentile:g}"] = _mean(of_model, eta_column(percentile))
        row["random map (%)"] = _mean(of_model, "IBM (%)")
        row["SI-SDRi (dB)"] = _mean(of_model, "SI-SDRi (dB)")
        if "words" in of_model:
            for name in ERRORS:
                rate = 100 * of_model[name].sum() / of_model["words"].sum()
                row[name.replace("errors", "WER (%)")] = f"{rate:.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


def generalisation_table(
    scores: pd.DataFrame, noise: str, percentile: float
) -> pd.DataFrame:
    """Make table 3: Gen-train, Gen-test and the change, a column for each model.

    Arguments
    ---------
    scores : DataFrame
        See :func:`relevance_table`.
    noise : str
        Of Gen-test; the model that was trained with it has no column.
    percentile : float

    Returns
    -------
    DataFrame of str
    """
    column = eta_column(percentile)
    made = {"setup": ["Gen-train", "Gen-test", "change (%)"]}
    for model, of_model in scores.groupby("model", sort=False):
        if model == noise:
            continue
        train, test = (of_model[of_model.noise == name] for name in (model, noise))
        made[f"{model}, η (%)"] = [
            _mean(train, column),
            _mean(test, column),
            with_interval(*relative_drop(train, test, column), 1),
        ]
    return pd.DataFrame(made)


def relative_drop(
    train: pd.DataFrame, test: pd.DataFrame, column: str
) -> tuple[float, float, float]:
    """Compute 100 (train - test) / train of the means, and its 95 % interval.

    Arguments
    ---------
    train, test : DataFrame
        Scores of mixtures of the same utterances.
    column : str

    Returns
    -------
    value, low, high : float
        The bootstrap draws utterances, each with both of its means. NaN: no interval.
    """
    value = _drop(train[column].mean(), test[column].mean())
    both = pd.concat(
        [part.groupby("utterance")[column].mean() for part in (train, test)], axis=1
    ).dropna()
    if len(both) < 2:
        return value, math.nan, math.nan
    interval = stats.bootstrap(
        tuple(both.to_numpy().T),
        lambda a, b, axis: _drop(a.mean(axis=axis), b.mean(axis=axis)),
        paired=True,
        n_resamples=N_RESAMPLES,
        method="percentile",
        random_state=0,
    ).confidence_interval
    return value, float(interval.low), float(interval.high)


def _drop(train, test):
    return 100 * (train - test) / train


def _mean(scores, column):
    return with_interval(*summarise(scores[column], clips=list(scores.utterance)), 1)


def to_markdown(table: pd.DataFrame) -> str:
    """Write a table of texts as Markdown.

    Example
    -------
    >>> print(to_markdown(pd.DataFrame({"model": ["a"], "score": ["1.0"]})))
    | model | score |
    | --- | --- |
    | a | 1.0 |
    """
    return compact_table(list(table), table.to_numpy().tolist())
