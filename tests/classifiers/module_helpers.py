"""Build a ModuleClassifier, and a recurrent network for it."""

from torch import nn

from lmac_td.classifiers.modules import ModuleClassifier
from tests.networks import (
    SAMPLE_RATE,
)


def classify(network, labels=3, **settings):
    return ModuleClassifier(network, SAMPLE_RATE, labels, **settings).freeze()


class Sequence(nn.Module):
    """Wide windows, features that are the last axis, scores of frames or their mean."""

    def __init__(self, n_classes=3, frames=False):
        super().__init__()
        self.embed = nn.Linear(400, 8)
        self.recur = nn.GRU(8, 6, batch_first=True)
        self.score = nn.Linear(6, n_classes)
        self.frames = frames

    def forward(self, wavs):
        x = self.embed(wavs.unfold(1, 400, 160))
        x, _ = self.recur(x)
        x = self.score(x)
        return x if self.frames else x.mean(dim=1)
