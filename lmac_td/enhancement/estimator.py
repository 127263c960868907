"""The network that is explained: it estimates the ideal ratio mask of noisy speech.

Sivasankaran et al., section 5.2: "two bidirectional long short term memory (Bi-LSTM)
layers followed by layer normalization and a linear layer containing 401 hidden units",
and a sigmoid; windows of 50 ms with a shift of 25 ms, so 401 bins at 16 kHz; the
magnitude is normalised in mean and variance. The paper does not say over what: here,
over the frames of the utterance, for each bin. It does not give the width of the LSTM
either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from speechbrain.processing.features import InputNormalization
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmac_td.features import SpectralFeatures


class MaskEstimator(nn.Module):
    """Estimates a mask of the STFT from its normalised magnitude.

    Arguments
    ---------
    features : SpectralFeatures
        The STFT.
    hidden_size : int
        Width of an LSTM in one direction.

    Example
    -------
    >>> estimator = MaskEstimator(SpectralFeatures(16000, 800, 50, 25), hidden_size=8)
    >>> inputs = estimator.inputs_of(torch.rand(2, 41, 401))
    >>> estimator(inputs).shape
    torch.Size([2, 41, 401])
    """

    def __init__(self, features: SpectralFeatures, hidden_size: int) -> None:
        super().__init__()
        self.features = features
        self.normalisation = InputNormalization(
            norm_type="sentence", avoid_padding_norm=True
        )
        self.lstm = nn.LSTM(
            features.n_bins,
            hidden_size,
            num_layers=2,
            bidirectional=True,
            batch_first=True,
        )
        self.norm = nn.LayerNorm(2 * hidden_size)
        self.linear = nn.Linear(2 * hidden_size, features.n_bins)
        self.sigmoid = nn.Sigmoid()  # a module, because DeepLIFT has a rule for it

    def inputs_of(self, magnitude: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Normalise magnitudes: mean 0 and variance 1 in each bin of an utterance.

        Arguments
        ---------
        magnitude : Tensor (B, frames, bins)
        n_frames : Tensor (B,), optional
            Frames of each utterance before padding; padding stays as it is.

        Returns
        -------
        Tensor (B, frames, bins)
        """
        if n_frames is None:
            lengths = torch.ones(len(magnitude), device=magnitude.device)
        else:
            # Relative, as SpeechBrain has them; half a frame less, so that rounding
            # cannot add one.
            lengths = (n_frames.to(magnitude.device) - 0.5) / magnitude.shape[1]
        return self.normalisation(magnitude, lengths)

    def sequence_of(self, inputs: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Compute what the LSTM gives, (B, frames, 2 * hidden_size)."""
        # Packing takes four times as long on a CPU.
        if n_frames is None or bool((n_frames == inputs.shape[1]).all()):
            return self.lstm(inputs)[0]
        packed = pack_padded_sequence(
            inputs, n_frames.cpu(), batch_first=True, enforce_sorted=False
        )
        return pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=inputs.shape[1]
        )[0]

    def mask_of(self, sequence: Tensor) -> Tensor:
        """Compute the mask of what the LSTM gives, frame by frame."""
        return self.sigmoid(self.linear(self.norm(sequence)))

    def forward(self, inputs: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Estimate masks.

        Arguments
        ---------
        inputs : Tensor (B, frames, bins)
            See :meth:`inputs_of`.
        n_frames : Tensor (B,), optional
            Frames of each utterance before padding. Padding does not change the masks
            of these frames.

        Returns
        -------
        Tensor (B, frames, bins)
            In [0, 1].
        """
        return self.mask_of(self.sequence_of(inputs, n_frames))

    @torch.no_grad()
    def enhance(self, wavs: Tensor) -> Tensor:
        """Mask waveforms (B, T) that have no padding -> (B, T); the phase is kept."""
        features = self.features(wavs)
        mask = self(self.inputs_of(features.magnitude))
        return self.features.istft(mask * features.stft, wavs.shape[1])


@contextlib.contextmanager
def differentiable_recurrence(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through the LSTMs of a module in evaluation mode.

    cuDNN refuses the backward pass of recurrent layers that ran in evaluation mode.
    Within the block they are in training mode, without the dropout between layers,
    which is the only thing in which the modes differ. Both are restored afterwards.

    Arguments
    ---------
    module : torch.nn.Module

    Example
    -------
    >>> lstm = nn.LSTM(3, 2, num_layers=2, dropout=0.5).eval()
    >>> x = torch.randn(4, 3)
    >>> expected = lstm(x)[0]
    >>> with differentiable_recurrence(lstm):
    ...     print(torch.equal(lstm(x)[0], expected), lstm.training)
    True True
    >>> lstm.training, lstm.dropout
    (False, 0.5)
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]
    before = [(layer.training, layer.dropout) for layer in layers]
    try:
        for layer in layers:
            layer.train(True)
            layer.dropout = 0.0
        yield
    finally:
        for layer, (training, dropout) in zip(layers, before, strict=True):
            layer.train(training)
            layer.dropout = dropout
