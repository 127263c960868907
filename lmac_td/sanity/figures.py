"""Draw comparisons of maps: similarity by stage, and what is kept of one clip."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lmac_td.files import write_atomically
from lmac_td.report.figures import grid_figure, lines_figure
from lmac_td.sanity.comparison import ANOTHER_CLIP, MapComparison, Summary
from lmac_td.sanity.similarity import MEASURES


def similarity_figure(
    path: str | Path,
    summary: Summary,
    stages: Sequence[str],
    methods: Collection[str],
    x_label: str,
    title: str,
) -> None:
    """Save the similarity of masks at every stage, a line per method.

    Arguments
    ---------
    path : str or Path
    summary : dict
        The result of :func:`lmac_td.sanity.comparison.summarise_stages`.
    stages : sequence of str
    methods : collection of str
        The recipe's methods; other rows are controls. The similarity to another clip's
        mask is marked for them.
    x_label, title : str
    """
    panels = {
        measure: {
            method: [rows[stage][measure] for stage in stages]
            for method, rows in summary.items()
        }
        for measure in MEASURES[:2]
    }
    marks = {
        measure: {
            method: summary[method][ANOTHER_CLIP][measure][0] for method in methods
        }
        for measure in panels
    }
    dashed = set(summary) - set(methods)
    with write_atomically(path) as file:
        lines_figure(file, panels, stages, x_label, title, dashed, marks)


def example_figure(
    path: str | Path,
    comparison: MapComparison,
    stages: Sequence[str],
    methods: Collection[str],
    title: str,
    hparams: Mapping,
) -> None:
    """Save what is kept of the first clip at every stage, a row per method.

    Arguments
    ---------
    path : str or Path
    comparison : MapComparison
    stages : sequence of str
    methods : collection of str
    title : str
    hparams : mapping
        Must have ``sample_rate`` and ``signal_length_s``.
    """
    whole = comparison.decided[0].features.magnitude[0].cpu().numpy()
    rows = {
        method: {"input": whole}
        | {stage: comparison.sounds[method][stage].numpy() for stage in stages}
        for method in methods
    }
    with write_atomically(path) as file:
        grid_figure(
            file,
            rows,
            whole.max(),
            hparams["sample_rate"],
            hparams["signal_length_s"],
            title,
        )
