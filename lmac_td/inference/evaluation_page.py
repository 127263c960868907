"""The page of an evaluation: its samples, explained by its methods, with a dial."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lmac_td.contracts import ExplainedBatch
from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.evaluation.columns import metrics_of
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.features import SpectralFeatures
from lmac_td.files import write_atomically
from lmac_td.inference.dial import dial_of, scores_of, write_clip
from lmac_td.interpreters.base import Interpreter
from lmac_td.names import file_name
from lmac_td.reading import read_json
from lmac_td.report.page.content import PageClip
from lmac_td.report.page.saved import read_clips, save_clips
from lmac_td.report.page.write import write_page
from lmac_td.targets import label_name

# In the folder of a shard's page: its clips, and the classes that are explained.
PART, TARGETS = "part_clips.json", "part_targets.json"


class EvaluationPage:
    """Collects explanations of sample clips during an evaluation, and writes a page.

    Nothing is explained again: the dial cuts the explanations that are measured.

    Arguments
    ---------
    folder : Path
        Of the page; created when there is something to show.
    methods : dict of str to Interpreter
        The rows that are shown. Controls, which explain nothing, are left out.
    spectral_features : SpectralFeatures
    class_names : list of str
        Class names of the data set.
    clip_ids : collection of str
        The clips that are shown.
    """

    def __init__(
        self,
        folder: Path,
        methods: Mapping[str, Interpreter],
        spectral_features: SpectralFeatures,
        class_names: list[str],
        clip_ids: Collection[str],
    ) -> None:
        self.folder = Path(folder)
        self.methods = {
            name: m.about() for name, m in methods.items() if not m.is_control
        }
        self.spectral_features = spectral_features
        self.class_names = class_names
        self.clip_ids = clip_ids
        self._clips = []  # (PageClip, index of its target)
        self._folders = set()

    def on_batch(
        self,
        condition: str,
        method: str,
        decided: DecidedBatch,
        explained: ExplainedBatch,
    ) -> None:
        """Observe a batch, as :func:`lmac_td.evaluation.loop.evaluate` calls it."""
        shown = [i for i, name in enumerate(decided.clip_ids) if name in self.clip_ids]
        if method not in self.methods or not shown:
            return
        rows = torch.tensor(shown, device=decided.wavs.device)
        part = decided.select(rows)
        stft = self.spectral_features
        settings = dial_of(part, scores_of(explained)[rows], stft)
        for row, clip_id in enumerate(part.clip_ids):
            target = int(part.decision.target[row])
            clip = write_clip(
                self._new_folder(condition, clip_id, part, row, method),
                clip_id,
                method,
                part,
                settings,
                stft,
                row,
                label=label_name(self.class_names, int(part.labels[row])),
                condition=condition,
                about=self.methods[method],
            )
            self._clips.append((clip, target))

    def _new_folder(self, condition, clip_id, part, row, method):
        """Return a folder below the page's for the files of a clip."""
        label = part.decision.classifier.labels[int(part.decision.target[row])]
        names = [condition, f"{clip_id} {label}", method]
        folder = self.folder.joinpath(*map(file_name, names))
        while folder in self._folders:
            folder = folder.with_name(f"{folder.name}_")
        self._folders.add(folder)
        return folder

    def save_part(self) -> None:
        """Write what was collected, for the page of all shards (:meth:`add_part`)."""
        if not self._clips:
            return
        save_clips(self.folder, [clip for clip, _ in self._clips], PART)
        with write_atomically(self.folder / TARGETS, "w", encoding="utf-8") as file:
            json.dump([target for _, target in self._clips], file)

    def add_part(self, folder: Path) -> None:
        """Add the clips of a shard, whose files were copied into the page's folder.

        Arguments
        ---------
        folder : Path
            Of the page of the shard; without it, the shard has no clip that is shown.
        """
        if not (folder / PART).exists():
            return
        targets = read_json(folder / TARGETS, list)
        clips = read_clips(folder, PART, self.folder)
        self._clips += zip(clips, targets, strict=True)

    def sort(self, key: Callable[[PageClip], Any]) -> None:
        """Sort the clips, and leave those with equal keys in their order."""
        self._clips.sort(key=lambda clip_and_target: key(clip_and_target[0]))

    def write(self, table: FaithfulnessTable) -> Path | None:
        """Write the page with the scores of its clips.

        Arguments
        ---------
        table : FaithfulnessTable
            The evaluation's, complete.

        Returns
        -------
        Path or None
            Of the page; None if no clip is shown.
        """
        if not self._clips:
            return None
        clips = [
            replace(clip, metrics=metrics_of_clip(table, clip, target))
            for clip, target in self._clips
        ]
        save_clips(self.folder, clips)
        return write_page(self.folder, title_of(clips), clips)


def metrics_of_clip(
    table: FaithfulnessTable, clip: PageClip, target: int
) -> dict[str, float]:
    """Return the printed metrics of a clip and target, by the names of columns.

    Arguments
    ---------
    table : FaithfulnessTable
    clip : PageClip
    target : int
        Index of the class that is explained.
    """
    scores = table.row(clip.condition, clip.method)
    of_clip = (scores["clip_id"] == clip.name) & (scores["decided"] == target)
    line = scores[of_clip].iloc[0]
    return {name: float(line[name]) for name in metrics_of(scores)}


def title_of(clips: Collection[PageClip]) -> str:
    """Return the title of a page: its methods, or how many there are.

    Arguments
    ---------
    clips : collection of PageClip
    """
    methods = list(dict.fromkeys(clip.method for clip in clips))
    n_clips = len({clip.name for clip in clips})
    recordings = f"{n_clips} recording{'s' if n_clips > 1 else ''}"
    by = f"{len(methods)} methods" if len(methods) > 3 else " and ".join(methods)
    return f"{recordings}, explained by {by}"
