"""Learning rates that depend on the epoch alone."""

from collections.abc import Callable, Sequence

from torch.optim import Optimizer


class ByEpoch:
    """Calls one of SpeechBrain's schedulers of the epoch, whatever the loss is.

    Arguments
    ---------
    scheduler : callable
        Maps an epoch to the old and the new learning rate, such as
        ``speechbrain.nnet.schedulers.LinearScheduler``.

    Example
    -------
    >>> from speechbrain.nnet.schedulers import LinearScheduler
    >>> ByEpoch(LinearScheduler(1.0, 0.0, epoch_count=5))([], 2, None)
    (0.75, 0.5)
    """

    def __init__(self, scheduler: Callable[[int], tuple[float, float]]) -> None:
        self.scheduler = scheduler

    def __call__(
        self, optimizers: Sequence[Optimizer], epoch: int, loss: float | None
    ) -> tuple[float, float]:
        """Return the old and the new learning rate."""
        return self.scheduler(epoch)
