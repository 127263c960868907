"""Merge the rows of several tables; a row that is in both must be the same."""

import numpy as np
import pandas as pd

from lmac_td.errors import SettingError
from lmac_td.evaluation.comparison import aligned, have_same_clips
from lmac_td.evaluation.frame import ScoreFrame, values_of


def merge_rows(table: ScoreFrame, other: ScoreFrame, tolerance: float = 1e-4) -> None:
    """Copy the rows of another table.

    Arguments
    ---------
    table, other : ScoreFrame
        ``table`` receives the rows of ``other``.
    tolerance : float
        How far two scores of a clip may differ in a row that both have, absolute or
        relative. Another device or batch size rounds the last digits differently.

    Raises
    ------
    SettingError
        If a row that both have differs; the message says where. Nothing is copied.
    """
    shared = table.rows.keys() & other.rows.keys()
    for condition, method in (row for row in other.rows if row in shared):
        difference = difference_of(
            table.row(condition, method), other.row(condition, method), tolerance
        )
        if difference:
            raise SettingError(
                f"row {method!r} of {condition!r} is in both tables, and "
                f"differs: {difference}; name only one of them."
            )
    for row, scores in other.rows.items():
        if row not in shared:
            table.put(*row, scores)


def difference_of(
    scores: pd.DataFrame, others: pd.DataFrame, tolerance: float
) -> str | None:
    """Describe the first difference of two rows; None if they are the same."""
    if set(scores) != set(others):
        return f"only one has the columns {sorted(set(scores) ^ set(others))}"
    others_in_order = aligned(scores, others)
    if others_in_order is None and have_same_clips(scores, others):
        return "they explain different classes of the same clips"
    if others_in_order is None:
        return "they hold different clips"
    for name in scores:
        if name in ("clip_id", "label"):
            continue
        one, other = values_of(scores, name), values_of(others_in_order, name)
        near = np.isclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
        for i in np.flatnonzero(~near):
            clip_id = scores["clip_id"][i]
            return f"{name} of clip {clip_id!r} is {one[i]:.6g} and {other[i]:.6g}"
    return None
