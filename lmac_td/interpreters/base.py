"""What all interpreters share: from a mask or two sounds to an Explanation.

Everything downstream (losses, metrics, the samples on disk) reads the
:class:`~lmac_td.contracts.Explanation` and nothing else, so a new method is one file
and one yaml.
"""

from dataclasses import replace

import torch
from torch import nn

from lmac_td.contracts import Explanation
from lmac_td.errors import SettingError, require_choice
from lmac_td.features import magnitude_of

# A remark of methods that mask mel bands.
STAND_IN = (
    "it masks the classifier's mel bands and has no sound of its own: in its sounds, "
    "and where it is scored as audio, every bin of the STFT is masked as the bands "
    "around it; all that is measured of sounds is of that stand-in (SPS, COMP, "
    "completeness, kept, the ground truth, the equal sizes)"
)


class Interpreter(nn.Module):
    """Base of every interpreter.

    ``forward(wavs, features, decision) -> Explanation`` where ``wavs`` is (B, T) in
    [-1, 1], ``features`` the :class:`~lmac_td.features.Features` of ``wavs`` and
    ``decision`` the classifier's :class:`~lmac_td.contracts.Decision` on them. An
    interpreter never sees a label. One that must run the classifier again finds it in
    ``decision.classifier``; it keeps no copy, so its checkpoints hold its own weights
    and nothing else.

    Arguments
    ---------
    features : SpectralFeatures
        The STFT on which sounds are analysed.

    Attributes
    ----------
    classifier_input : str
        ``audio``: the classifier is given the very sounds that a person listens to.
        ``spectrogram``: it is given masked spectrograms; the evaluation then adds a row
        for the sounds.
    remark : str
        What a reader of the method's table must know; empty if nothing.
    needs_sources : bool
        Whether ``forward`` takes ``sources``, the :class:`~lmac_td.contracts.Sources`
        of ``wavs``, too.
    """

    classifier_input = "audio"
    remark = ""
    needs_sources = False

    def __init__(self, features):
        super().__init__()
        self.features = features

    def check(self, classifier):
        """Refuse a classifier that this method cannot explain.

        Arguments
        ---------
        classifier : Classifier

        Raises
        ------
        SettingError
        """
        if self.classifier_input == "spectrogram" and not classifier.takes_spectrograms:
            raise SettingError(
                f"classifier_input is spectrogram, but {classifier.name} takes "
                "waveforms: give --classifier_input audio"
            )

    def parts(self, batch, clip):
        """Sounds that the interpretation of one clip is made of, to be saved.

        Arguments
        ---------
        batch : ExplainedBatch
        clip : int
            Its place in the batch.

        Returns
        -------
        dict of str to Tensor (T,)
            By name; none unless the method has parts.
        """
        return {}

    def explain_audio(self, interpretation, residual, mask, decision):
        """The Explanation of a method whose outcome is sound.

        The classifier is given exactly what a person listens to. No signal is analysed
        twice: where the classifier takes spectrograms, one STFT serves all.

        Arguments
        ---------
        interpretation, residual : Tensor (B, T)
        mask : Tensor, any shape
        decision : Decision

        Returns
        -------
        Explanation
        """
        sounds = torch.cat([interpretation, residual])
        if decision.classifier.takes_spectrograms:
            magnitudes = magnitude_of(self.features.stft(sounds))
            inputs = decision.classifier.inputs_of(magnitude=magnitudes)
            magnitude, _ = magnitudes.chunk(2)
        else:
            inputs = decision.classifier.inputs_of(sounds)
            magnitude = magnitude_of(self.features.stft(interpretation))
        kept_input, removed_input = inputs.chunk(2)
        return Explanation(
            interpretation, residual, kept_input, removed_input, magnitude, mask
        )

    def explain_mask(self, mask, wavs, features, decision, mask_domain="magnitude"):
        """The Explanation of a mask on the STFT, by the inverse STFT (L-MAC, eq. 3).

        Arguments
        ---------
        mask : Tensor (B, frames, bins)
            In [0, 1].
        wavs : Tensor (B, T)
        features : Features
            Of ``wavs``; the input's phase is kept.
        decision : Decision
        mask_domain : str
            See :func:`masked`.

        Returns
        -------
        Explanation
            What the classifier is given depends on ``self.classifier_input``.
        """
        mask = mask.float()
        kept, removed = (
            masked(features.stft, m, features.magnitude, mask_domain)
            for m in (mask, 1 - mask)
        )
        sounds = self.features.istft(torch.cat([kept, removed]), wavs.shape[-1])
        interpretation, residual = sounds.chunk(2)
        if mask_domain == "magnitude":
            # The masks add up to one, so only the rounding of the round trip is left
            # over. Shared out by the mask, constant masks give exactly all or nothing.
            rounding = wavs - interpretation - residual
            loudest = wavs.abs().amax(dim=1, keepdim=True)
            rounding = rounding.where(rounding.abs() <= 1e-5 * loudest, 0.0)
            share = mask.detach().mean(dim=(1, 2)).unsqueeze(1)
            interpretation = interpretation + share * rounding
            residual = residual + (1 - share) * rounding
        if self.classifier_input == "audio":
            return self.explain_audio(interpretation, residual, mask, decision)
        classifier = decision.classifier
        return Explanation(
            interpretation=interpretation,
            residual=residual,
            kept_input=classifier.inputs_of(magnitude=magnitude_of(kept)),
            removed_input=classifier.inputs_of(magnitude=magnitude_of(removed)),
            magnitude=magnitude_of(self.features.stft(interpretation)),
            mask=mask,
        )

    def explain_mel_mask(self, mask, wavs, features, decision, mask_domain="magnitude"):
        """The Explanation of a mask on the classifier's own mel bands.

        It has no sound of its own: that of its bands spread over the STFT's bins
        stands in. The classifier is given the masked bands themselves. Where it takes
        clips of one length, its inputs have more frames than a shorter clip: what
        follows the clip is silence, whatever its mask.

        Arguments
        ---------
        mask : Tensor (B, frames, n_mels)
            In [0, 1], of the frames of the clip or of the classifier's inputs.
        wavs : Tensor (B, T)
        features : Features
            Of ``wavs``.
        decision : Decision
            Of a classifier with mel bands.
        mask_domain : str
            See :func:`masked`.

        Returns
        -------
        Explanation
        """
        mel = decision.inputs.expm1()
        mask = mask.float()
        of_inputs = nn.functional.pad(mask, (0, 0, 0, mel.shape[1] - mask.shape[1]))
        mask = mask[:, : features.magnitude.shape[1]]
        with torch.autocast(mask.device.type, enabled=False):
            spread = mask @ decision.classifier.mel.bands_of_bins
        explanation = self.explain_mask(spread, wavs, features, decision, mask_domain)
        return replace(
            explanation,
            kept_input=masked(mel, of_inputs, mel, mask_domain).log1p(),
            removed_input=masked(mel, 1 - of_inputs, mel, mask_domain).log1p(),
            mask=mask,
        )


