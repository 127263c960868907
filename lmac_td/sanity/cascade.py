"""Cascading randomisation: what CNN14 has learned is taken from it, the logits first.

Adebayo et al., "Sanity checks for saliency maps" (https://arxiv.org/abs/1810.03292),
section 3.1: the layers are re-initialised from the last to the first, each stage on top
of the one before. L-MAC (section 3.4) does it in the steps of CNN14's blocks. An
explanation that stays what it was does not explain what the classifier has learned.

A layer gets the initialisation that the model's own constructor gives it. For batch
normalisation this leaves a question open: its running statistics (mean 0, variance 1)
are those of no signal, and in evaluation twelve layers that they do not normalise let a
signal fade to next to nothing. Every decoder then sees silence, and its explanation
changes for the level of what it decodes, not for its content. So ``measured``
statistics are the default: those of the very clips that are explained, which is what
an untrained CNN14 computes in training. ``fresh`` leaves them at 0 and 1, as
Adebayo et al. and Quantus do by resetting every layer.
"""

import contextlib

import torch
from torch import nn

from lmac_td.classifier import ConvBlock

STAGES = ("logits", *(f"conv_block{block}" for block in range(6, 0, -1)))


def modules_of(stage, classifier):
    """The modules that a stage re-initialises.

    Arguments
    ---------
    stage : str
        Of ``STAGES``. The normalisation of the input bands goes with the first block,
        so that after the last stage nothing learned is left.
    classifier : FrozenClassifier
        Around a :class:`~lmac_td.classifier.Cnn14`.

    Returns
    -------
    list of nn.Module
    """
    if stage == "logits":
        return [classifier.classifier]
    net = classifier.embedding_model
    block = net.get_submodule(stage)
    return [block, net.norm0] if stage == STAGES[-1] else [block]


def reinitialise(module):
    """Give all layers of a module the weights and statistics of a new one, in place.

    The draws are those of the constructors, in their order: after the same
    ``torch.manual_seed`` a new module has the same weights.

    Arguments
    ---------
    module : nn.Module
        Whose layers are torch's, or CNN14's blocks.

    Example
    -------
    >>> _ = torch.manual_seed(0)
    >>> layer = nn.Linear(2, 3)
    >>> other = nn.Linear(2, 3)
    >>> _ = torch.manual_seed(0)
    >>> reinitialise(other)
    >>> torch.equal(layer.weight, other.weight)
    True
    """
    for part in module.children():
        reinitialise(part)
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
    if isinstance(module, ConvBlock):
        nn.init.xavier_uniform_(module.conv1.weight)
        nn.init.xavier_uniform_(module.conv2.weight)


@contextlib.contextmanager
def restored(module):
    """Around what changes a module's weights and statistics: bring them back.

    Arguments
    ---------
    module : nn.Module
    """
    state = {name: value.clone() for name, value in module.state_dict().items()}
    try:
        yield
    finally:
        module.load_state_dict(state)


def cascade(classifier, seed=0, log_mels=None):
    """Randomise a classifier in place, stage by stage, and restore it at the end.

    Everything that shares its modules, such as the interpreters that ask the classifier
    for gradients, is reached. A consumer that may stop early wraps the generator in
    ``contextlib.closing``.

    Arguments
    ---------
    classifier : FrozenClassifier
        Around a :class:`~lmac_td.classifier.Cnn14`.
    seed : int
        Of the weights. The global generators are left as they were.
    log_mels : sequence of Tensor (B, frames, n_mels), optional
        Clips on which the statistics of the randomised batch normalisations are
        measured, at each stage anew; without, they are 0 and 1.

    Yields
    ------
    str
        The stage that has just been randomised, in the order of ``STAGES``.
    """
    norms = []
    with restored(classifier):
        for place, stage in enumerate(STAGES):
            modules = modules_of(stage, classifier)
            with torch.random.fork_rng():
                torch.manual_seed(len(STAGES) * seed + place)
                for module in modules:
                    reinitialise(module)
            norms += [
                part
                for module in modules
                for part in module.modules()
                if isinstance(part, nn.BatchNorm2d)
            ]
            if log_mels is not None:
                measure_statistics(norms, classifier, log_mels)
            yield stage


@torch.no_grad()
def measure_statistics(norms, classifier, log_mels):
    """Set running statistics to the mean of those of some batches.

    Each normalisation is given what the ones before it make of the batch's own
    statistics, as in training.

    Arguments
    ---------
    norms : sequence of nn.BatchNorm2d
        Of the classifier; the others stay as they are.
    classifier : FrozenClassifier
    log_mels : sequence of Tensor (B, frames, n_mels)
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
    for log_mel in log_mels if norms else ():
        classifier(log_mel)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
