"""A narrow classifier, and two clips of a target under noise."""

import math

import pytest
import torch

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.contracts import Sources
from lmac_td.evaluation.batches import DecidedBatch, decide
from lmac_td.evaluation.explaining import explain

T = 4800


@pytest.fixture
def classifier(spectral):
    """Narrow, frozen, and with statistics of something: its decisions depend on x."""
    classifier = Cnn14Classifier(spectral, 80, (2, 4, 4, 8, 8), 8, 10)
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    classifier(torch.rand(8, 64, 80))
    torch.nn.init.normal_(classifier.classifier.weight, std=1.0)
    return classifier.freeze()


@pytest.fixture
def sources(spectral):
    """Two clips of 0.3 s: a tone, then a hiss, each under noise."""
    time = torch.arange(T) / 16000
    tone = 0.3 * torch.sin(2 * math.pi * 1000 * time)
    target = torch.stack([tone, 0.1 * torch.randn(T)])
    interference = 0.05 * torch.randn(2, T)
    magnitudes = (spectral(part).magnitude for part in (target, interference))
    return Sources(target, interference, *magnitudes)


@pytest.fixture
def explained(spectral, classifier, sources):
    """Explain the two mixtures -> ExplainedBatch."""

    def explained(interpreter, sources=sources, classifier=classifier):
        wavs = sources.target + sources.interference
        decided = DecidedBatch(
            ["a", "b"],
            torch.arange(2),
            wavs,
            *decide(wavs, spectral, classifier),
            sources,
        )
        with torch.no_grad():
            return explain(decided, interpreter)

    return explained


@pytest.fixture(params=["lmac", "lmac_td"])
def trained(request, make_lmac, make_lmac_td):
    """A decoder that reads the classifier's representations, as trained ones do."""
    torch.manual_seed(4)
    make = {"lmac": make_lmac, "lmac_td": make_lmac_td}[request.param]
    interpreter = make().eval()
    decoder = interpreter.unet if request.param == "lmac_td" else interpreter.decoder
    with torch.no_grad():  # as initialised, hardly a signal comes through
        for weight in decoder.parameters():
            if weight.dim() > 1:
                weight *= 3
    return interpreter
