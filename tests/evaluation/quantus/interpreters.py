"""Interpreters with maps of their own."""

from dataclasses import dataclass

import torch

from lmac_td.contracts import Explanation
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import Identity


@dataclass(frozen=True)
class WithMap(Explanation):
    """An explanation whose map is not that of its sound."""

    own: torch.Tensor

    @property
    def attribution(self):
        return self.own


def with_map(explanation, attribution):
    return WithMap(**vars(explanation), own=attribution)


class Heatmap(Interpreter):
    """What a test says, whatever the sound."""

    def __init__(self, features, attribution):
        super().__init__(features)
        self.attribution = attribution

    def forward(self, wavs, features, decision):
        explanation = Identity(self.features)(wavs, features, decision)
        return with_map(explanation, self.attribution[: len(wavs)])


class Gradient(Interpreter):
    """|dS_c/d|X|| of the classifier that decided, as the attributions of Captum are."""

    def forward(self, wavs, features, decision):
        classifier = decision.classifier
        with torch.enable_grad():
            magnitude = features.magnitude.detach().requires_grad_()
            logits = classifier(classifier.inputs_of(magnitude=magnitude)).logits
            of_class = logits.gather(1, decision.target.unsqueeze(1)).sum()
            (gradient,) = torch.autograd.grad(of_class, magnitude)
        explanation = Identity(self.features)(wavs, features, decision)
        return with_map(explanation, gradient.abs())
