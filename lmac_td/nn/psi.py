"""The trained networks of L2I (Parekh et al., section 3.1): Psi and Theta.

Psi maps the classifier's last three representations to non-negative time activations
H (K, frames) of K spectral patterns: it upsamples time to the STFT's frames and reduces
the frequency axis to one entry. Theta pools H over time and maps the result to logits
by one linear layer, so each logit is a sum of contributions of the patterns.

The paper does not specify the layers of Psi. Here it is a
:class:`lmac_td.nn.unet.AlignedUNet`, whose output is aligned in time with the sound. It
has no BatchNorm, so the result for a clip does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lmac_td.contracts import (
    Classifier,
    Geometry,
    Representation,
    require_representations,
)
from lmac_td.features import SpectralFeatures
from lmac_td.nn.unet import AlignedUNet, init_before_relu
from lmac_td.validation import require_choice

# The paper decodes the last three representations.
N_REPRESENTATIONS = 3


class Psi(AlignedUNet):
    """A U-Net without normalisation from representations to activations H.

    Arguments
    ---------
    geometry : sequence of Geometry
        The geometries of the representations, deepest first; the first three
        representations are decoded.
    hop_samples : int
        Samples between STFT frames.
    n_components : int
        Number of patterns K.
    width : int
        Channels of the hidden layers.

    Example
    -------
    >>> import torch
    >>> from lmac_td.contracts import Geometry
    >>> geometry = [Geometry("block", 16, 2, hop_samples=640, offset_samples=240)]
    >>> psi = Psi(geometry, hop_samples=160, n_components=6, width=8)
    >>> psi([torch.rand(2, 16, 25, 2)], n_samples=16000, n_frames=101).shape
    torch.Size([2, 6, 101])
    """

    def __init__(
        self,
        geometry: Sequence[Geometry],
        hop_samples: int,
        n_components: int = 100,
        width: int = 256,
    ) -> None:
        super().__init__(
            geometry[:N_REPRESENTATIONS], hop_samples, n_components, (width, width)
        )
        # With PyTorch's default initialisation, eight layers almost erase the signal.
        for layer in (*self.hidden_layers(), self.out):
            init_before_relu(layer)

    def forward(
        self,
        representations: Sequence[Representation | Tensor],
        n_samples: int,
        n_frames: int,
    ) -> Tensor:
        """Estimate H.

        Arguments
        ---------
        representations : sequence of Representation or Tensor
            Each (B, C, time, frequencies), deepest first.
        n_samples : int
            Number of samples of the clip.
        n_frames : int
            Number of STFT frames of the clip.

        Returns
        -------
        Tensor (B, K, n_frames)
            At least 0.
        """
        return F.relu(
            super().forward(
                representations[:N_REPRESENTATIONS],
                n_samples,
                n_frames,
                samples_per_frame=self.hop_samples,
            )
        )


class Theta(nn.Module):
    """A linear layer on pooled activations, from H of any length to logits.

    Arguments
    ---------
    n_components : int
        Number of patterns K.
    n_classes : int
        Number of classes C.
    pooling : str
        ``att``: z = H a with the attention of :class:`AttentionPooling`. ``max``:
        z_k = max_t H_kt.

    Raises
    ------
    SettingError
        If ``pooling`` has another value.

    Example
    -------
    >>> import torch
    >>> logits, pooled = Theta(6, n_classes=10)(torch.rand(2, 6, 100))
    >>> logits.shape, pooled.shape
    (torch.Size([2, 10]), torch.Size([2, 6]))
    """

    def __init__(
        self, n_components: int = 100, n_classes: int = 50, pooling: str = "att"
    ) -> None:
        super().__init__()
        require_choice("pooling", pooling, ("att", "max"))
        self.pool = AttentionPooling(n_components) if pooling == "att" else MaxPooling()
        # Without a bias, a logit is the sum of the contributions of the patterns.
        self.linear = nn.Linear(n_components, n_classes, bias=False)
        # Activations of log-spectra are about 0.1. With the usual small weights, the
        # logits of all classes would be almost equal for most of the training.
        nn.init.normal_(self.linear.weight)

    def forward(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the activations and compute logits.

        Arguments
        ---------
        activations : Tensor (B, K, frames)
            H.

        Returns
        -------
        logits : Tensor (B, C)
        pooled : Tensor (B, K)
            z.
        """
        pooled = self.pool(activations)
        return self.linear(pooled), pooled


def relative_contribution(values: Tensor, weights: Tensor) -> Tensor:
    """Return r_k = z_k w_k / max_l |z_l w_l|: the share of each term of a logit.

    L2I, section 3.2; FLINT uses the same relevance.

    Arguments
    ---------
    values, weights : Tensor (B, K)
        z, and the weights of the explained class.

    Returns
    -------
    Tensor (B, K)
        In [-1, 1]; 0 if no term contributes.

    Example
    -------
    >>> import torch
    >>> relative_contribution(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, -1.0]]))
    tensor([[ 0.5000, -1.0000]])
    """
    contribution = values.float() * weights
    largest = contribution.abs().amax(dim=1, keepdim=True)
    return contribution / largest.where(largest > 0, 1.0)


class AttentionPooling(nn.Module):
    """Attention over time: z = H a with a = softmax_t(w' tanh(V h_t)).

    Ilse et al., *Attention-based Deep Multiple Instance Learning*, 2018, eq. 7 and 8.

    Arguments
    ---------
    n_components : int
        Number of patterns K, and of rows of V.
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.v = nn.Linear(n_components, n_components, bias=False)
        self.w = nn.Linear(n_components, 1, bias=False)
        nn.init.normal_(self.v.weight)  # for the same reason as in Theta

    def forward(self, activations: Tensor) -> Tensor:
        """Pool activations (B, K, frames) to (B, K)."""
        score = self.w(self.v(activations.transpose(1, 2)).tanh())  # (B, frames, 1)
        return (activations @ score.softmax(dim=1)).squeeze(2)


class MaxPooling(nn.Module):
    """The maximum over time: z_k = max_t H_kt."""

    def forward(self, activations: Tensor) -> Tensor:
        """Pool activations (B, K, frames) to (B, K)."""
        return activations.amax(dim=2)


def build_psi(
    classifier: Classifier,
    features: SpectralFeatures,
    dictionary: Tensor,
    width: int,
) -> Psi:
    """Build Psi for the representations of a classifier.

    Arguments
    ---------
    classifier : Classifier
    features : SpectralFeatures
    dictionary : Tensor (bins, K)
        The dictionary of patterns.
    width : int
        See :class:`Psi`.

    Returns
    -------
    Psi

    Raises
    ------
    SettingError
        If the classifier has no representations.
    """
    require_representations(classifier, "L2I")
    return Psi(classifier.geometry, features.hop_samples, dictionary.shape[1], width)


def build_theta(dictionary: Tensor, classifier: Classifier, pooling: str) -> Theta:
    """Build Theta for the patterns of a dictionary (bins, K); see :class:`Theta`."""
    return Theta(dictionary.shape[1], classifier.n_classes, pooling)
