"""What was measured clip by clip, and what can be said of it over clips.

A mean is over clips, never a mean of batch means, and comes with its bootstrap
interval.
"""

import numpy as np

from lmac_td.evaluation.columns import COLUMNS


class ClipScores:
    """What was measured for one method under one condition, a row a clip.

    Attributes
    ----------
    columns : dict of str to list
        Equally long lists by name; "clip_id" is one of them.

    Example
    -------
    >>> scores = ClipScores()
    >>> scores.extend({"clip_id": ["a", "b"], "AI": [0.0, 100.0]})
    >>> scores.extend({"clip_id": ["c"], "AI": [100.0]})
    >>> len(scores), scores.values("AI")
    (3, array([  0., 100., 100.]))
    """

    def __init__(self):
        self.columns = {}

    def extend(self, columns):
        """Append the rows of one batch.

        Arguments
        ---------
        columns : dict of str to list
            Equally long lists, with the names of the batches before.

        Raises
        ------
        ValueError
            If lengths or names differ, or a clip is there already for the same class:
            scored twice, it would count twice.
        """
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must be equally long, not {lengths}.")
        if self.columns and columns.keys() != self.columns.keys():
            differing = sorted(columns.keys() ^ self.columns.keys())
            raise ValueError(f"some batches have {differing} and some do not.")
        seen = set(entries_of(self.columns)) if self.columns else set()
        for entry in entries_of(columns):
            if entry in seen:
                raise ValueError(f"clip {entry[0]!r} is scored twice.")
            seen.add(entry)
        for name, column in columns.items():
            self.columns.setdefault(name, []).extend(column)

    def values(self, name):
        """Return a numeric column as a float64 array (N,)."""
        return np.asarray(self.columns[name], dtype=np.float64)

    def __contains__(self, name):
        return name in self.columns

    def __len__(self):
        return len(self.columns.get("clip_id", ()))


def entries_of(columns):
    """Return (clip, explained class) of every line; a clip has one for each tag."""
    clips = columns["clip_id"]
    return list(zip(clips, columns.get("decided", [None] * len(clips)), strict=True))


def read_row(lines):
    """Return one row of a clips.csv: columns that no line of it fills are left out."""
    columns = {}
    for name in lines[0]:
        cells = [line[name] for line in lines]
        if name == "clip_id":
            columns[name] = cells
        elif name == "label":
            columns[name] = [int(cell) if cell else None for cell in cells]
        elif any(cells):
            kind = int if name == "decided" or name.startswith("bins") else float
            columns[name] = [kind(cell) for cell in cells]
    missing = {"clip_id", "decided", *(c.metric for c in COLUMNS)} - columns.keys()
    if missing:
        raise ValueError(f"there is no {' or '.join(sorted(missing))}")
    scores = ClipScores()
    scores.extend(columns)
    return scores


def n_clips(scores):
    """Count the clips; a clip may have several lines, one for each tag."""
    return len(set(scores.columns["clip_id"]))


def zero_maps(scores):
    """Count the maps that are zero everywhere: SPS is NaN for them alone."""
    return int(np.isnan(scores.values("SPS")).sum())


def left_out(metrics, rows):
    """Say over how many clips a metric is, where it is undefined for some.

    Maps that are zero everywhere are not meant: they are counted by
    :func:`zero_maps`.

    Arguments
    ---------
    metrics : sequence of str
    rows : sequence of ClipScores

    Returns
    -------
    str
        One line, or nothing.
    """
    rows = list(rows)
    several = any(n_clips(scores) < len(scores) for scores in rows)
    unit = "explanations" if several else "clips"
    found = []
    for metric in dict.fromkeys(metrics):
        counts = {}
        for scores in (scores for scores in rows if metric in scores):
            defined = int((~np.isnan(scores.values(metric))).sum())
            if 0 < defined < len(scores) - zero_maps(scores):
                counts[defined] = len(scores)
        if counts:
            fewest, most = min(counts), max(counts)
            over = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            found.append(f"{metric} over {over} of {counts[most]} {unit}")
    return f"Undefined for the others: {', '.join(found)}.\n" if found else ""


def where(condition, scores, name):
    """Yield the clips for which a condition (N,) holds, and a column's value there."""
    values = scores.values(name)
    for i in np.flatnonzero(condition):
        yield scores.columns["clip_id"][i], values[i]


def places_of(scores, others):
    """Return where each line of one row stands in another, by clip and class.

    None if the rows hold different clips, or explain different classes of them.
    """
    place = {entry: i for i, entry in enumerate(entries_of(others.columns))}
    own = entries_of(scores.columns)
    if place.keys() != set(own):
        return None
    return [place[entry] for entry in own]


def have_same_clips(scores, others):
    """Whether two rows hold the same clips, whatever classes they explain."""
    return set(scores.columns["clip_id"]) == set(others.columns["clip_id"])


def difference_of(scores, others, tolerance):
    """Say in which column, and for which clip, two rows differ; None if nowhere."""
    if scores.columns.keys() != others.columns.keys():
        names = sorted(scores.columns.keys() ^ others.columns.keys())
        return f"only one has the columns {names}"
    order = places_of(scores, others)
    if order is None:
        if have_same_clips(scores, others):
            return "they explain different classes of the same clips"
        return "they hold different clips"
    for name in scores.columns:
        if name in ("clip_id", "label"):
            continue
        one, other = scores.values(name), others.values(name)[order]
        near = np.isclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
        for i in np.flatnonzero(~near):
            clip_id = scores.columns["clip_id"][i]
            return f"{name} of clip {clip_id!r} is {one[i]:.6g} and {other[i]:.6g}"
    return None
