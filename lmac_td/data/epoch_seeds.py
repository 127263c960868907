"""Draw a training split from the seed and the epoch.

The sampler shuffles the clips, and passes (seed, epoch) to the dataset with each index.
The interference of a clip then depends on the clip, the seed and the epoch; neither the
number of workers nor an interrupted training changes it.
"""

from collections.abc import Iterator
from typing import Any

import speechbrain as sb
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import ReproducibleRandomSampler
from torch.utils.data import RandomSampler


class EpochSeededDataset(DynamicItemDataset):
    """A dataset whose items may depend on a seed that is passed with the index.

    An index is a number, or a pair of a number and a seed (from
    :class:`EpochSeededSampler`). Dynamic items can take the seed as ``epoch_seed``; it
    is None if the index has no seed.

    Arguments
    ---------
    clips : dict of str to dict
        The content of a manifest.
    *args, **kwargs
        Further arguments of ``DynamicItemDataset``.
    """

    def __init__(self, clips: dict[str, dict], *args: Any, **kwargs: Any):
        clips = {name: clip | {"epoch_seed": None} for name, clip in clips.items()}
        super().__init__(clips, *args, **kwargs)

    def __getitem__(self, index: int | tuple[int, tuple[int, int]]) -> dict[str, Any]:
        """Return the items of one clip."""
        if not isinstance(index, tuple):
            return super().__getitem__(index)
        index, epoch_seed = index
        clip_id = self.data_ids[index]
        clip = self.data[clip_id] | {"epoch_seed": epoch_seed}
        return self.pipeline.compute_outputs({"id": clip_id, **clip})


class EpochSeededSampler(ReproducibleRandomSampler):
    """Shuffles a training split, and adds (seed, epoch) to each index.

    Arguments
    ---------
    *args, **kwargs
        Those of ``speechbrain.dataio.sampler.ReproducibleRandomSampler``.
    repeats : int
        How often an epoch goes through the split, each time in another order. A clip
        has the same mixture each time.

    Example
    -------
    >>> sampler = EpochSeededSampler(range(3), seed=7)
    >>> sampler.set_epoch(2)
    >>> sorted(sampler)
    [(0, (7, 2)), (1, (7, 2)), (2, (7, 2))]
    """

    def __init__(self, *args: Any, repeats: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.repeats = repeats

    def __len__(self) -> int:
        return self.repeats * super().__len__()

    def __iter__(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield (index, (seed, epoch)) for every clip."""
        epoch_seed = (self.seed, self.epoch)
        self.generator.manual_seed(self.seed + self.epoch)
        for _ in range(self.repeats):
            # The generator goes on, so that each pass has its own order.
            for index in RandomSampler.__iter__(self):
                yield index, epoch_seed


def use_epoch_seeded_sampler(
    brain: sb.Brain,
    dataset: EpochSeededDataset,
    loader: dict[str, Any],
    seed: int,
    repeats: int = 1,
) -> dict[str, Any]:
    """Give a Brain and its training loader an :class:`EpochSeededSampler`.

    Arguments
    ---------
    brain : speechbrain.Brain
        It sets the epoch of its ``train_sampler`` at the start of each epoch.
    dataset : EpochSeededDataset
    loader : dict
        Arguments of ``make_dataloader``.
    seed : int
    repeats : int
        See :class:`EpochSeededSampler`.

    Returns
    -------
    dict
        The arguments, with the sampler.
    """
    brain.train_sampler = EpochSeededSampler(dataset, seed, repeats=repeats)
    return {**loader, "sampler": brain.train_sampler}
