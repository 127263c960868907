"""Write what a sanity check compared: a table, every clip, two figures."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lmac_td.files import write_atomically
from lmac_td.sanity.comparison import (
    INTACT,
    MapComparison,
    clips_to_csv,
    stages_to_markdown,
    summarise_stages,
)
from lmac_td.sanity.figures import example_figure, similarity_figure


def write_results(
    folder: Path,
    name: str,
    comparison: MapComparison,
    stages: Sequence[str],
    methods: Collection[str],
    hparams: Mapping,
    *,
    stage: str,
    curves: str,
    example: str,
) -> str:
    """Write ``<name>.md``, ``.csv``, ``.png`` and ``<name>_example.png``.

    Arguments
    ---------
    folder : Path
        Created if it is missing.
    name : str
        Of the check.
    comparison : MapComparison
        With all stages.
    stages : sequence of str
        Those of the table. The example begins with the intact stage.
    methods : collection of str
        Those that the figures show.
    hparams : mapping
        Of the recipe.
    stage : str
        What a stage is, for the table and the figure.
    curves, example : str
        Titles of the figures.

    Returns
    -------
    str
        The table as Markdown.
    """
    summary = summarise_stages(comparison.scores)
    table = stages_to_markdown(summary, stage)
    with write_atomically(folder / f"{name}.md", "w", encoding="utf-8") as file:
        file.write(table)
    clips_to_csv(folder / f"{name}.csv", comparison.scores)
    similarity_figure(folder / f"{name}.png", summary, stages, methods, stage, curves)
    path = folder / f"{name}_example.png"
    shown = [INTACT, *(each for each in stages if each != INTACT)]
    example_figure(path, comparison, shown, methods, example, hparams)
    return table
