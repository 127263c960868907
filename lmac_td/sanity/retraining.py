"""Train a new classifier on what remains of the clips (RemOve And Retrain).

It has the architecture of the explained classifier and new weights. It is trained as
``train_classifier.py`` trains: Adam, a learning rate that falls linearly, clips rolled
by a random time, the epoch of the lowest validation loss. The clips are spectrograms in
memory, because the removed bins of each clip are fixed.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.contracts import Classifier
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

    def batches(
        self, size: int, order: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, label) of ``size`` clips, by default in their order."""
        order = torch.arange(len(self.label)) if order is None else order
        for places in order.split(size):
            yield self.inputs[places], self.label[places]


class NewClassifier(nn.Module):
    """A classifier of the same architecture with new weights, to be trained.

    Arguments
    ---------
    frozen : Classifier
        It is copied and does not change.
    """

    def __init__(self, frozen: Classifier):
        super().__init__()
        self.network = copy.deepcopy(frozen)
        self.network.frozen = False
        reinitialise(self)
        self.requires_grad_(True)
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits (B, C) from (B, frames, ...)."""
        return self.network.classify(inputs)[0]


def require_classes(classifier: Classifier, class_names: Sequence[str]) -> None:
    """Refuse a classifier of tags, or one with other classes than the data set.

    Arguments
    ---------
    classifier : Classifier
        Its architecture is trained again.
    class_names : sequence of str
        Classes of the data set, on which it is trained.

    Raises
    ------
    SettingError
    """
    if classifier.activation == "sigmoid":
        raise SettingError(
            f"roar measures the accuracy of one class per clip, and {classifier.name} "
            "decides on tags: use randomise_classifier.py, or another classifier"
        )
    if classifier.n_classes != len(class_names):
        raise SettingError(
            f"roar trains {classifier.name} again on the {len(class_names)} classes of "
            f"the data set, and it has {classifier.n_classes}: choose a classifier of "
            "this data set"
        )


def retrain(
    frozen: Classifier,
    train: Clips,
    valid: Clips,
    seed: int,
    epochs: int = 10,
    lr: float = 0.001,
    batch_size: int = 8,
) -> NewClassifier:
    """Train a new classifier.

    Arguments
    ---------
    frozen : Classifier
        It gives the architecture.
    train, valid : Clips
        Clips on the device of ``frozen``.
    seed : int
        Seed of weights, order and dropout; the global generators do not change.
    epochs : int
    lr : float
        Learning rate of the first epoch; in the last it is a hundredth of that.
    batch_size : int

    Returns
    -------
    NewClassifier
        A classifier in evaluation mode; its weights have the lowest loss on ``valid``.
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
            loss = F.cross_entropy(
                classify_clips(model, valid, batch_size), valid.label
            )
            if best is None or loss < lowest:
                lowest, best = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def classify_clips(model: NewClassifier, clips: Clips, batch_size: int = 8) -> Tensor:
    """Return a classifier's logits of all clips, (N, C), in evaluation mode."""
    model.eval()
    return torch.cat([model(inputs) for inputs, _ in clips.batches(batch_size)])


def recognised_clips(model: NewClassifier, clips: Clips) -> Tensor:
    """Return whether a classifier recognises each clip, (N,) bool."""
    return classify_clips(model, clips).argmax(dim=1) == clips.label
