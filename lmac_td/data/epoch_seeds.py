"""Shuffle and draw a training split; seed and epoch alone decide how.

The sampler passes (seed, epoch) to the dataset with each index. What a clip is mixed
with is then drawn by the clip, the seed and the epoch: neither the number of workers
nor an interruption changes it.
"""

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import ReproducibleRandomSampler


class EpochSeededDataset(DynamicItemDataset):
    """A dataset whose items may depend on a seed that comes with the index.

    An index is a number, or a number and a seed, as :class:`EpochSeededSampler` gives
    it. Dynamic items take the seed as ``epoch_seed``; it is None without one.

    Arguments
    ---------
    clips : dict of str to dict
        A manifest.
    """

    def __init__(self, clips, *args, **kwargs):
        clips = {name: clip | {"epoch_seed": None} for name, clip in clips.items()}
        super().__init__(clips, *args, **kwargs)

    def __getitem__(self, index):
        """Items of one clip; see ``DynamicItemDataset``."""
        if not isinstance(index, tuple):
            return super().__getitem__(index)
        index, epoch_seed = index
        clip_id = self.data_ids[index]
        clip = self.data[clip_id] | {"epoch_seed": epoch_seed}
        return self.pipeline.compute_outputs({"id": clip_id, **clip})


class EpochSeededSampler(ReproducibleRandomSampler):
    """Shuffles a training split, and adds the seed of the epoch to each index.

    The arguments are those of
    ``speechbrain.dataio.sampler.ReproducibleRandomSampler``.

    Example
    -------
    >>> sampler = EpochSeededSampler(range(3), seed=7)
    >>> sampler.set_epoch(2)
    >>> sorted(sampler)
    [(0, (7, 2)), (1, (7, 2)), (2, (7, 2))]
    """

    def __iter__(self):
        """(index, (seed, epoch)) of every clip."""
        epoch_seed = (self.seed, self.epoch)
        for index in super().__iter__():
            yield index, epoch_seed


def use_epoch_seeded_sampler(brain, dataset, loader, seed):
    """Give a Brain and its training loader an :class:`EpochSeededSampler`.

    Arguments
    ---------
    brain : speechbrain.Brain
        Sets the epoch of its ``train_sampler``.
    dataset : EpochSeededDataset
    loader : dict
        Arguments of ``make_dataloader``.
    seed : int

    Returns
    -------
    dict
        The arguments with the sampler.
    """
    brain.train_sampler = EpochSeededSampler(dataset, seed)
    return {**loader, "sampler": brain.train_sampler}
