"""The moving average of a classifier's weights, which is validated and exported."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class AveragedClassifier(AveragedModel):
    """Exponential moving average of the parameters and buffers of a classifier.

    The first update copies the classifier. Update n + 1 sets every average to
    ``d * average + (1 - d) * value`` with ``d = min(decay, (1 + n) / (10 + n))``: the
    values of the first steps do not weigh long. Integer buffers are truncated. The
    state dict holds the averages and the number of updates, so that a training can
    resume.

    Arguments
    ---------
    classifier : torch.nn.Module
        Copied; :meth:`update_parameters` takes the same one.
    decay : float
        In [0, 1); about ``1 / (1 - decay)`` steps are averaged, and 0 averages none.

    Example
    -------
    >>> network = nn.Linear(1, 1, bias=False)
    >>> averaged = AveragedClassifier(network, decay=0.98)
    >>> for value in (22.0, 0.0):
    ...     _ = nn.init.constant_(network.weight, value)
    ...     averaged.update_parameters(network)
    >>> round(averaged.module.weight.item(), 4)  # 22 * 2 / 11
    4.0
    """

    def __init__(self, classifier: nn.Module, decay: float) -> None:
        def average(averages, values, n_updates):
            n = int(n_updates)
            step_decay = min(decay, (1 + n) / (10 + n))
            get_ema_multi_avg_fn(step_decay)(averages, values, n_updates)

        super().__init__(classifier, multi_avg_fn=average, use_buffers=True)
        self.requires_grad_(False)

    @torch.no_grad()
    def finish(self, classifier: nn.Module, half_precision: bool = False) -> None:
        """Give a classifier the averaged parameters and buffers.

        Arguments
        ---------
        classifier : torch.nn.Module
        half_precision : bool
            Round the weights of convolutions and linear layers to float16 first, in
            the average, too. They then need half of the space in a file.
        """
        for parameter in self.module.parameters() if half_precision else ():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half())
        classifier.load_state_dict(self.module.state_dict())
