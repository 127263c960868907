"""Interference that needs no folder: white noise, and clips of other classes.

As :meth:`lmac_td.data.noise.NoisePool.fixed`, each ``fixed`` here is a pure function of
(clip id, condition, seed): neither the order of clips nor their batches change it.
"""

import json
from pathlib import Path

import torch

from lmac_td.data.cache import load_decoded
from lmac_td.errors import DataError
from lmac_td.random import seeded_generator


class WhiteNoise:
    """Gaussian noise with the same power at all frequencies.

    Arguments
    ---------
    n_samples : int
        Length of what is drawn.

    Example
    -------
    >>> noise = WhiteNoise(16000).fixed("1-100032-A-0", "white_noise", seed=0)
    >>> noise.shape, round(noise.std().item(), 1)
    (torch.Size([16000]), 1.0)
    """

    def __init__(self, n_samples):
        self.n_samples = n_samples

    def fixed(self, clip_id, condition, seed):
        """Draw the noise that belongs to a clip: always the same.

        Arguments
        ---------
        clip_id, condition, seed
            As in :func:`lmac_td.random.seeded_generator`.

        Returns
        -------
        torch.Tensor
            (T,), float32, of variance 1.
        """
        generator = seeded_generator(clip_id, condition, seed)
        return torch.randn(self.n_samples, generator=generator)


class OtherClasses:
    """For each clip another clip of its fold, of another class.

    A clip that was padded with zeros is heard with its zeros, and its power is that
    of the whole clip.

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
    >>> others.partner("mew", "mixtures", seed=0) in ("bark", "moo")
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

    def partner(self, clip_id, condition, seed):
        """Choose the clip that is mixed with another one: always the same.

        Arguments
        ---------
        clip_id, condition, seed
            As in :func:`lmac_td.random.seeded_generator`.

        Returns
        -------
        str
            The id of a clip of its fold, of another class.
        """
        own = self.clips[clip_id]
        candidates = [
            other_id
            for other_id, other in self.clips.items()
            if other["fold"] == own["fold"]
            and other["class_index"] != own["class_index"]
        ]
        generator = seeded_generator(clip_id, condition, seed)
        drawn = torch.randint(len(candidates), (1,), generator=generator)
        return candidates[int(drawn)]

    def fixed(self, clip_id, condition, seed):
        """Read the clip that is mixed with another one.

        Arguments
        ---------
        clip_id, condition, seed
            As in :meth:`partner`.

        Returns
        -------
        torch.Tensor
            (T,), float32, not silent, because preparation refuses silent clips.
        """
        return load_decoded(self.clips[self.partner(clip_id, condition, seed)]["wav"])
