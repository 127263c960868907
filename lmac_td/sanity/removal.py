"""RemOve And Retrain, the first half: take the bins that matter most from the clips.

Hooker et al. (https://arxiv.org/abs/1806.10758), section 3: in every clip of training,
validation and test the t most important inputs are replaced by a value that says
nothing. What is removed here are bins of the STFT magnitude (L-MAC, section 3.4), a
share of their *number*, and the classifier is given the spectrogram of what remains.

What says nothing? Hooker et al. take the mean over the data set of each channel
(``mean``: of each frequency's magnitude, over the training clips). A magnitude of 0
(``zero``, the default) is what interpreters themselves replace by, and what a
spectrogram holds where nothing sounds. With both, the pattern of what was removed stays
visible to the new classifier, and may itself tell the class: accuracy that stays high
is no proof that a map missed the class (Rong et al., "A consistent and efficient
evaluation strategy for attribution methods"). Only differences to the random control
at the same level are to be read.
"""

import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.data.mixing import make_mixtures
from lmac_td.errors import SettingError
from lmac_td.evaluation import loop
from lmac_td.metrics.curves import top_bins_at
from lmac_td.sanity.retraining import Clips

FILLS = ("zero", "mean")
SPLITS = ("train", "valid", "test")


def removed_bins(importance, levels):
    """The most important bins of each clip, for several shares of their number.

    Arguments
    ---------
    importance : Tensor (B, frames, bins)
        Only its order counts. Equally important bins follow each other in one
        pseudo-random order, the same for every clip and method.
    levels : sequence of float
        Shares of all bins, each in [0, 1].

    Returns
    -------
    tuple of Tensor (B, frames, bins), bool
        One a level: the least number of bins that is at least that share.

    Example
    -------
    >>> (removed,) = removed_bins(torch.tensor([[[0.1, 0.9, 0.5, 0.2]]]), [0.5])
    >>> removed
    tensor([[[False,  True,  True, False]]])
    """
    some = [level for level in levels if level > 0]
    # Where every bin has the same energy, a share of it is a share of the bins.
    tops = iter(top_bins_at(importance, torch.ones_like(importance), some))
    nothing = torch.zeros_like(importance, dtype=torch.bool)
    return tuple(next(tops) if level > 0 else nothing for level in levels)


def remains(magnitude, removed, fill, classifier):
    """What the classifier is given for what remains of clips.

    Arguments
    ---------
    magnitude : Tensor (B, frames, bins)
    removed : Tensor (B, frames, bins), bool
    fill : Tensor (bins,)
        The magnitude that stands where one was removed.
    classifier : Classifier
        That takes spectrograms.

    Returns
    -------
    Tensor (B, ...)
    """
    return classifier.inputs_of(magnitude=torch.where(removed, fill, magnitude))


def mean_magnitude(batches):
    """The mean magnitude of each frequency, over frames and clips.

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


def fixed_batches(data, split, condition, loader_settings):
    """Batches of a split, the same at every visit: training's mixtures, too.

    Arguments
    ---------
    data : PreparedData
    split, condition : str
    loader_settings : dict
        Of SpeechBrain's ``make_dataloader``.

    Returns
    -------
    DataLoader
        Of PaddedBatch.
    """
    dataset = data.dataset(split, condition)
    indices = [(index, data.mixing_seed) for index in range(len(dataset))]
    # Of its own, so that no training in between is changed.
    own = {"sampler": indices, "generator": torch.Generator()}
    return make_dataloader(dataset, **loader_settings | own)


class Removal:
    """Clips of all splits, without the bins that a ranking puts first.

    Arguments
    ---------
    batches_of : callable
        A split of ``SPLITS`` -> its batches, the same at every call.
    spectral_features : SpectralFeatures
    classifier : Classifier
        The one that is explained.
    fill : str
        Of ``FILLS``.
    device : str

    Raises
    ------
    SettingError
        If the classifier takes waveforms.
    """

    def __init__(
        self, batches_of, spectral_features, classifier, fill="zero", device="cpu"
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
    def clips(self, rank, levels):
        """What remains of all clips.

        Arguments
        ---------
        rank : callable
            DecidedBatch -> importance (B, frames, bins).
        levels : sequence of float
            Shares of the bins that are removed.

        Returns
        -------
        dict of float to dict of str to Clips
            By level, by split.
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
        """What remains of a batch, (B, ...) a level."""
        mixture = make_mixtures(batch, self.device)
        decided = loop.decide_batch(
            batch, mixture, self.spectral_features, self.classifier, False
        )
        importance, magnitude = rank(decided), decided.features.magnitude
        return [
            remains(magnitude, removed, self.fill, self.classifier)
            for removed in removed_bins(importance, levels)
        ]
