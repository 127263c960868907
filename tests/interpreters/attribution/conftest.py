"""A trained small classifier, its decision on three clips, and a builder of methods."""

import pytest
import torch
from torch import nn

from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.attribution import METHODS, build_attributions
from tests.interpreters.attribution.helpers import (
    QUICK,
    bursts,
    labelled_bursts,
    narrow,
)


@pytest.fixture(scope="session")
def classifier(spectral):
    """A narrow CNN14, trained for a few seconds to recognise tones. With random weights
    its representations would be close to 0, and its logits would not be smooth."""
    torch.manual_seed(5)
    classifier = narrow(spectral)
    for module in classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    adam = torch.optim.Adam(classifier.parameters(), lr=0.01)
    for step in range(40):
        wavs, labels = labelled_bursts(16, seed=100 + step)
        logits = classifier.decide(wavs).logits
        adam.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        adam.step()
    for parameter in classifier.parameters():
        parameter.grad = None
    return classifier.freeze()


@pytest.fixture(scope="session")
def decided(classifier, spectral):
    """Three clips, their features, and the classifier's decision."""
    wavs = bursts(3)
    return wavs, *decide(wavs, spectral, classifier)


@pytest.fixture
def build(spectral):
    """Build one method, or all of them."""

    def build(*methods, settings=QUICK, **common):
        common = {"features": spectral, **common}
        rows = build_attributions(list(methods or METHODS), settings=settings, **common)
        return rows if len(methods) != 1 else next(iter(rows.values()))

    return build
