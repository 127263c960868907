"""Build the decoders of LMAC-TD and L-MAC for a classifier, in a named geometry."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lmac_td.contracts import (
    Classifier,
    require_mel_bands,
    require_representations,
)
from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.nn.published import (
    PublishedMelMask,
    PublishedStftMask,
    PublishedUNet,
    check_published_widths,
)
from lmac_td.nn.unet import AlignedUNet, init_at_level, init_before_relu
from lmac_td.validation import require_choice

# Standard deviation of the encoded sound H_e of a clip of about -28 dB.
ENCODED_LEVEL = 0.02


def build_unet(
    geometry: str,
    classifier: Classifier,
    features: SpectralFeatures,
    out_channels: int,
    channels: Sequence[int],
    normalise: bool = False,
) -> nn.Module | None:
    """Build the U-Net U of LMAC-TD (eq. 2).

    Arguments
    ---------
    geometry : str
        ``aligned`` (:class:`~lmac_td.nn.unet.AlignedUNet`) or ``published``
        (:class:`~lmac_td.nn.published.PublishedUNet`).
    classifier : Classifier
        The classifier whose representations are decoded.
    features : SpectralFeatures
        The U-Net doubles time until it is about as fine as these frames; then it
        interpolates.
    out_channels : int
        Channels K of the output.
    channels : sequence of int
        Decoder widths of the aligned geometry; those of the published one are fixed.
    normalise : bool
        Normalise each representation of a clip, in the aligned geometry, and initialise
        the layers so that they keep its variance. Recipes of runs that were trained
        before do not have it.

    Returns
    -------
    nn.Module or None
        None if the classifier has no representations.

    Raises
    ------
    SettingError
        If the geometry is unknown, or the published one does not fit the classifier.
    """
    require_choice("geometry", geometry, ("aligned", "published"))
    if not classifier.geometry:
        return None  # LMACTD.check then requires an alpha of 0
    if geometry == "published":
        check_published_widths(classifier.geometry)
        return PublishedUNet(classifier.geometry[0].channels, out_channels)
    if not normalise:
        hop = features.hop_samples
        return AlignedUNet(classifier.geometry, hop, out_channels, channels)
    # H_d starts at about the level of H_e, so that alpha weighs both. PyTorch's default
    # initialisation would leave little of the representations but biases, and the mask
    # would not depend on the classifier.
    unet = _normalised_unet(classifier, features, out_channels, channels)
    init_at_level(unet.out, ENCODED_LEVEL)
    return unet


def build_mask_unet(
    geometry: str,
    domain: str,
    classifier: Classifier,
    features: SpectralFeatures,
    channels: Sequence[int],
) -> nn.Module:
    """Build the decoder of L-MAC.

    Arguments
    ---------
    geometry : str
        ``aligned`` (:class:`~lmac_td.nn.unet.AlignedUNet`) or ``published``
        (SpeechBrain's layers and state-dict keys).
    domain : str
        ``stft`` or ``mel``: what is masked.
    classifier, features, channels
        See :func:`build_unet`.

    Returns
    -------
    nn.Module

    Raises
    ------
    SettingError
        If a setting has another value, or does not fit the classifier.
    """
    require_choice("domain", domain, ("stft", "mel"))
    require_choice("geometry", geometry, ("aligned", "published"))
    if domain == "mel":
        require_mel_bands(classifier)
    require_representations(classifier, "L-MAC")
    n_out = features.n_bins if domain == "stft" else classifier.mel.n_mels
    if geometry == "aligned":
        return _normalised_unet(classifier, features, n_out, channels)
    check_published_widths(classifier.geometry)
    n_mels = classifier.mel and classifier.mel.n_mels
    if n_mels != 80 or features.n_fft != 1024:
        raise SettingError(
            "geometry is published, which gives masks of 80 mel bands or of the 513 "
            f"bins of an FFT of 1024, but n_mels is {n_mels} and n_fft is "
            f"{features.n_fft}: give --geometry aligned"
        )
    dim = classifier.geometry[0].channels
    return PublishedStftMask(dim) if domain == "stft" else PublishedMelMask(dim)


def _normalised_unet(classifier, features, n_out, channels):
    """Build an aligned U-Net whose layers keep the variance of the representations."""
    unet = AlignedUNet(
        classifier.geometry, features.hop_samples, n_out, channels, normalise=True
    )
    for layer in unet.hidden_layers():
        init_before_relu(layer)
    return unet
