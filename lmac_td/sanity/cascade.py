"""Cascading randomisation: take from a classifier what it learned, the logits first.

Adebayo et al., "Sanity checks for saliency maps" (https://arxiv.org/abs/1810.03292),
section 3.1: the layers are re-initialised from the last to the first, each stage on top
of the one before; which layers make a stage, the classifier says. L-MAC (section 3.4)
does it in the steps of CNN14's blocks. An explanation that stays what it was does not
explain what the classifier has learned.

A layer gets the initialisation that the model's own constructor gives it. For batch
normalisation this leaves a question open: its running statistics (mean 0, variance 1)
are those of no signal, and in evaluation many layers that they do not normalise let a
signal fade to next to nothing. Every decoder then sees silence, and its explanation
changes for the level of what it decodes, not for its content. So ``measured``
statistics are the default: those of the very clips that are explained, which is what
an untrained classifier computes in training. ``fresh`` leaves them at 0 and 1, as
Adebayo et al. and Quantus do by resetting every layer.
"""

import contextlib

import torch
from torch import nn

from lmac_td.errors import SettingError


def reinitialise(module):
    """Give all layers of a module the weights and statistics of a new one, in place.

    The draws are those of the constructors, in their order: after the same
    ``torch.manual_seed`` a new module has the same weights.

    Arguments
    ---------
    module : nn.Module
        Parameters of a layer that cannot be reset (it has neither ``reset_parameters``
        nor ``initialise``), such as the position embeddings of a transformer, are
        shuffled: they keep their distribution and lose what was learned.

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
    can_reset = [
        name for name in ("reset_parameters", "initialise") if hasattr(module, name)
    ]
    for name in can_reset:
        getattr(module, name)()
    if not can_reset:
        for parameter in module.parameters(recurse=False):
            shuffle(parameter)


@torch.no_grad()
def shuffle(parameter):
    """Permute the entries of a parameter at random, in place.

    Arguments
    ---------
    parameter : Tensor, any shape
    """
    order = torch.randperm(parameter.numel()).to(parameter.device)
    parameter.copy_(parameter.flatten()[order].view_as(parameter))


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


def cascade(classifier, seed=0, inputs=None):
    """Randomise a classifier in place, stage by stage, and restore it at the end.

    A consumer that may stop early wraps the generator in
    ``contextlib.closing``.

    Arguments
    ---------
    classifier : Classifier
    seed : int
        Of the weights. The global generators are left as they were.
    inputs : sequence of Tensor (B, ...), optional
        What the classifier is given for the clips on which the statistics of the
        randomised batch normalisations are measured, at each stage anew; without, they
        are 0 and 1.

    Yields
    ------
    str
        The stage that has just been randomised, of ``classifier.stages()``.

    Raises
    ------
    SettingError
        If the classifier has no weights, as a black box.
    """
    if not classifier.stages():
        raise SettingError(
            f"{classifier.name} has no weights to randomise: choose a "
            "classifier that is a network"
        )
    norms = []
    with restored(classifier):
        stages = classifier.stages()
        for place, (stage, modules) in enumerate(stages.items()):
            with torch.random.fork_rng():
                torch.manual_seed(len(stages) * seed + place)
                for module in modules:
                    reinitialise(module)
            norms += [
                part
                for module in modules
                for part in module.modules()
                if isinstance(part, nn.modules.batchnorm._BatchNorm)
            ]
            if inputs is not None:
                measure_statistics(norms, classifier, inputs)
            yield stage


@torch.no_grad()
def measure_statistics(norms, classifier, inputs):
    """Set running statistics to the mean of those of some batches.

    Each normalisation is given what the ones before it make of the batch's own
    statistics, as in training.

    Arguments
    ---------
    norms : sequence of nn.BatchNorm2d
        Of the classifier; the others stay as they are.
    classifier : Classifier
    inputs : sequence of Tensor (B, ...)
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
    for batch in inputs if norms else ():
        classifier(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
