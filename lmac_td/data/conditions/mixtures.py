"""Mixtures of two clips of different classes."""

import json
import math
from pathlib import Path

import torch

from lmac_td.data.cache import load_decoded
from lmac_td.data.conditions.base import Interference, PaperCondition
from lmac_td.errors import DataError


class Mixtures(PaperCondition):
    """Mixes clips with another clip of their fold, of another class.

    Arguments
    ---------
    snr_db, snr
        As of :class:`~lmac_td.data.conditions.base.PaperCondition`.

    Example
    -------
    >>> Mixtures(snr_db=5).snr_db
    5
    """

    needs_clips = True
    snr_setting = "mixtures_snr_db"
    published_snr_db = 20 * math.log10(0.8 / 0.2)

    def prepare(self, setup):
        """The clips of a split; see :meth:`Condition.prepare`."""
        return OtherClasses(setup.manifest)


class OtherClasses(Interference):
    """For each clip another clip of its fold, of another class.

    If the other clip was padded, its zeros are part of the interference.

    Arguments
    ---------
    manifest : str or Path
        Written by :func:`lmac_td.data.manifests.write_manifests`. Which other folds it
        holds changes no mixture.

    Raises
    ------
    DataError
        All clips of a fold are of one class.

    Example
    -------
    >>> import tempfile
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

    def __init__(self, manifest):
        # Sorted: a draw must not depend on the order of the data set's table.
        clips = json.loads(Path(manifest).read_text(encoding="utf-8"))
        self.clips = dict(sorted(clips.items()))
        classes = {}
        for clip in clips.values():
            classes.setdefault(clip["fold"], set()).add(clip["class_index"])
        for fold, present in classes.items():
            if len(present) < 2:
                split = Path(manifest).stem
                raise DataError(
                    f"all clips of fold {fold} are of one class, but condition "
                    f"mixtures needs another one: take it out of --{split}_fold_nums, "
                    "or leave mixtures out of --condition."
                )

    def partner(self, clip_id, generator=None):
        """Choose the clip that is mixed with another one.

        Arguments
        ---------
        clip_id : str
        generator : torch.Generator, optional
            Source of randomness; torch's global one when left out.

        Returns
        -------
        str
            The id of a clip of its fold that shares no class with it.

        Raises
        ------
        DataError
            There is none.
        """
        own = self.clips[clip_id]
        candidates = [
            other_id
            for other_id, other in self.clips.items()
            if other["fold"] == own["fold"] and not _classes(other) & _classes(own)
        ]
        if not candidates:
            raise DataError(
                f"every clip of fold {own['fold']} shares a class with {clip_id!r}, "
                "but condition mixtures needs one that does not: leave mixtures out of "
                "--condition."
            )
        drawn = torch.randint(len(candidates), (1,), generator=generator)
        return candidates[int(drawn)]

    def draw(self, clip_id, generator=None):
        """Read the clip that is mixed with another one, (T,), as it was decoded."""
        return load_decoded(self.clips[self.partner(clip_id, generator)]["wav"])


def _classes(clip):
    """The classes of a manifest's clip: all its labels if it has several."""
    return set(clip["labels"]) if "labels" in clip else {clip["class_index"]}
