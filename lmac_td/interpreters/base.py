"""The contract: what an interpreter is given and what it must return.

Everything downstream (the losses, the metrics, the samples on disk) reads an
:class:`Explanation` and nothing else, so a new method is one file and one yaml.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lmac_td.errors import SettingError, require_choice
from lmac_td.features import magnitude_of


@dataclass(frozen=True)
class Explanation:
    """What an interpreter says about a batch of B clips of T samples.

    Attributes
    ----------
    interpretation : Tensor (B, T)
        The sound that is kept: what a person listens to.
    residual : Tensor (B, T)
        The sound that is removed.
    heard_in, heard_out : Tensor (B, frames, n_mels)
        What the classifier is given for the kept and for the removed part.
    attribution : Tensor (B, frames, bins)
        Non-negative map on the linear STFT grid, log(1 + |STFT(interpretation)|):
        SPS, COMP and the regulariser R(i) are taken on it.
    mask : Tensor, the method's own shape
        In [0, 1].

    A method may return a subclass with fields of its own, for its own objective.
    """

    interpretation: Tensor
    residual: Tensor
    heard_in: Tensor
    heard_out: Tensor
    attribution: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Sources:
    """What a batch of mixtures is made of; only the oracle may see it.

    Attributes
    ----------
    target, interference : Tensor (B, T)
        They add up to the mixture.
    target_magnitude, interference_magnitude : Tensor (B, frames, bins)
        |STFT| of each.
    """

    target: Tensor
    interference: Tensor
    target_magnitude: Tensor
    interference_magnitude: Tensor


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
    ``decision`` the classifier's :class:`~lmac_td.classifier.Decision` on them. An
    interpreter never runs the classifier on its input again, and never sees a label.

    Arguments
    ---------
    features : SpectralFeatures
        The classifier's front end, to analyse the sounds that are produced.

    Attributes
    ----------
    heard : str
        ``audio``: ``heard_in`` and ``heard_out`` analyse the very sounds that a person
        hears. ``spectrogram``: they are masked spectrograms; the evaluation then adds
        a row for the sounds.
    remark : str
        What a reader of the method's table must know; empty if nothing.
    needs_sources : bool
        Whether ``forward`` takes ``sources``, the :class:`Sources` of ``wavs``, too.
    """

    heard = "audio"
    remark = ""
    needs_sources = False

    def __init__(self, features):
        super().__init__()
        self.features = features

    def parts(self, heard, clip):
        """Sounds that the interpretation of one clip is made of, to be saved.

        Arguments
        ---------
        heard : Heard
            An explained batch.
        clip : int
            Its place in the batch.

        Returns
        -------
        dict of str to Tensor (T,)
            By name; none unless the method has parts.
        """
        return {}

    def explain_audio(self, interpretation, residual, mask):
        """The Explanation of a method whose outcome is sound.

        The kept and the removed part are analysed together, in one STFT, and the
        classifier is given exactly what a person hears.
        """
        heard = self.features(torch.cat([interpretation, residual]))
        heard_in, heard_out = heard.log_mel.chunk(2)
        magnitude_in, _ = heard.magnitude.chunk(2)
        return Explanation(
            interpretation=interpretation,
            residual=residual,
            heard_in=heard_in,
            heard_out=heard_out,
            attribution=torch.log1p(magnitude_in),
            mask=mask,
        )

    def explain_mask(self, mask, wavs, features, mask_domain="magnitude"):
        """The Explanation of a mask on the STFT, by the inverse STFT (L-MAC, eq. 3).

        Arguments
        ---------
        mask : Tensor (B, frames, bins)
            In [0, 1].
        wavs : Tensor (B, T)
        features : Features
            Of ``wavs``; the input's phase is kept.
        mask_domain : str
            See :func:`masked`.

        Returns
        -------
        Explanation
            What the classifier is given depends on ``self.heard``.
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
        if self.heard == "audio":
            return self.explain_audio(interpretation, residual, mask)
        sound = magnitude_of(self.features.stft(interpretation))
        return Explanation(
            interpretation=interpretation,
            residual=residual,
            heard_in=self.features.log_mel(magnitude_of(kept)),
            heard_out=self.features.log_mel(magnitude_of(removed)),
            attribution=torch.log1p(sound),
            mask=mask,
        )

    def explain_mel_mask(self, mask, wavs, features, mask_domain="magnitude"):
        """The Explanation of a mask on the classifier's own mel bands.

        It has no sound of its own: that of its bands spread over the STFT's bins
        stands in. The classifier is given the masked bands themselves.

        Arguments
        ---------
        mask : Tensor (B, frames, n_mels)
            In [0, 1].
        wavs : Tensor (B, T)
        features : Features
            Of ``wavs``.
        mask_domain : str
            See :func:`masked`.

        Returns
        -------
        Explanation
        """
        mask = mask.float()
        with torch.autocast(mask.device.type, enabled=False):
            spread = mask @ self.features.bands_of_bins
        explanation = self.explain_mask(spread, wavs, features, mask_domain)
        mel = features.log_mel.expm1()
        return replace(
            explanation,
            heard_in=masked(mel, mask, mel, mask_domain).log1p(),
            heard_out=masked(mel, 1 - mask, mel, mask_domain).log1p(),
            mask=mask,
        )


def check_masking(domain, mask_domain, heard):
    """Refuse settings of a method that masks spectrograms, if they cannot work.

    Arguments
    ---------
    domain : str
        ``stft`` or ``mel``: what is masked.
    mask_domain : str
        ``magnitude`` or ``log1p``, see :func:`masked`.
    heard : str
        ``spectrogram`` or ``audio``, see :class:`Interpreter`.

    Raises
    ------
    SettingError
        If one is none of these, or ``mel`` is to be heard as audio.
    """
    require_choice("domain", domain, ("stft", "mel"))
    require_choice("mask_domain", mask_domain, ("magnitude", "log1p"))
    require_choice("heard", heard, ("spectrogram", "audio"))
    if domain == "mel" and heard == "audio":
        raise SettingError(
            "domain is mel, and a mask on mel bands has no sound of its own that "
            "could be heard: give --heard spectrogram, or --domain stft"
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
