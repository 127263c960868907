"""Gradient times activation inside the network, as relevance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lmac_td.contracts import (
    Classifier,
    Decision,
    require_gradients,
    require_representations,
)
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.budgeted.scores import Relevance
from lmac_td.nn.unet import interpolate
from lmac_td.targets import margin


class GradientTimesActivation(Relevance):
    """The sum over channels of d margin / d A times A, for one layer of the network.

    It costs one forward and one backward pass. The map is interpolated linearly to the
    frames of the STFT, averaged over neighbours if it has more than two entries a
    frame; each bin takes the value of its frequency.

    Arguments
    ---------
    features : SpectralFeatures
    kernels : sequence of pairs of float
        See :class:`Relevance`. The layer is coarse already, so one fine kernel is the
        default.
    layer : str, optional
        The name of one of the classifier's representations; by default the last, which
        is the finest.
    """

    does = "weighs one layer of the classifier by its gradients"

    def __init__(
        self,
        features: SpectralFeatures,
        kernels: Any = ((80, 80),),
        layer: str | int | None = None,
    ) -> None:
        super().__init__(features, kernels)
        self.features = features
        self.layer = None if layer is None else str(layer)

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Scores.check`."""
        require_gradients(classifier, "gradient times activation")
        require_representations(classifier, "gradient times activation")
        names = [geometry.name for geometry in classifier.geometry]
        if self.layer is not None and self.layer not in names:
            raise SettingError(
                f"layer is {self.layer!r}: give --layer one of {', '.join(names)}"
            )

    def relevance(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """See :meth:`Relevance.relevance`."""
        classifier = decision.classifier
        with torch.enable_grad(), torch.autocast(wavs.device.type, enabled=False):
            inputs = decision.inputs.detach().requires_grad_()
            again = classifier(inputs)
            score = margin(again.logits, decision.target, classifier.activation).sum()
            names = [rep.geometry.name for rep in again.representations]
            index = -1 if self.layer is None else names.index(self.layer)
            rep = again.representations[index]
            gradient = rep.gradient(score)
            product = (gradient * rep.values.detach()).sum(dim=1)  # (B, time, F)
            product = interpolate(
                product.detach().transpose(1, 2),
                features.magnitude.shape[1],
                self.features.hop_samples / rep.hop_samples,
                -rep.offset_samples / rep.hop_samples,
            ).transpose(1, 2)
            return classifier.spread_over_bins(product, rep.geometry, self.features)
