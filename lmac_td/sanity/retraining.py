"""RemOve And Retrain, the second half: a new classifier on what remains.

The same architecture as the classifier that was explained, from new weights, trained as
``train_classifier.py`` trains it: Adam, a rate that falls linearly, clips rolled by a
random time, the epoch of the lowest validation loss. The clips are spectrograms in
memory, as the classifier takes them, since what was removed from each is fixed.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.errors import SettingError
from lmac_td.sanity.cascade import reinitialise

WEIGHT_DECAY = 0.000002


@dataclass(frozen=True)
class Clips:
    """Clips in memory.

    Attributes
    ----------
    inputs : Tensor (N, frames, ...)
    label : Tensor (N,), int64
    """

    inputs: Tensor
    label: Tensor

    def batches(self, size, order=None):
        """(inputs, label) of ``size`` clips, in an order, or in their own."""
        order = torch.arange(len(self.label)) if order is None else order
        for places in order.split(size):
            yield self.inputs[places], self.label[places]


class NewClassifier(nn.Module):
    """A classifier of the same architecture, to be trained.

    Arguments
    ---------
    frozen : Classifier
        Copied, given new weights, and left as it is.
    """

    def __init__(self, frozen):
        super().__init__()
        self.network = copy.deepcopy(frozen)
        self.network.frozen = False
        reinitialise(self)
        self.requires_grad_(True)
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, inputs):
        """(B, frames, ...) -> logits (B, C)."""
        return self.network.classify(inputs)[0]


def require_classes(classifier, class_names):
    """Refuse a classifier that has other classes than the data set.

    Arguments
    ---------
    classifier : Classifier
        That would be trained again.
    class_names : sequence of str
        Of the data set, by which it would be trained.

    Raises
    ------
    SettingError
    """
    if classifier.n_classes != len(class_names):
        raise SettingError(
            f"roar trains {classifier.name} again on the {len(class_names)} classes of "
            f"the data set, and it has {classifier.n_classes}: choose a classifier of "
            "this data set"
        )


def retrain(frozen, train, valid, seed, epochs=10, lr=0.001, batch_size=8):
    """Train a new classifier.

    Arguments
    ---------
    frozen : Classifier
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
    NewClassifier
        In evaluation mode, of the epoch of the lowest loss on ``valid``.
    """
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        model = NewClassifier(frozen)
        adam = torch.optim.Adam(model.parameters(), lr, weight_decay=WEIGHT_DECAY)
        falling = torch.optim.lr_scheduler.LinearLR(
            adam, 1.0, 0.01, total_iters=max(1, epochs - 1)
        )
        lowest, best = float("inf"), None
        for _ in range(epochs):
            model.train()
            order = torch.randperm(len(train.label))
            for inputs, label in train.batches(batch_size, order):
                shift = int(torch.randint(inputs.shape[1], (1,)))
                loss = F.cross_entropy(model(inputs.roll(shift, dims=1)), label)
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
    return torch.cat([model(inputs) for inputs, _ in clips.batches(batch_size)])


def hits_of(model, clips):
    """Whether a classifier recognises each clip, (N,) bool."""
    return logits_of(model, clips).argmax(dim=1) == clips.label
