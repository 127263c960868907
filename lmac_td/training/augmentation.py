"""Random changes of the mixtures that a classifier is trained on.

All draws come from torch's global generators of the CPU and of the device. The training
seeds them for each step, so an interrupted training repeats none and skips none.
"""

import torch
from speechbrain.augment.freq_domain import SpectrogramDrop
from torch import Tensor


class Augmentation:
    """Changes waveforms, and the spectrograms that a classifier computes of them.

    Arguments
    ---------
    time_shift : bool
        Roll each waveform by a random time.
    level_range_db : float
        Each waveform gets a random gain of up to so many dB, up or down.
    mixup : float
        Parameter a of the distribution Beta(a, a) of mixup
        (https://arxiv.org/abs/1710.09412): each waveform and its label are averaged
        with those of another one of the batch. The waveform's own share is at least a
        half. 0: no mixup.
    masked_frames, masked_bands : int
        SpecAugment (https://arxiv.org/abs/1904.08779): up to two intervals of frames,
        and two of bands, are set to zero; each is shorter than the number. 0: none.

    Example
    -------
    >>> change = Augmentation(level_range_db=6)
    >>> wavs, targets = change.mixtures(torch.ones(2, 8), torch.eye(2))
    >>> bool((wavs > 0.5).all() and (wavs < 2).all())
    True
    """

    def __init__(
        self,
        time_shift: bool = False,
        level_range_db: float = 0.0,
        mixup: float = 0.0,
        masked_frames: int = 0,
        masked_bands: int = 0,
    ) -> None:
        self.time_shift = time_shift
        self.level_range_db = level_range_db
        self.mixup = mixup
        self.masks = [
            SpectrogramDrop(0, longest, 1, 2, dim=dim)
            for dim, longest in ((1, masked_frames), (2, masked_bands))
            if longest > 0
        ]

    def mixtures(self, wavs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Shift, mix and scale waveforms.

        Arguments
        ---------
        wavs : Tensor (B, T)
        targets : Tensor (B, C)
            The probabilities of the classes.

        Returns
        -------
        Tensor (B, T)
        Tensor (B, C)
        """
        n_clips, n_samples = wavs.shape
        if self.time_shift:
            shifts = torch.randint(n_samples, (n_clips,)).tolist()
            wavs = torch.stack(
                [wav.roll(n) for wav, n in zip(wavs, shifts, strict=True)]
            )
        if self.mixup > 0:
            beta = torch.distributions.Beta(self.mixup, self.mixup)
            share = beta.sample((n_clips, 1)).to(wavs)
            share = torch.maximum(share, 1 - share)
            others = torch.randperm(n_clips)
            wavs = share * wavs + (1 - share) * wavs[others]
            targets = share * targets + (1 - share) * targets[others]
        if self.level_range_db > 0:
            level_db = (2 * torch.rand(n_clips, 1) - 1) * self.level_range_db
            wavs = wavs * (10 ** (level_db / 20)).to(wavs)
        return wavs, targets

    def spectrograms(self, inputs: Tensor) -> Tensor:
        """Mask spectrograms (B, frames, bands); those given may be overwritten."""
        for mask in self.masks:
            inputs = mask(inputs)
        return inputs
