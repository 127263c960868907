"""The base of all perturbation methods: scores of bins from a classifier's answers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lmac_td.contracts import Decision
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.budgeted import Relevance
from lmac_td.interpreters.perturbation.masked_clip import MaskedClip
from lmac_td.interpreters.perturbation.segments import Segments, Tiles
from lmac_td.validation import require_choice, require_count, require_number

# The relevance is that of segments, or smooth already: no kernel averages it.
NO_SMOOTHING = ((1, 1),)


class Perturbation(Relevance):
    """Base of the perturbation methods; each implements :meth:`relevance_of`.

    Parts of a clip are removed, and the classifier's log-odds of the target are
    recorded. No gradient is needed, so a black box can be explained.

    Clips are explained one by one. Random numbers come from a fixed seed and are the
    same for every clip, so an explanation depends neither on its batch nor on the order
    of the clips.

    Arguments
    ---------
    features : SpectralFeatures
    replace_by : str
        What is put in place of a removed part: ``silence``, or white ``noise``.
    noise_db : float
        Level of the noise relative to the clip, in dB.
    calls_at_once : int
        Variants of a clip that are classified in one batch.
    seed : int
        Seed of all random numbers.
    progress : bool
        Whether a terminal shows a bar of the clips of a batch.

    Raises
    ------
    SettingError
        If a setting has another value.
    """

    def __init__(
        self,
        features: SpectralFeatures,
        replace_by: str = "silence",
        noise_db: float = -40.0,
        calls_at_once: int = 8,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(features, NO_SMOOTHING)
        require_choice("replace_by", replace_by, ("silence", "noise"))
        require_number("noise_db", noise_db, above=-math.inf)
        require_count("calls_at_once", calls_at_once)
        self.features = features
        self.replace_by = replace_by
        self.noise_db = noise_db
        self.calls_at_once = calls_at_once
        self.seed = seed
        self.progress = progress

    def relevance_of(self, clip: MaskedClip) -> Tensor:
        """Return the relevance (frames, bins) of one clip.

        Arguments
        ---------
        clip : MaskedClip
            The log-odds of the target as a function of what is kept.
        """
        raise NotImplementedError

    def relevance(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """See :meth:`Relevance.relevance`."""
        bar = tqdm(
            decision.target.tolist(),
            desc=type(self).__name__,
            unit="clip",
            leave=False,
            dynamic_ncols=True,
            disable=None if self.progress else True,  # None: terminals show it
        )
        device = wavs.device.type
        found = []
        with torch.no_grad(), torch.autocast(device, enabled=False):
            for row, target in enumerate(bar):
                clip = MaskedClip(
                    decision.classifier,
                    self.features,
                    wavs[row],
                    features.stft[row],
                    target,
                    self.replacement(wavs[row]),
                    self.calls_at_once,
                )
                found.append(self.relevance_of(clip).to(features.magnitude))
        return torch.stack(found)

    def replacement(self, wav: Tensor) -> Tensor | float:
        """Return the STFT of what replaces removed parts of a clip (T,).

        Returns
        -------
        Tensor, complex (frames, bins), or 0.0 for silence
        """
        if self.replace_by == "silence":
            return 0.0
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(len(wav), generator=generator).to(wav)
        level = 10 ** (self.noise_db / 20) * wav.square().mean().sqrt()
        return self.features.stft((level * noise).unsqueeze(0))[0]


class OfSegments(Perturbation):
    """Base of the methods that remove whole segments.

    A subclass implements :meth:`weights`, and may name other ``default_segments``.

    Arguments
    ---------
    features : SpectralFeatures
    segments : callable, optional
        See :mod:`lmac_td.interpreters.perturbation.segments`; by default those of
        ``default_segments``: tiles of 1000 Hz and 500 ms.

    The other arguments are those of :class:`Perturbation`.
    """

    default_segments: type[Segments] = Tiles

    def __init__(
        self,
        features: SpectralFeatures,
        segments: Callable[[Tensor, Tensor], Tensor] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(features, **settings)
        self.segments = segments or self.default_segments(features)

    def weights(self, log_odds: Callable[[Tensor], Tensor], n_segments: int) -> Tensor:
        """Return the relevance (S,) of S segments.

        Arguments
        ---------
        log_odds : callable
            Maps gains of segments (n, S), 1 for kept and 0 for removed, to the
            log-odds (n,) of the target.
        n_segments : int
            S, at least 2.
        """
        raise NotImplementedError

    def relevance_of(self, clip: MaskedClip) -> Tensor:
        """See :meth:`Perturbation.relevance_of`."""
        segments, n_segments = self.numbered(clip)

        def log_odds(kept: Tensor) -> Tensor:
            # Gains of bins are large: they are made one batch at a time.
            answers = [clip(part.float()[:, segments]) for part in clip.parts_of(kept)]
            return torch.cat(answers)

        if n_segments == 1:  # all or nothing
            full, empty = log_odds(torch.tensor([[1.0], [0.0]]))
            return (full - empty).expand(clip.shape)
        with warnings.catch_warnings():
            # Captum warns that its inputs are few.
            warnings.simplefilter("ignore", UserWarning)
            weights = self.weights(log_odds, n_segments)
        return torch.as_tensor(weights).flatten()[segments]

    def numbered(self, clip: MaskedClip) -> tuple[Tensor, int]:
        """Return the segments (frames, bins), numbered from 0, and how many there are.

        Raises
        ------
        SettingError
            If ``segments`` returns something else than one integer per bin.
        """
        segments = torch.as_tensor(self.segments(clip.wav, clip.stft.abs())).cpu()
        if segments.shape != clip.shape or segments.is_floating_point():
            raise SettingError(
                f"segments returns {tuple(segments.shape)} of {segments.dtype} for an "
                f"STFT of {tuple(clip.shape)}: return one integer for each bin"
            )
        values, numbered = segments.unique(return_inverse=True)
        return numbered, len(values)
