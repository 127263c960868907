"""DeepSHAP: DeepLIFT, averaged over reference sounds."""

from __future__ import annotations

from torch import Tensor

from lmac_td.classifiers.deeplift_rules import register_deeplift_rules
from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.reference_sounds import references_like
from lmac_td.interpreters.attribution.registry import register


@register("deeplift_shap")
class DeepLiftShap(Attribution):
    """The mean over references b of DeepLIFT with its rescale rule.

    The attribution adds up to S_c(x) minus the mean of S_c(b). Lundberg and Lee, *A
    Unified Approach to Interpreting Model Predictions*, 2017; Shrikumar et al.,
    *Learning Important Features Through Propagating Activation Differences*, 2017.

    DeepLIFT treats modules without a rule as linear. That is right for BatchNorm in
    evaluation mode, and wrong for ``norm_type: ln`` or a cosine head.
    """

    does = "compares the classifier's units with those for reference sounds (DeepLIFT)"
    gradient_rules = "deeplift_shap"

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        register_deeplift_rules()
        references = references_like(x, self, logits.classifier)
        return captum.attr.DeepLiftShap(logits).attribute(
            x, baselines=references, target=target
        )
