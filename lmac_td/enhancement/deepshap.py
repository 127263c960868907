"""DeepSHAP of a mask estimator: which bins of the input its mask depends on.

Sivasankaran et al., section 3, on the estimator's inputs: the normalised magnitude.
The attributions are those of Captum's ``DeepLiftShap``: DeepLIFT's rule for the
sigmoid, and plain gradients for all other layers. That is exact for linear layers; for
the LSTM and layer normalisation there is no rule, so values do not add up to the change
of the mask. Captum takes these gradients at the input. The SHAP toolkit, which the
paper used, takes them at the background: ``gradients_at="background"`` does so, too.

There are three granularities. The time-frequency map Φ^TF(n, f) explains one bin of the
mask. The time map Φ^T(n) = Σ_f Φ^TF(n, f) (eq. 4) explains a frame. The utterance map
Φ^U = Σ_n Φ^T(n) explains the whole mask.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from captum.attr import DeepLift, DeepLiftShap
from torch import Tensor, nn

from lmac_td.enhancement.estimator import MaskEstimator, differentiable_recurrence
from lmac_td.validation import require_choice


class MaskShap:
    """Computes DeepSHAP maps of one mask estimator.

    Arguments
    ---------
    estimator : MaskEstimator
        In evaluation mode.
    background : Tensor (K, frames, bins)
        Inputs of other utterances of the same data set, at least two; the paper has
        K = 40. They are repeated or cut to the length of what is explained.
    gradients_at : str
        Where layers without a rule are differentiated: ``input`` or ``background``.

    Example
    -------
    >>> from lmac_td.features import SpectralFeatures
    >>> features = SpectralFeatures(16000, 32, 2, 1)
    >>> estimator = MaskEstimator(features, hidden_size=4).eval()
    >>> shap = MaskShap(estimator, torch.randn(3, 9, 17))
    >>> inputs = torch.randn(9, 17)
    >>> by_frame = shap.time(inputs)
    >>> by_frame.shape
    torch.Size([9, 9, 17])
    >>> torch.allclose(by_frame.sum(0), shap.utterance(inputs), atol=1e-5)
    True
    """

    def __init__(
        self,
        estimator: MaskEstimator,
        background: Tensor,
        gradients_at: str = "input",
    ) -> None:
        if len(background) < 2:
            raise ValueError("the background needs at least two utterances")
        require_choice("gradients_at", gradients_at, ("input", "background"))
        self.estimator = estimator
        self.background = background
        self.gradients_at = gradients_at

    def time_frequency(self, inputs: Tensor, frame: int, bin_: int) -> Tensor:
        """Explain one bin of the mask: Φ^TF(n, f).

        Arguments
        ---------
        inputs : Tensor (frames, bins)
        frame, bin_ : int
            n and f.

        Returns
        -------
        Tensor (frames, bins)
        """
        return self._by_captum(_Bin(self.estimator, frame, bin_), inputs)

    def utterance(self, inputs: Tensor) -> Tensor:
        """Explain the whole mask of inputs (frames, bins): Φ^U, of the same shape."""
        return self._by_captum(_Sum(self.estimator), inputs)

    def time(self, inputs: Tensor, frames: Sequence[int] | None = None) -> Tensor:
        """Explain frames of the mask: Φ^T(n) (eq. 4).

        All layers behind the LSTM work on one frame, so one call of Captum gives the
        DeepLIFT multipliers of all frames there, for each background. From there to the
        input it is one backward pass a frame. The result is that of a call of
        ``DeepLiftShap`` for each frame, in a fraction of the time.

        Arguments
        ---------
        inputs : Tensor (frames, bins)
        frames : sequence of int, optional
            The frames n to explain; by default all.

        Returns
        -------
        Tensor (explained frames, frames, bins)
        """
        frames = range(len(inputs)) if frames is None else frames
        background = repeat_to(self.background, len(inputs))
        copies = inputs.expand_as(background)
        points, others = self._in_order(copies, background)
        points = points.clone().requires_grad_()
        maps = inputs.new_empty((len(frames), *inputs.shape))
        with _attributing(self.estimator):
            sequence = self.estimator.sequence_of(points)  # (K, frames, 2 hidden)
            multipliers = DeepLift(
                _Head(self.estimator), multiply_by_inputs=False
            ).attribute(
                sequence.detach(),
                baselines=self.estimator.sequence_of(others).detach(),
                target=0,
            )
            for row, frame in enumerate(frames):
                (gradient,) = torch.autograd.grad(
                    sequence[:, frame],
                    points,
                    multipliers[:, frame],
                    retain_graph=True,
                )
                maps[row] = (gradient * (inputs - background)).mean(dim=0)
        return maps

    def _by_captum(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Explain a network with one output."""
        background = repeat_to(self.background, len(inputs))
        with _attributing(self.estimator):
            if self.gradients_at == "input":
                attribution = DeepLiftShap(network).attribute(
                    inputs.unsqueeze(0), baselines=background, target=0
                )
                return attribution[0].detach()
            # A multiplier is the same for both orders of a pair; gradients are not.
            multipliers = DeepLift(network, multiply_by_inputs=False).attribute(
                background, baselines=inputs.expand_as(background), target=0
            )
        return (multipliers * (inputs - background)).mean(dim=0).detach()

    def _in_order(self, copies: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Return where gradients are taken, and the other end of each pair."""
        if self.gradients_at == "input":
            return copies, background
        return background, copies


@contextlib.contextmanager
def _attributing(estimator: MaskEstimator) -> Iterator[None]:
    """Let gradients pass, and leave out Captum's warnings of hooks that it removes."""
    with differentiable_recurrence(estimator), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def repeat_to(inputs: Tensor, n_frames: int) -> Tensor:
    """Repeat or cut inputs (K, frames, bins) to a number of frames.

    Example
    -------
    >>> repeat_to(torch.tensor([[[1.0], [2.0]]]), 3)[0, :, 0]
    tensor([1., 2., 1.])
    """
    times = -(-n_frames // inputs.shape[1])
    return inputs.repeat(1, times, 1)[:, :n_frames]


class _Bin(nn.Module):
    """One bin of the mask, (B, 1)."""

    def __init__(self, estimator: MaskEstimator, frame: int, bin_: int) -> None:
        super().__init__()
        self.estimator, self.frame, self.bin = estimator, frame, bin_

    def forward(self, inputs: Tensor) -> Tensor:
        return self.estimator(inputs)[:, self.frame, self.bin, None]


class _Sum(nn.Module):
    """The sum of the mask, (B, 1)."""

    def __init__(self, estimator: MaskEstimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, inputs: Tensor) -> Tensor:
        return self.estimator(inputs).sum(dim=(1, 2))[:, None]


class _Head(nn.Module):
    """The sum of the mask that follows from what the LSTM gives, (B, 1)."""

    def __init__(self, estimator: MaskEstimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, sequence: Tensor) -> Tensor:
        return self.estimator.mask_of(sequence).sum(dim=(1, 2))[:, None]
