"""Draw a training split from the seed and the epoch.

The sampler shuffles the clips, and passes (seed, epoch) to the dataset with each index.
The interference of a clip then depends on the clip, the seed and the epoch; neither the
number of workers or processes nor an interrupted training changes it.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import speechbrain as sb
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import ReproducibleRandomSampler
from torch import Generator
from torch.utils.data import RandomSampler

from lmac_td.runtime.distributed import n_processes, process_rank


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

    Processes that train together divide the clips among them: of N, process p takes
    every N-th clip from the p-th on. If N does not divide their number, the first
    clips come again at the end of the epoch, so that all take as many.

    Arguments
    ---------
    *args, **kwargs
        Those of ``speechbrain.dataio.sampler.ReproducibleRandomSampler``.
    repeats : int
        How often an epoch goes through the split, each time in another order. A clip
        has the same mixture each time.
    process, n_processes : int
        The number of this process, and of all.

    Example
    -------
    >>> sampler = EpochSeededSampler(range(3), seed=7)
    >>> sampler.set_epoch(2)
    >>> sorted(sampler)
    [(0, (7, 2)), (1, (7, 2)), (2, (7, 2))]
    >>> len(EpochSeededSampler(range(3), seed=7, process=1, n_processes=2))
    2
    """

    def __init__(
        self,
        *args: Any,
        repeats: int = 1,
        process: int = 0,
        n_processes: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.repeats = repeats
        self.process = process
        self.n_processes = n_processes

    def __len__(self) -> int:
        return -(-self.repeats * super().__len__() // self.n_processes)

    def __iter__(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield (index, (seed, epoch)) for every clip of this process."""
        indices = self._of_all_processes()
        if self.n_processes == 1:
            return indices
        needed = self.n_processes * len(self)
        again = itertools.islice(itertools.cycle(list(indices)), needed)
        return itertools.islice(again, self.process, None, self.n_processes)

    def _of_all_processes(self):
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
    process = process_rank()
    brain.train_sampler = EpochSeededSampler(
        dataset, seed, repeats=repeats, process=process, n_processes=n_processes()
    )
    loader = {**loader, "sampler": brain.train_sampler}
    if process:  # else its workers would draw what those of the main process draw
        loader["generator"] = Generator().manual_seed(process)
    return loader
