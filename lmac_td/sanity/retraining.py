"""RemOve And Retrain, the second half: a new classifier on what remains.

The same architecture as the classifier that was explained, from new weights, trained as
``train_classifier.py`` trains it: Adam, a rate that falls linearly, clips rolled by a
random time, the epoch of the lowest validation loss. The clips are log-mels in memory,
since what was removed from each is fixed.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.sanity.cascade import reinitialise

WEIGHT_DECAY = 0.000002


@dataclass(frozen=True)
class Clips:
    """Clips in memory.

    Attributes
    ----------
    log_mel : Tensor (N, frames, n_mels)
    label : Tensor (N,), int64
    """

    log_mel: Tensor
    label: Tensor

    def batches(self, size, order=None):
        """(log_mel, label) of ``size`` clips, in an order, or in their own."""
        order = torch.arange(len(self.label)) if order is None else order
        for places in order.split(size):
            yield self.log_mel[places], self.label[places]


class Classifier(nn.Module):
    """An embedding model and its head, to be trained.

    Arguments
    ---------
    frozen : FrozenClassifier
        Copied, given new weights, and left as it is.
    """

    def __init__(self, frozen):
        super().__init__()
        self.embedding_model = copy.deepcopy(frozen.embedding_model)
        self.classifier = copy.deepcopy(frozen.classifier)
        reinitialise(self)
        self.requires_grad_(True)
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, log_mel):
        """(B, frames, n_mels) -> logits (B, C)."""
        embedding, _ = self.embedding_model(log_mel)
        return self.classifier(embedding).flatten(start_dim=1)


def retrain(frozen, train, valid, seed, epochs=10, lr=0.001, batch_size=8):
    """Train a new classifier.

    Arguments
    ---------
    frozen : FrozenClassifier
        Of the architecture that is wanted.
    train, valid : Clips
        On the device of ``frozen``.
    seed : int
        Of weights, order and dropout; the global generators are left as they were.
    epochs : int
    lr : float
        Of the first epoch; in the last it is a hundredth of that.
    batch_size : int

    Returns
    -------
    Classifier
        In evaluation mode, of the epoch of the lowest loss on ``valid``.
    """
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        model = Classifier(frozen)
        adam = torch.optim.Adam(model.parameters(), lr, weight_decay=WEIGHT_DECAY)
        falling = torch.optim.lr_scheduler.LinearLR(
            adam, 1.0, 0.01, total_iters=max(1, epochs - 1)
        )
        lowest, best = float("inf"), None
        for _ in range(epochs):
            model.train()
            order = torch.randperm(len(train.label))
            for log_mel, label in train.batches(batch_size, order):
                shift = int(torch.randint(log_mel.shape[1], (1,)))
                loss = F.cross_entropy(model(log_mel.roll(shift, dims=1)), label)
                adam.zero_grad()
                loss.backward()
                adam.step()
            falling.step()
            loss = F.cross_entropy(logits_of(model, valid, batch_size), valid.label)
            if best is None or loss < lowest:
                lowest, best = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def logits_of(model, clips, batch_size=8):
    """A classifier's answers to all clips, (N, C), in evaluation mode."""
    model.eval()
    return torch.cat([model(log_mel) for log_mel, _ in clips.batches(batch_size)])


def hits_of(model, clips):
    """Whether a classifier recognises each clip, (N,) bool."""
    return logits_of(model, clips).argmax(dim=1) == clips.label
