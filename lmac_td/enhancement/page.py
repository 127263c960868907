"""Write explanations of enhancement as a folder: tables, figures, sounds, a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from lmac_td.audio import save_audio
from lmac_td.files import write_atomically
from lmac_td.report.page.write import page_environment

PAGE = "index.html"


@dataclass(frozen=True)
class Sample:
    """The sounds of one explained mixture.

    Attributes
    ----------
    model : str
    noise : str
    utterance : str
    about : str
        What the scores say of it, in one line.
    sounds : dict of str to Path
        Wav files by what they hold.
    """

    model: str
    noise: str
    utterance: str
    about: str
    sounds: Mapping[str, Path]


def save_sounds(
    folder: Path, stem: str, sounds: Mapping[str, Tensor], sample_rate: int
) -> dict[str, Path]:
    """Write sounds (T,) as ``<stem>_<name>.wav``; return their files by name."""
    return {
        name: save_audio(
            folder / f"{stem}_{name.replace(' ', '_')}.wav", wav, sample_rate
        )
        for name, wav in sounds.items()
    }


def write_page(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Sequence[Path]],
    samples: Sequence[Sample],
    percentile: float,
) -> Path:
    """Write ``index.html``, which needs neither a server nor a network.

    Arguments
    ---------
    folder : Path
        Files of figures and samples lie in it or below.
    tables : mapping of str to DataFrame of str
        By their captions.
    figures : mapping of str to sequence of Path
        By model.
    samples : sequence of Sample
    percentile : float
        Of the bins that are called relevant in the sounds.

    Returns
    -------
    Path
    """
    template = page_environment("lmac_td.enhancement").get_template("page.html.jinja")
    text = template.render(
        tables=tables,
        figures=figures,
        samples=samples,
        percentile=percentile,
        link=lambda path: path.relative_to(folder).as_posix(),
    )
    with write_atomically(folder / PAGE, "w", encoding="utf-8") as file:
        file.write(text)
    return folder / PAGE
