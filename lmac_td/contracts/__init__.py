"""The types that connect the rooms of this package.

A :class:`Classifier` turns waveforms into its own inputs, and inputs into a
:class:`Decision` with :class:`Representation` s, whose positions in time and frequency
are known. An interpreter turns waveforms and a decision into an :class:`Explanation`.
Losses, metrics, sounds and figures read these types and nothing else, so a new
classifier or a new method is one file.
"""

from lmac_td.contracts.classifier import ACTIVATIONS, Classifier
from lmac_td.contracts.decision import Decision
from lmac_td.contracts.explanation import (
    ExplainedBatch,
    Explanation,
    Sources,
    SurrogateExplanation,
)
from lmac_td.contracts.representation import (
    Geometry,
    LayerOutput,
    Representation,
    even_shares,
)
from lmac_td.contracts.requirements import (
    require_gradients,
    require_mel_bands,
    require_representations,
)

__all__ = [
    "ACTIVATIONS",
    "Classifier",
    "Decision",
    "ExplainedBatch",
    "Explanation",
    "Geometry",
    "LayerOutput",
    "Representation",
    "Sources",
    "SurrogateExplanation",
    "even_shares",
    "require_gradients",
    "require_mel_bands",
    "require_representations",
]
