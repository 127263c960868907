"""RemOve And Retrain, the first half: take the bins that matter most from the clips.

Hooker et al. (https://arxiv.org/abs/1806.10758), section 3: in every clip of training,
validation and test the t most important inputs are replaced by a value that says
nothing. What is removed here are bins of the STFT magnitude (L-MAC, section 3.4), a
share of their *number*, and the classifier is given the log-mel of what remains.

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

from lmac_td.data.noise import fixed_generator
from lmac_td.metrics.curves import top_bins_at

FILLS = ("zero", "mean")


def removed_bins(importance, levels):
    """The most important bins of each clip, for several shares of their number.

    Arguments
    ---------
    importance : Tensor (B, frames, bins)
        Only its order counts. Equally important bins follow each other in one
        pseudo-random order, the same for every clip and method.
    levels : sequence of float
        Shares of all bins, each in (0, 1].

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
    # Where every bin has the same energy, a share of it is a share of the bins.
    return top_bins_at(importance, torch.ones_like(importance), levels)


def remains(magnitude, removed, fill, spectral_features):
    """The log-mel of what remains of clips.

    Arguments
    ---------
    magnitude : Tensor (B, frames, bins)
    removed : Tensor (B, frames, bins), bool
    fill : Tensor (bins,)
        The magnitude that stands where one was removed.
    spectral_features : SpectralFeatures

    Returns
    -------
    Tensor (B, frames, n_mels)
    """
    return spectral_features.log_mel(torch.where(removed, fill, magnitude))


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


def random_importance(magnitude, clip_ids, seed):
    """The control: a new random map a clip, the same in every run.

    Arguments
    ---------
    magnitude : Tensor (B, frames, bins)
        For its shape.
    clip_ids : sequence of str
    seed : int

    Returns
    -------
    Tensor (B, frames, bins)
        Uniform in [0, 1).
    """
    maps = [
        torch.rand(
            magnitude.shape[1:], generator=fixed_generator(clip_id, "removal", seed)
        )
        for clip_id in clip_ids
    ]
    return torch.stack(maps).to(magnitude.device)
