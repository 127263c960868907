"""GradCAM, and its product with Guided Backprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmac_td.contracts import (
    Classifier,
    Geometry,
    Representation,
    require_representations,
)
from lmac_td.errors import SettingError
from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.registry import register


@register("gradcam")
class GradCAM(Attribution):
    """The channels of a layer, weighted by their mean gradient.

    Selvaraju et al., *Grad-CAM*, 2017, eq. 1 and 2: L = ReLU(sum_k a_k A^k), where a_k
    is the mean of dS_c/dA^k over time and frequency. Each entry of L is repeated for
    the frames that are nearest to its centre, and for the bins or mel bands of its
    frequency.

    Arguments
    ---------
    layer : str, optional
        The name of one of the classifier's representations. By default it is the
        deepest one on which the clip's logit depends. (A head that reads only the
        class token does not read the patches of a transformer's last layer.)

    The other arguments are those of :class:`Attribution`.
    """

    does = "weighs the channels of one layer of the classifier by their gradients"

    def __init__(
        self, *args: Any, layer: str | int | None = None, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        # Yaml reads the names of a Sequential's modules as numbers.
        self.layer = None if layer is None else str(layer)

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Interpreter.check`."""
        super().check(classifier)
        require_representations(classifier, type(self).__name__)
        self.candidate_layers(classifier.geometry)

    def candidate_layers(self, geometry: Sequence[Geometry]) -> Sequence[int]:
        """List the indices of the representations to try, in order.

        Arguments
        ---------
        geometry : sequence of Geometry
            The geometries of the classifier's representations.

        Raises
        ------
        SettingError
            If no representation has the name ``layer``.
        """
        names = [representation.name for representation in geometry]
        if self.layer is None:
            return range(len(names))
        if self.layer not in names:
            raise SettingError(
                f"gradcam_layer is {self.layer!r}: give --gradcam_layer one of "
                f"{', '.join(names)}"
            )
        return [names.index(self.layer)]

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        decision = logits.decide(x)
        score = decision.logits[0, target]
        for index in self.candidate_layers(logits.classifier.geometry):
            rep = decision.representations[index]
            gradient = rep.gradient(score)  # (1, C, time, F)
            if gradient.any():
                break
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        cam = (weights * rep.values).sum(dim=1).relu()  # (1, time, F)
        cam = cam[:, self.nearest_entries(rep, x.shape[1])]  # (1, frames, F)
        if self.domain == "mel":
            return cam @ rep.geometry.bands.to(cam)
        return logits.classifier.spread_over_bins(cam, rep.geometry, self.features)

    def nearest_entries(self, rep: Representation, n_frames: int) -> Tensor:
        """Find the entry along time that is nearest to each STFT frame, (n_frames,)."""
        samples = torch.arange(n_frames) * self.features.hop_samples
        entries = ((samples - rep.offset_samples) / rep.hop_samples).round().long()
        return entries.clamp(min=0, max=rep.values.shape[2] - 1)


@register("guided_gradcam")
class GuidedGradCAM(GradCAM):
    """GradCAM times Guided Backprop (Selvaraju et al., 2017, section 3.2).

    Captum's own GuidedGradCam is not used: it interpolates GradCAM over the whole
    input, whatever the positions of the entries are.
    """

    does = "multiplies Grad-CAM and guided backpropagation"
    gradient_rules = "guided_gradcam"

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        guided = captum.attr.GuidedBackprop(logits).attribute(x, target)
        return super().attribute(x, target, logits) * guided
