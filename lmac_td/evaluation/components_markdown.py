"""Render the tables of a surrogate, and of the removal of components, as Markdown."""

import math
from collections.abc import Mapping

from lmac_td.evaluation.markdown import markdown_table, number
from lmac_td.evaluation.tag_fidelity import MIN_CLIPS


def components_to_markdown(
    summary: Mapping[str, Mapping], surrogate: str = "Theta"
) -> str:
    """Return one section per condition, and one more if there are tags.

    Arguments
    ---------
    summary : mapping of str to mapping
        The result of :meth:`lmac_td.evaluation.fidelity.FidelityTable.summary`.
    surrogate : str
        The name of the surrogate.
    """
    sections = []
    for condition, numbers in summary.items():
        if "removal" in numbers:
            title = f"### {condition}: fidelity, and removal of components\n\n"
            tables = _fidelity_to_markdown(numbers), _removal_to_markdown(numbers)
            sections.append(title + "\n".join(tables))
        elif "fidelity (%)" in numbers:
            title = f"### {condition}: fidelity\n\n"
            sections.append(title + _fidelity_to_markdown(numbers))
        if "tags" in numbers:
            title = f"### {condition}: fidelity to the classifier's tags\n\n"
            sections.append(title + _tags_to_markdown(numbers["tags"], surrogate))
    return "\n".join(sections)


def _fidelity_to_markdown(numbers):
    fidelity = numbers["fidelity (%)"]
    return markdown_table(
        [*(f"{k} fidelity (%) ↑" for k in fidelity), "clips"],
        [
            [
                *(f"{value['mean']:.1f}" for value in fidelity.values()),
                str(numbers["n_clips"]),
            ]
        ],
    )


def _removal_to_markdown(numbers):
    removal = [
        [
            f"{row['tau']:g}",
            f"{row['FF']['median']:.3f}",
            f"{row['random FF']['median']:.3f}",
            f"{row['removed']['mean']:.1f}",
        ]
        for row in numbers["removal"]
    ]
    return markdown_table(["τ", "FF median ↑", "FF median, random", "removed"], removal)


def _tags_to_markdown(tags, surrogate):
    values, intervals = [], []
    for found in tags["fidelity"].values():
        value, low, high = (
            math.nan if v is None else v for v in (found["value"], *found["interval"])
        )
        values.append(number(value, 3))
        intervals.append("–" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]")
    n, n_own = tags["n_classes"], tags["n_classes decided in two clips"]
    head = [f"{name} ↑" for name in tags["fidelity"]]
    text = markdown_table(
        ["", *head, "clips", "classes"],
        [
            [surrogate, *values, str(tags["n_clips"]), str(n)],
            ["95 % interval", *intervals, "", ""],
        ],
    )
    if n_own < n:
        text += (
            f"\nThe classifier decides {n - n_own} of {n} classes in fewer than "
            f"{MIN_CLIPS} clips: they are left out of the macro AUPRC and below "
            f"({', '.join(tags['classes left out'])}).\n"
        )
    rows = []
    for found in tags["classes"]:
        first = min(found["removal"], key=lambda row: row["tau"])
        rows.append(
            [
                found["class"],
                f"{first['FF']['median']:.3f}",
                f"{first['random FF']['median']:.3f}",
                str(found["n_clips"]),
            ]
        )
    if rows:
        text += f"\nRemoval by class, τ = {first['tau']:g}:\n\n" + markdown_table(
            ["class", "FF median ↑", "FF median, random", "clips"], rows
        )
    return text
