"""VIBI: the k chunks of a clip from which the decision can be predicted.

Bang, Xie, Lee, Wu and Xing, *Explaining a Black-Box by Using a Deep Variational
Information Bottleneck Approach*, 2021. With the paper's symbols::

    p(z|x)   the explainer: a probability of each of N chunks
    t        the input, with all but k chunks set to 0
    q(y|t)   the approximator: predicts the classifier's decision y

Both networks read the log-spectrogram only. Neither the representations nor the
gradients of the classifier are needed, so VIBI explains black boxes. A chunk is a tile
of ``chunk_hz`` and ``chunk_ms``, and what is chosen is also the mask. The L2I paper
compares with VIBI by fidelity alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.contracts import Decision, SurrogateExplanation
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.nn.chunks import hard_choice, relaxed_choice
from lmac_td.validation import require_count, require_number


@dataclass(frozen=True)
class VIBIExplanation(SurrogateExplanation):
    """An Explanation by k of N chunks.

    Attributes
    ----------
    log_probabilities : Tensor (B, N)
        log p(z|x) of each chunk.
    chosen : Tensor (B, N), bool
        The k most probable chunks.
    """

    log_probabilities: Tensor
    chosen: Tensor


class VIBI(Interpreter):
    """The VIBI interpreter.

    In training, the approximator reads chunks that the Gumbel-softmax draws; in
    evaluation, the k most probable ones. The mask always holds the most probable ones.

    Arguments
    ---------
    features : SpectralFeatures
    explainer : nn.Module
        Scores chunks, see :class:`lmac_td.nn.chunks.ChunkExplainer`.
    approximator : nn.Module
        See :class:`lmac_td.nn.chunks.Approximator`.
    n_chunks : int
        k. A clip with fewer chunks keeps all of them.
    chunk_hz, chunk_ms : float
        Size of a chunk. The chunks of a clip are equal, so their size is rounded.
    temperature : float
        Of the Gumbel-softmax.

    Raises
    ------
    SettingError

    Example
    -------
    >>> from lmac_td.classifiers.black_box import BlackBoxClassifier
    >>> from lmac_td.nn.chunks import Approximator, ChunkExplainer
    >>> stft = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> box = BlackBoxClassifier(lambda x: x[:, :2], 16000, ["a", "b"]).freeze()
    >>> vibi = VIBI(stft, ChunkExplainer(2), Approximator(513, 2, width=2)).eval()
    >>> wavs = torch.randn(3, 16000)
    >>> vibi(wavs, stft(wavs), box.decide(wavs)).chosen.sum(dim=1)
    tensor([8, 8, 8])
    """

    does = "chooses a few tiles of the sound that predict the decision (VIBI)"

    def __init__(
        self,
        features: SpectralFeatures,
        explainer: nn.Module,
        approximator: nn.Module,
        n_chunks: int = 8,
        chunk_hz: float = 1000,
        chunk_ms: float = 500,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(features)
        require_count("n_chunks", n_chunks)
        require_number("chunk_hz", chunk_hz)
        require_number("chunk_ms", chunk_ms)
        require_number("temperature", temperature)
        self.explainer = explainer
        self.approximator = approximator
        self.n_chunks = n_chunks
        self.chunk_hz = chunk_hz
        self.chunk_ms = chunk_ms
        self.temperature = temperature

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> VIBIExplanation:
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``.
        decision : Decision

        Returns
        -------
        VIBIExplanation
            With ``mask`` (B, frames, bins), 1 in the chosen chunks and 0 elsewhere. It
            has no gradient: VIBI is trained on its logits and on p(z|x).
        """
        grid = self.grid(features.magnitude.shape[1])
        logits = self.chunk_logits(features, grid)
        chosen = hard_choice(logits, self.n_chunks)
        choice = chosen.float()
        if self.training:
            choice = relaxed_choice(logits, self.n_chunks, self.temperature)
        class_logits = self.predict(choice.unflatten(1, grid), features)
        with torch.no_grad(), torch.autocast(wavs.device.type, enabled=False):
            mask = on_bins(chosen.float().unflatten(1, grid), features.magnitude)
            explanation = self.explain_mask(mask, wavs, features, decision)
        return VIBIExplanation(
            **vars(explanation),
            class_logits=class_logits,
            log_probabilities=logits.log_softmax(dim=1),
            chosen=chosen,
        )

    def class_logits(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Tensor:
        """Compute the approximator's logits alone, (B, C), for the chosen chunks."""
        grid = self.grid(features.magnitude.shape[1])
        chosen = hard_choice(self.chunk_logits(features, grid), self.n_chunks)
        return self.predict(chosen.float().unflatten(1, grid), features)

    def grid(self, n_frames: int) -> tuple[int, int]:
        """Return the number of chunks along time and along frequency."""
        seconds = n_frames * self.features.hop_samples / self.features.sample_rate
        return (
            max(1, round(1000 * seconds / self.chunk_ms)),
            max(1, round(self.features.sample_rate / 2 / self.chunk_hz)),
        )

    def chunk_logits(self, features: Features, grid: tuple[int, int]) -> Tensor:
        """Score the chunks, (B, N)."""
        return self.explainer(features.magnitude.log1p(), grid).flatten(1).float()

    def predict(self, choice: Tensor, features: Features) -> Tensor:
        """Predict the classifier's logits (B, C) from chosen chunks (B, t, f)."""
        mask = on_bins(choice, features.magnitude)
        return self.approximator(mask * features.magnitude.log1p())


def on_bins(chunks: Tensor, magnitude: Tensor) -> Tensor:
    """Repeat values of chunks (B, t, f) for their bins, as in (B, frames, bins).

    Example
    -------
    >>> on_bins(torch.tensor([[[1.0, 0.0]]]), torch.zeros(1, 2, 4))
    tensor([[[1., 1., 0., 0.],
             [1., 1., 0., 0.]]])
    """
    return F.interpolate(chunks.unsqueeze(1), size=magnitude.shape[1:]).squeeze(1)
