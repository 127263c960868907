"""Remove the most important bins from the clips of all splits.

RemOve And Retrain (Hooker et al., https://arxiv.org/abs/1806.10758, section 3) replaces
the t most important inputs of every clip of training, validation and test by an
uninformative value.
Here the inputs are bins of the STFT magnitude (L-MAC, section 3.4), a share of their
*number*, and the classifier is given the spectrogram that remains.

Hooker et al. replace by the mean over the data set of each channel (``mean``: of each
frequency's magnitude, over the training clips). A magnitude of 0 (``zero``, the
default) is what interpreters themselves use, and the value of a silent bin. With both,
the new classifier can see which bins were removed, and this pattern may itself reveal
the class: an accuracy that stays high does not prove that a map missed the class (Rong
et al., "A consistent and efficient evaluation strategy for attribution methods"). Read
only differences to the random control at the same level.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from speechbrain.dataio.dataloader import make_dataloader
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.data.mixing import make_mixtures
from lmac_td.data.prepare import PreparedData
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide_batch
from lmac_td.features import SpectralFeatures
from lmac_td.metrics.curves import top_bins_at
from lmac_td.sanity.rankings import Ranking
from lmac_td.sanity.retraining import Clips

FILLS = ("zero", "mean")
SPLITS = ("train", "valid", "test")


def most_important_bins(
    importance: Tensor, levels: Sequence[float]
) -> tuple[Tensor, ...]:
    """Return the most important bins of each clip, for several shares of their number.

    Arguments
    ---------
    importance : Tensor (B, frames, bins)
        Only its order counts. Equally important bins are taken in one pseudo-random
        order, the same for every clip and method.
    levels : sequence of float
        Shares of all bins, each in [0, 1].

    Returns
    -------
    tuple of Tensor (B, frames, bins), bool
        One mask per level: the smallest number of bins that is at least that share.

    Example
    -------
    >>> (removed,) = most_important_bins(torch.tensor([[[0.1, 0.9, 0.5, 0.2]]]), [0.5])
    >>> removed
    tensor([[[False,  True,  True, False]]])
    """
    some = [level for level in levels if level > 0]
    # Where every bin has the same energy, a share of it is a share of the bins.
    tops = iter(top_bins_at(importance, torch.ones_like(importance), some))
    nothing = torch.zeros_like(importance, dtype=torch.bool)
    return tuple(next(tops) if level > 0 else nothing for level in levels)


def remaining_inputs(
    magnitude: Tensor, removed: Tensor, fill: Tensor, classifier: Classifier
) -> Tensor:
    """Return the classifier's inputs for clips without some bins.

    Arguments
    ---------
    magnitude : Tensor (B, frames, bins)
    removed : Tensor (B, frames, bins), bool
    fill : Tensor (bins,)
        The magnitude of each frequency that replaces a removed one.
    classifier : Classifier
        It takes spectrograms.

    Returns
    -------
    Tensor (B, ...)
    """
    return classifier.inputs_of(magnitude=torch.where(removed, fill, magnitude))


def mean_magnitude(batches: Iterable[Tensor]) -> Tensor:
    """Return the mean magnitude of each frequency, over frames and clips.

    Arguments
    ---------
    batches : iterable of Tensor (B, frames, bins)

    Returns
    -------
    Tensor (bins,)

    Example
    -------
    >>> mean_magnitude([torch.zeros(1, 2, 3), torch.ones(3, 2, 3)])
    tensor([0.7500, 0.7500, 0.7500])
    """
    total, n_frames = 0.0, 0
    for magnitude in batches:
        total = total + magnitude.double().sum(dim=(0, 1))
        n_frames += magnitude.shape[:2].numel()
    return (total / n_frames).float()


def fixed_batches(
    data: PreparedData, split: str, condition: str, loader_settings: Mapping
) -> Iterable:
    """Return a loader of a split whose mixtures are the same in every pass.

    This holds for the training split as well.

    Arguments
    ---------
    data : PreparedData
    split, condition : str
    loader_settings : dict
        Arguments of SpeechBrain's ``make_dataloader``.

    Returns
    -------
    DataLoader
        Yields PaddedBatch.
    """
    dataset = data.dataset(split, condition)
    indices = [(index, data.mixing_seed) for index in range(len(dataset))]
    # A separate generator, so that a training in between is not affected.
    own = {"sampler": indices, "generator": torch.Generator()}
    return make_dataloader(dataset, **loader_settings | own)


class Removal:
    """Removes the bins that a ranking puts first from the clips of all splits.

    Arguments
    ---------
    batches_of : callable
        Returns the batches of a split, given its name; the same at every call.
    spectral_features : SpectralFeatures
    classifier : Classifier
        The one that is explained.
    fill : str
        One of ``FILLS``.
    device : str

    Raises
    ------
    SettingError
        If the classifier takes waveforms.
    """

    def __init__(
        self,
        batches_of: Callable[[str], Iterable],
        spectral_features: SpectralFeatures,
        classifier: Classifier,
        fill: str = "zero",
        device: str = "cpu",
    ):
        if not classifier.takes_spectrograms:
            raise SettingError(
                "roar retrains on spectrograms without some bins, and "
                f"{classifier.name} takes waveforms: choose a classifier that takes "
                "spectrograms"
            )
        self.batches_of, self.device = batches_of, device
        self.spectral_features, self.classifier = spectral_features, classifier
        self.fill = torch.zeros(spectral_features.n_bins, device=device)
        if fill == "mean":
            self.fill = mean_magnitude(
                spectral_features(make_mixtures(batch, device).mixture).magnitude
                for batch in batches_of("train")
            )

    @torch.no_grad()
    def clips(
        self, rank: Ranking, levels: Sequence[float]
    ) -> dict[float, dict[str, Clips]]:
        """Return what remains of all clips.

        Arguments
        ---------
        rank : callable
            DecidedBatch -> importance (B, frames, bins).
        levels : sequence of float
            Shares of the bins that are removed.

        Returns
        -------
        dict of float to dict of str to Clips
            Clips by level and split.
        """
        left = {level: {} for level in levels}
        for split in SPLITS:
            labels, parts = [], []
            for batch in self.batches_of(split):
                labels.append(torch.as_tensor(batch.class_index))
                parts.append(self._inputs(batch, rank, levels))
            label = torch.cat(labels).to(self.device)
            for level, inputs in zip(levels, zip(*parts, strict=True), strict=True):
                left[level][split] = Clips(torch.cat(inputs), label)
        return left

    def _inputs(self, batch, rank, levels):
        """Return what remains of a batch, (B, ...) per level."""
        mixture = make_mixtures(batch, self.device)
        decided = decide_batch(
            batch, mixture, self.spectral_features, self.classifier, False
        )
        importance, magnitude = rank(decided), decided.features.magnitude
        return [
            remaining_inputs(magnitude, removed, self.fill, self.classifier)
            for removed in most_important_bins(importance, levels)
        ]
