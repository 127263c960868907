"""Feature ablation, KernelSHAP and LIME over segments, computed by Captum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmac_td.errors import SettingError
from lmac_td.interpreters.perturbation.base import OfSegments
from lmac_td.interpreters.perturbation.segments import (
    Bands,
    HarmonicPercussive,
    Tiles,
    Windows,
)
from lmac_td.random import seeded_global_generators
from lmac_td.validation import require_count, require_number

CPU = torch.device("cpu")


class FeatureAblation(OfSegments):
    """The loss of log-odds when one segment is removed.

    It classifies each clip once, and once for each segment.
    """

    does = "removes one part of the sound after another and asks the classifier"

    def weights(self, log_odds: Callable[[Tensor], Tensor], n_segments: int) -> Tensor:
        """See :meth:`OfSegments.weights`."""
        import captum.attr

        return captum.attr.FeatureAblation(log_odds).attribute(
            torch.ones(1, n_segments), perturbations_per_eval=self.calls_at_once
        )


class Surrogate(OfSegments):
    """Base of the methods that fit a simple model to the answers to random variants.

    Arguments
    ---------
    n_calls : int
        How many variants of a clip are classified.

    The other arguments are those of :class:`OfSegments`.
    """

    def __init__(self, *args: Any, n_calls: int = 500, **settings: Any) -> None:
        super().__init__(*args, **settings)
        require_count("n_calls", n_calls)
        self.n_calls = n_calls


class KernelShap(Surrogate):
    """Shapley values of the segments, by weighted linear regression.

    Lundberg and Lee, *A Unified Approach to Interpreting Model Predictions*, 2017. They
    add up to the log-odds of the clip minus those of a clip without any segment.

    The arguments are those of :class:`Surrogate`.
    """

    does = (
        "removes parts of the sound at random and estimates the share of each in "
        "the decision (Kernel SHAP)"
    )

    def weights(self, log_odds: Callable[[Tensor], Tensor], n_segments: int) -> Tensor:
        """See :meth:`OfSegments.weights`.

        Raises
        ------
        SettingError
            If there are too few variants to determine the values.
        """
        import captum.attr

        if self.n_calls < n_segments + 2:
            raise SettingError(
                f"n_calls is {self.n_calls}, and KernelSHAP needs at least "
                f"{n_segments + 2} for {n_segments} segments: give --n_calls "
                f"{n_segments + 2} or more, or larger segments (--segment_hz, "
                "--segment_ms)"
            )
        with seeded_global_generators(self.seed, CPU):
            return captum.attr.KernelShap(log_odds).attribute(
                torch.ones(1, n_segments),
                n_samples=self.n_calls,
                perturbations_per_eval=self.calls_at_once,
            )


class Lime(Surrogate):
    """The coefficients of a local linear model: LIME; over tiles, SLIME.

    Ribeiro, Singh and Guestrin, *"Why Should I Trust You?"*, 2016. Each segment of a
    variant is kept with probability 1/2; variants count by the similarity
    exp(-d^2 / (2 kernel_width^2)) with the cosine distance d to the whole clip; the
    model is a ridge regression. These are the defaults of the authors' package for
    images.

    Arguments
    ---------
    kernel_width : float

    The other arguments are those of :class:`Surrogate`.
    """

    does = (
        "removes parts of the sound at random and fits a linear model to the "
        "answers (LIME)"
    )

    def __init__(self, *args: Any, kernel_width: float = 0.25, **settings: Any) -> None:
        super().__init__(*args, **settings)
        require_number("kernel_width", kernel_width)
        self.kernel_width = kernel_width

    def weights(self, log_odds: Callable[[Tensor], Tensor], n_segments: int) -> Tensor:
        """See :meth:`OfSegments.weights`."""
        import captum.attr
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr._core.lime import get_exp_kernel_similarity_function

        lime = captum.attr.Lime(
            log_odds,
            interpretable_model=SkLearnRidge(alpha=1.0),
            similarity_func=get_exp_kernel_similarity_function(
                "cosine", self.kernel_width
            ),
        )
        with seeded_global_generators(self.seed, CPU):
            return lime.attribute(
                torch.ones(1, n_segments),
                n_samples=self.n_calls,
                perturbations_per_eval=self.calls_at_once,
            )


class SlimeTime(Lime):
    """SLIME over windows of time: LIME (Mishra, Sturm and Dixon, 2017).

    The arguments are those of :class:`Lime`.
    """

    does = (
        "removes parts of the sound at random and fits a linear model to the "
        "answers, over windows (SLIME)"
    )
    default_segments = Windows


class SlimeFrequency(Lime):
    """SLIME over bands of frequency; the arguments are those of :class:`Lime`."""

    does = (
        "removes parts of the sound at random and fits a linear model to the "
        "answers, over bands (SLIME)"
    )
    default_segments = Bands


class SlimeTimeFrequency(Lime):
    """SLIME over tiles of both; the arguments are those of :class:`Lime`."""

    does = (
        "removes parts of the sound at random and fits a linear model to the "
        "answers, over tiles (SLIME)"
    )
    default_segments = Tiles


class AudioLime(Lime):
    """audioLIME: LIME over the parts of a separation (Haunschmid et al., 2020).

    By default the parts are tones and clicks, by median filters. The parts of a
    separator are segments, too: :func:`.separation.build_parts`.

    The other arguments are those of :class:`Lime`.
    """

    does = (
        "removes parts of the sound at random and fits a linear model to the "
        "answers, over its sources (audioLIME)"
    )
    default_segments = HarmonicPercussive
