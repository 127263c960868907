"""Re-initialise a classifier from the logits down (cascading randomisation).

Adebayo et al., "Sanity checks for saliency maps" (https://arxiv.org/abs/1810.03292),
section 3.1: the layers are re-initialised from the last to the first, each stage on top
of the one before. The classifier defines its stages; L-MAC (section 3.4) takes CNN14's
blocks. An explanation that stays the same does not explain what the classifier has
learned.

A layer is initialised as the model's own constructor initialises it. For batch
normalisation this is not enough: its new running statistics (mean 0, variance 1) fit
no signal, and after many layers that do not normalise, a signal is almost zero
in evaluation. Then every decoder is given silence, and its explanation changes with the
level of its input, not with the content. Therefore ``measured`` statistics are the
default: they are measured on the explained clips, as an untrained classifier measures
them in training. ``fresh`` leaves them at 0 and 1, as Adebayo et al. and Quantus do.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError


def reinitialise(module: nn.Module) -> None:
    """Give all layers of a module the weights and statistics of a new one, in place.

    Random numbers are drawn in the order of the constructors: after the same
    ``torch.manual_seed`` a new module has the same weights.

    Arguments
    ---------
    module : nn.Module
        The module. If a layer cannot be reset (it has neither ``reset_parameters`` nor
        ``initialise``, such as a transformer's position embeddings), its parameters are
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
def shuffle(parameter: Tensor) -> None:
    """Permute the entries of a parameter at random, in place.

    Arguments
    ---------
    parameter : Tensor, any shape
    """
    order = torch.randperm(parameter.numel()).to(parameter.device)
    parameter.copy_(parameter.flatten()[order].view_as(parameter))


@contextlib.contextmanager
def restored(module: nn.Module) -> Iterator[None]:
    """Restore a module's weights and statistics after the block.

    Arguments
    ---------
    module : nn.Module
    """
    state = {name: value.clone() for name, value in module.state_dict().items()}
    try:
        yield
    finally:
        module.load_state_dict(state)


def cascade(
    classifier: Classifier, seed: int = 0, inputs: Sequence[Tensor] | None = None
) -> Iterator[str]:
    """Randomise a classifier in place, stage by stage, and restore it at the end.

    A consumer that may stop early wraps the generator in
    ``contextlib.closing``.

    Arguments
    ---------
    classifier : Classifier
    seed : int
        Seed of the weights. The global generators do not change.
    inputs : sequence of Tensor (B, ...), optional
        The classifier's inputs for the clips on which the statistics of the randomised
        batch normalisations are measured, again at each stage; without them, the
        statistics are 0 and 1.

    Yields
    ------
    str
        The stage of ``classifier.stages()`` that was randomised last.

    Raises
    ------
    SettingError
        If the classifier has no weights, such as a black box.
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
def measure_statistics(
    norms: Sequence[nn.Module], classifier: Classifier, inputs: Sequence[Tensor]
) -> None:
    """Set running statistics to their mean over some batches.

    As in training, each normalisation uses the statistics of the batch, so that the
    ones after it are given a normalised signal.

    Arguments
    ---------
    norms : sequence of nn.BatchNorm2d
        Layers of the classifier; other layers do not change.
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
