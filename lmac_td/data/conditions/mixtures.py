"""The condition ``mixtures``: clips mixed with clips of other classes."""

import math
from pathlib import Path

import torch

from lmac_td.data.cache import load_decoded
from lmac_td.data.conditions.base import Interference, PaperCondition, SplitSetup
from lmac_td.data.partners import Candidates
from lmac_td.errors import DataError
from lmac_td.reading import read_json
from lmac_td.targets import NO_LABEL


class Mixtures(PaperCondition):
    """Mixes each clip with a clip of another class from the same fold.

    Arguments
    ---------
    snr_db, snr
        See :class:`~lmac_td.data.conditions.base.PaperCondition`.

    Example
    -------
    >>> Mixtures(snr_db=5).snr_db
    5
    """

    needs_clips = True
    snr_setting = "mixtures_snr_db"
    published_snr_db = 20 * math.log10(0.8 / 0.2)

    def prepare(self, setup: SplitSetup) -> "OtherClasses":
        """Return the clips of a split; see :meth:`Condition.prepare`."""
        return OtherClasses(setup.manifest)


class OtherClasses(Interference):
    """Draws for each clip a clip of another class from the same fold.

    If the drawn clip was padded, its padding is part of the interference.

    Arguments
    ---------
    manifest : str or Path
        Written by :func:`lmac_td.data.manifests.write_manifests`. The clips of one fold
        do not affect the draws for another.

    Raises
    ------
    DataError
        If all clips of a fold have the same class.

    Example
    -------
    >>> import json, tempfile
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> clips = {}
    >>> for i, clip_id in enumerate(["bark", "mew", "moo"]):
    ...     np.save(f"{folder.name}/{i}.npy", np.full(4, i, dtype="float32"))
    ...     wav = f"{folder.name}/{i}.npy"
    ...     clips[clip_id] = {"wav": wav, "class_index": i, "fold": 1}
    >>> _ = Path(f"{folder.name}/test.json").write_text(json.dumps(clips))
    >>> others = OtherClasses(f"{folder.name}/test.json")
    >>> others.partner("mew") in ("bark", "moo")
    True
    >>> others.fixed("mew", "mixtures", seed=0).shape
    torch.Size([4])
    """

    def __init__(self, manifest: str | Path):
        clips = read_json(manifest)
        # Sorted, so that a draw does not depend on the order of the data set's table.
        self.clips = dict(sorted(clips.items()))
        self.ids_of_fold = {}  # fold -> ids of its clips
        class_indices = {}
        for clip_id, clip in self.clips.items():
            self.ids_of_fold.setdefault(clip["fold"], []).append(clip_id)
            class_indices.setdefault(clip["fold"], set()).add(clip["class_index"])
        self.candidates = {
            fold: Candidates(_classes(self.clips[clip_id]) for clip_id in ids)
            for fold, ids in self.ids_of_fold.items()
        }
        for fold, present in class_indices.items():
            if len(present) < 2:
                split = Path(manifest).stem
                raise DataError(
                    f"all clips of fold {fold} are of one class, but condition "
                    f"mixtures needs another one: remove it from --{split}_fold_nums, "
                    "or remove mixtures from --condition."
                )

    def partner(self, clip_id: str, generator: torch.Generator | None = None) -> str:
        """Draw the clip that a clip is mixed with.

        Arguments
        ---------
        clip_id : str
            The clip that is mixed.
        generator : torch.Generator, optional
            By default torch's global generator.

        Returns
        -------
        str
            The id of a clip of the same fold that shares no class with it.

        Raises
        ------
        DataError
            If there is no such clip.
        """
        fold = self.clips[clip_id]["fold"]
        candidates, classes = self.candidates[fold], _classes(self.clips[clip_id])
        n_candidates = candidates.count(classes)
        if n_candidates == 0:
            raise DataError(
                f"every clip of fold {fold} shares a class with {clip_id!r}, but "
                "condition mixtures needs one that does not: remove mixtures from "
                "--condition."
            )
        drawn = int(torch.randint(n_candidates, (1,), generator=generator))
        return self.ids_of_fold[fold][candidates.place(classes, drawn)]

    def draw(
        self, clip_id: str, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Read the clip that a clip is mixed with, (T,), as it was decoded."""
        return load_decoded(self.clips[self.partner(clip_id, generator)]["wav"])


def _classes(clip: dict) -> frozenset[str | int]:
    """Return the classes of a clip of a manifest: its labels if it may have several.

    Clips without a label share the class ``no label``.
    """
    if "labels" in clip:
        return frozenset(clip["labels"] or [NO_LABEL])
    return frozenset([clip["class_index"]])
