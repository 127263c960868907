"""Build the decoders of LMAC-TD and L-MAC for a classifier, in a named geometry."""

from lmac_td.errors import SettingError, require_choice
from lmac_td.nn.published import (
    PublishedMelMask,
    PublishedStftMask,
    PublishedUNet,
    check_published_widths,
)
from lmac_td.nn.unet import AlignedUNet, init_before_relu


def build_unet(geometry, classifier, features, out_channels, channels):
    """Build U of LMAC-TD (eq. 2).

    Arguments
    ---------
    geometry : str
        ``aligned`` (:class:`~lmac_td.nn.unet.AlignedUNet`) or ``published``
        (:class:`~lmac_td.nn.published.PublishedUNet`).
    classifier : Classifier
        Whose representations are decoded.
    features : SpectralFeatures
        Time is made about as fine as its frames, then interpolated.
    out_channels : int
        Channels K of the output.
    channels : sequence of int
        Decoder widths of the aligned geometry; the published one has its own.

    Returns
    -------
    nn.Module, or None if the classifier has no representations

    Raises
    ------
    SettingError
        If the geometry is neither, or the published one does not fit the classifier.
    """
    require_choice("geometry", geometry, ("aligned", "published"))
    if not classifier.geometry:
        return None  # nothing to decode: alpha must be 0
    if geometry == "aligned":
        hop = features.hop_samples
        return AlignedUNet(classifier.geometry, hop, out_channels, channels)
    check_published_widths(classifier.geometry)
    return PublishedUNet(classifier.geometry[0].channels, out_channels)


def build_mask_unet(geometry, domain, classifier, features, channels):
    """Build the decoder of L-MAC.

    Arguments
    ---------
    geometry : str
        ``aligned`` (:class:`~lmac_td.nn.unet.AlignedUNet`) or ``published``
        (SpeechBrain's, by keys and by geometry).
    domain : str
        ``stft`` or ``mel``: what the mask is for.
    classifier, features, channels
        As of :func:`build_unet`.

    Returns
    -------
    nn.Module

    Raises
    ------
    SettingError
        If a setting is none of these, or does not fit the classifier.
    """
    require_choice("domain", domain, ("stft", "mel"))
    require_choice("geometry", geometry, ("aligned", "published"))
    if domain == "mel" and classifier.mel is None:
        raise SettingError(
            f"domain is mel, but {classifier.name} has no mel bands to "
            "mask: give --domain stft"
        )
    if not classifier.geometry:
        raise SettingError(
            f"L-MAC decodes representations, and {classifier.name} gives none: name "
            "its layers in the setting representations"
        )
    n_out = features.n_bins if domain == "stft" else classifier.mel.n_mels
    if geometry == "aligned":
        # No layer after it normalises, as MaskNet does in LMAC-TD. With PyTorch's own
        # initialisation the signal almost vanishes, and the mask becomes constant.
        unet = AlignedUNet(
            classifier.geometry, features.hop_samples, n_out, channels, normalise=True
        )
        for layer in unet.hidden_layers():
            init_before_relu(layer)
        return unet
    check_published_widths(classifier.geometry)
    n_mels = classifier.mel and classifier.mel.n_mels
    if n_mels != 80 or features.n_fft != 1024:
        raise SettingError(
            f"geometry: published makes masks of 80 mel bands or of the 513 bins of an "
            f"FFT of 1024, not for n_mels {n_mels} and n_fft {features.n_fft}: use "
            "geometry: aligned"
        )
    dim = classifier.geometry[0].channels
    return PublishedStftMask(dim) if domain == "stft" else PublishedMelMask(dim)