def require_representations(classifier, method, least=1):
    """Refuse a classifier without the representations that a method decodes.

    Arguments
    ---------
    classifier : Classifier
    method : str
        Its name, for the message.
    least : int
        Representations that it needs.

    Raises
    ------
    SettingError
    """
    if len(classifier.geometry) < least:
        raise SettingError(
            f"{method} decodes {least} or more representations, and {classifier.name} "
            f"gives {len(classifier.geometry)}: name its layers in the setting "
            "representations, or take a method that needs none, such as occlusion"
        )


def require_mel(classifier):
    """Refuse a classifier without mel bands, if these are to be masked.

    Arguments
    ---------
    classifier : Classifier

    Raises
    ------
    SettingError
    """
    if classifier.mel is None:
        raise SettingError(
            f"domain is mel, but {classifier.name} has no mel bands to "
            "mask: give --domain stft"
        )


def require_gradients(classifier, method):
    """Refuse a black box, if a method needs gradients.

    Arguments
    ---------
    classifier : Classifier
    method : str
        Its name, for the message.

    Raises
    ------
    SettingError
    """
    if not classifier.differentiable:
        raise SettingError(
            f"{method} needs gradients, and {classifier.name} is a black box: take a "
            "method that perturbs, such as occlusion"
        )


def check_masking(domain, mask_domain, classifier_input):
    """Refuse settings of a method that masks spectrograms, if they cannot work.

    Arguments
    ---------
    domain : str
        ``stft`` or ``mel``: what is masked.
    mask_domain : str
        ``magnitude`` or ``log1p``, see :func:`masked`.
    classifier_input : str
        ``spectrogram`` or ``audio``, see :class:`Interpreter`.

    Raises
    ------
    SettingError
        If one is none of these, or ``mel`` goes with ``audio``.
    """
    require_choice("domain", domain, ("stft", "mel"))
    require_choice("mask_domain", mask_domain, ("magnitude", "log1p"))
    require_choice("classifier_input", classifier_input, ("spectrogram", "audio"))
    if domain == "mel" and classifier_input == "audio":
        raise SettingError(
            "domain is mel, but a mask on mel bands has no sound of its own for the "
            "classifier: give --classifier_input spectrogram, or "
            "--domain stft"
        )


def masked(x, mask, magnitude, domain):
    """What a mask leaves of a spectrogram.

    Arguments
    ---------
    x : Tensor (B, frames, bins)
        Of the given magnitude: the complex STFT, or the magnitude itself.
    mask, magnitude : Tensor (B, frames, bins)
    domain : str
        ``magnitude``: the mask scales |X| (L-MAC, eq. 2). ``log1p``: it scales
        log(1 + |X|) (L2I, Algorithm 2; L-MAC's published code); kept and removed part
        then add up to less than the input.

    Returns
    -------
    Tensor (B, frames, bins)

    Example
    -------
    >>> x = torch.full((1, 1, 1), 3.0)
    >>> masked(x, 0.5 * torch.ones(1, 1, 1), x, "magnitude").item()
    1.5
    >>> masked(x, 0.5 * torch.ones(1, 1, 1), x, "log1p").item()
    1.0
    """
    if domain == "magnitude":
        return mask * x
    magnitude = magnitude.clamp(min=1e-12)  # the gain tends to the mask
    return torch.expm1(mask * torch.log1p(magnitude)) / magnitude * x
