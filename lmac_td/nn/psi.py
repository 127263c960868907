"""What L2I (Parekh et al., section 3.1) learns: Psi and Theta.

Psi turns the classifier's last three representations into non-negative time
activations H (K, frames) of K spectral patterns: it upsamples time to the STFT's
frames and downsamples frequency to nothing. Theta pools H over time and answers with
one linear layer, so that every pattern has its share in every logit.

The paper leaves the layers of Psi open: it is a :class:`lmac_td.nn.unet.AlignedUNet`,
which keeps time. There is no BatchNorm, so a clip alone gives what it gives in a batch.
"""

import torch.nn.functional as F
from torch import nn

from lmac_td.errors import SettingError, require_choice
from lmac_td.nn.unet import AlignedUNet, init_before_relu

# The paper decodes the classifier's last three.
N_REPRESENTATIONS = 3


class Psi(AlignedUNet):
    """Representations to activations, by a U-Net without normalisation.

    Arguments
    ---------
    geometry : sequence of Geometry
        Of the representations, deepest first; the three deepest are decoded.
    hop_samples : int
        Samples between STFT frames.
    n_components : int
        Patterns K.
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

    def __init__(self, geometry, hop_samples, n_components=100, width=256):
        super().__init__(
            geometry[:N_REPRESENTATIONS], hop_samples, n_components, (width, width)
        )
        # PyTorch's own init leaves hardly a signal after eight layers.
        for layer in (*self.hidden_layers(), self.out):
            init_before_relu(layer)

    def forward(self, representations, n_samples, n_frames):
        """Estimate H.

        Arguments
        ---------
        representations : sequence of Representation or Tensor
            Each (B, C, time, frequencies), deepest first.
        n_samples : int
            Samples of the clip.
        n_frames : int
            Its STFT frames.

        Returns
        -------
        Tensor
            (B, K, n_frames), non-negative.
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
    """Activations of any length to logits.

    Arguments
    ---------
    n_components : int
        Patterns K.
    n_classes : int
        Classes C of the classifier.
    pooling : str
        ``att``: z = H a with the attention of :class:`AttentionPooling`. ``max``:
        z_k = max_t H_kt.

    Raises
    ------
    SettingError
        If ``pooling`` is neither.

    Example
    -------
    >>> import torch
    >>> logits, pooled = Theta(6, n_classes=10)(torch.rand(2, 6, 100))
    >>> logits.shape, pooled.shape
    (torch.Size([2, 10]), torch.Size([2, 6]))
    """

    def __init__(self, n_components=100, n_classes=50, pooling="att"):
        super().__init__()
        require_choice("pooling", pooling, ("att", "max"))
        self.pool = AttentionPooling(n_components) if pooling == "att" else MaxPooling()
        # Without a bias, a logit is the sum of what the patterns contribute.
        self.linear = nn.Linear(n_components, n_classes, bias=False)
        # Activations of log-spectra are about 0.1: with the usual small weights, all
        # classes would stay alike for most of a training.
        nn.init.normal_(self.linear.weight)

    def forward(self, activations):
        """Answer.

        Arguments
        ---------
        activations : torch.Tensor
            H (B, K, frames).

        Returns
        -------
        logits : torch.Tensor
            (B, C).
        pooled : torch.Tensor
            z (B, K).
        """
        pooled = self.pool(activations)
        return self.linear(pooled), pooled


class AttentionPooling(nn.Module):
    """z = H a, a = softmax_t(w' tanh(V h_t)): Ilse et al. 2018, eq. 7 and 8.

    Arguments
    ---------
    n_components : int
        Patterns K, and rows of V.
    """

    def __init__(self, n_components):
        super().__init__()
        self.v = nn.Linear(n_components, n_components, bias=False)
        self.w = nn.Linear(n_components, 1, bias=False)
        nn.init.normal_(self.v.weight)  # as for Theta's

    def forward(self, activations):
        """(B, K, frames) to (B, K)."""
        score = self.w(self.v(activations.transpose(1, 2)).tanh())  # (B, frames, 1)
        return (activations @ score.softmax(dim=1)).squeeze(2)


class MaxPooling(nn.Module):
    """z_k = max_t H_kt."""

    def forward(self, activations):
        """(B, K, frames) to (B, K)."""
        return activations.amax(dim=2)


def build_psi(classifier, features, dictionary, width):
    """Build Psi for the representations of a classifier.

    Arguments
    ---------
    classifier : Classifier
    features : SpectralFeatures
    dictionary : Tensor (bins, K)
        Its patterns are what Psi activates.
    width : int
        As of :class:`Psi`.

    Returns
    -------
    Psi

    Raises
    ------
    SettingError
        If the classifier gives no representation.
    """
    if not classifier.geometry:
        raise SettingError(
            f"L2I decodes representations, and {classifier.name} gives none: name its "
            "layers in the setting representations"
        )
    return Psi(classifier.geometry, features.hop_samples, dictionary.shape[1], width)


def build_theta(dictionary, classifier, pooling):
    """Build Theta for the patterns of a dictionary (bins, K); see :class:`Theta`."""
    return Theta(dictionary.shape[1], classifier.n_classes, pooling)
