"""What L2I (Parekh et al., section 3.1) learns: Psi and Theta.

Psi turns the classifier's last three representations into non-negative time
activations H (K, frames) of K spectral patterns: it upsamples time to the STFT's
frames and downsamples frequency to nothing. Theta pools H over time and answers with
one linear layer, so that every pattern has its share in every logit.

Psi keeps time as :class:`lmac_td.nn.unet.AlignedUNet` does, whose docstring says how.
The paper leaves its layers open. There is no BatchNorm, so a clip alone gives what it
gives in a batch.
"""

import torch.nn.functional as F
from torch import nn

from lmac_td.errors import SettingError, require_choice
from lmac_td.nn.unet import fit, init_before_relu


class Psi(nn.Module):
    """Representations to activations.

    Arguments
    ---------
    rep_channels : sequence of int
        Channels of the three representations, deepest first: blocks 6, 5 and 4.
    mel_bins : int
        Mel bands of the classifier's input, at least 32.
    n_components : int
        Patterns K.
    width : int
        Channels of the hidden layers.

    Raises
    ------
    SettingError
        If mel_bins vanish in five poolings, or a representation is missing.

    Example
    -------
    >>> import torch
    >>> psi = Psi((16, 8, 8), mel_bins=40, n_components=6, width=8)
    >>> t = 100  # STFT frames
    >>> reps = [torch.rand(2, c, t // p, 40 // p)
    ...         for c, p in zip((16, 8, 8), (32, 32, 16))]
    >>> psi(reps, n_frames=t).shape
    torch.Size([2, 6, 100])
    """

    def __init__(self, rep_channels, mel_bins=80, n_components=100, width=256):
        super().__init__()
        if mel_bins < 32:
            raise SettingError(
                f"mel_bins: CNN14 halves them five times, {mel_bins} < 32"
            )
        if len(rep_channels) != 3:
            raise SettingError(f"rep_channels: Psi has three, not {len(rep_channels)}")
        self.skips = nn.ModuleList(nn.Conv2d(c, width, 1) for c in rep_channels)
        self.up = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.fold = nn.Conv2d(width, width, (1, mel_bins // 16))
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(width, width, 4, 2, 1) for _ in range(4)
        )
        self.out = nn.Conv1d(width, n_components, 1)
        # PyTorch's own init leaves hardly a signal after eight layers.
        for layer in (*self.skips, self.up, self.fold, *self.ups, self.out):
            init_before_relu(layer)

    def forward(self, representations, n_frames):
        """Estimate H.

        Arguments
        ---------
        representations : sequence of torch.Tensor
            Three of (B, C, time, mel), deepest first (see
            :class:`lmac_td.classifier.Cnn14`).
        n_frames : int
            STFT frames of the clip.

        Returns
        -------
        torch.Tensor
            (B, K, n_frames), non-negative.
        """
        skip6, skip5, skip4 = (
            F.relu(conv(rep))
            for conv, rep in zip(self.skips, representations, strict=True)
        )
        h = skip6 + skip5  # (B, C, t // 32, mel // 32)
        h = fit(F.relu(self.up(h)), skip4.shape[2:]) + skip4
        h = F.relu(self.fold(h)).squeeze(3)  # (B, C, t // 16)
        # Cnn14 pads what is shorter than its poolings.
        t = max(n_frames, 16 * representations[2].shape[2])
        for up, size in zip(self.ups, (t // 8, t // 4, t // 2, t), strict=True):
            h = fit(F.relu(up(h)), (size,))
        return F.relu(self.out(h))[..., :n_frames]


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


def build_psi(emb_dim, cnn14_channels, mel_bins, dictionary, width):
    """Build Psi for a CNN14 of the given widths.

    Arguments
    ---------
    emb_dim : int
        Channels of CNN14's block 6.
    cnn14_channels : sequence of int
        Channels of its blocks 1 to 5.
    dictionary : torch.Tensor
        (bins, K): its patterns are what Psi activates.
    mel_bins, width
        As of :class:`Psi`.

    Returns
    -------
    Psi
    """
    rep_channels = (emb_dim, *reversed(cnn14_channels[3:]))  # deepest first
    return Psi(rep_channels, mel_bins, dictionary.shape[1], width)


def build_theta(dictionary, n_classes, pooling):
    """Build Theta for the patterns of a dictionary (bins, K); see :class:`Theta`."""
    return Theta(dictionary.shape[1], n_classes, pooling)
