"""The base of all interpreters: from a mask, or from two sounds, to an Explanation.

Losses, metrics and saved samples read the :class:`~lmac_td.contracts.Explanation` and
nothing else, so a new method is one file and one yaml.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from lmac_td.contracts import Classifier, Decision, ExplainedBatch, Explanation
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures, magnitude_of
from lmac_td.validation import require_choice

# The remark of methods that mask mel bands.
MEL_MASK_REMARK = (
    "it masks the classifier's mel bands and has no sound of its own: for its sounds, "
    "and where it is scored as audio, the mask of the bands is spread over the bins of "
    "the STFT; SPS, COMP, completeness, kept energy, the comparison with the "
    "sources and the equal-size columns are measured on these sounds"
)


class Interpreter(nn.Module):
    """Base of every interpreter: ``forward(wavs, features, decision) -> Explanation``.

    The inputs of ``forward`` are ``wavs`` (B, T) in [-1, 1], their spectra ``features``
    (:class:`~lmac_td.features.Features`) and the classifier's ``decision`` on them
    (:class:`~lmac_td.contracts.Decision`). An interpreter never gets a label. A method
    that must run the classifier again uses ``decision.classifier``; it keeps no copy,
    so its checkpoints hold only its own weights.

    Arguments
    ---------
    features : SpectralFeatures
        The STFT by which sounds are analysed.

    Attributes
    ----------
    classifier_input : str
        ``audio``: the classifier takes exactly the sounds that a person listens to.
        ``spectrogram``: it takes masked spectrograms; the evaluation then adds a row
        for the sounds.
    remark : str
        What a reader of the method's table must know; empty if there is nothing.
    does : str
        What the method does to find what is kept, for people who do not know it: a verb
        and its objects, such as ``keeps what is loudest``; see :meth:`about`.
    needs_sources : bool
        Whether ``forward`` has a fourth argument ``sources``, the
        :class:`~lmac_td.contracts.Sources` of ``wavs``.
    asks_classifier : bool
        Whether ``forward`` runs the classifier again to choose what is kept. Searching
        alone raises AI, so a remark below the table names such methods. A method that
        only takes gradients does not search.
    is_control : bool
        Whether the method is a control of such methods: it has no evidence of the
        decision, but may search as well.
    """

    classifier_input: str = "audio"
    remark: str = ""
    does: str = ""
    needs_sources: bool = False
    asks_classifier: bool = False
    is_control: bool = False

    def __init__(self, features: SpectralFeatures) -> None:
        super().__init__()
        self.features = features

    def check(self, classifier: Classifier) -> None:
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

    def about(self) -> str:
        """Return a sentence about the method: what it does, whether it was trained.

        Example
        -------
        >>> from lmac_td.interpreters.baselines import Zeros
        >>> Zeros(SpectralFeatures(8000, 256, 32, 16)).about()
        'A method without training: it keeps nothing, for comparison.'
        """
        is_trained = any(True for _ in self.parameters())
        kind = "A trained network" if is_trained else "A method without training"
        return f"{kind}: it {self.does}." if self.does else f"{kind}."

    def rows(self, name: str) -> dict[str, Interpreter]:
        """Return the rows of a table that this method gives, by their names.

        Arguments
        ---------
        name : str
            The method's name in the recipe.

        Returns
        -------
        dict of str to Interpreter
            By default one row of this name.
        """
        return {name: self}

    def parts(self, batch: ExplainedBatch, clip: int) -> dict[str, Tensor]:
        """Return the sounds that add up to one interpretation, to be saved beside it.

        Arguments
        ---------
        batch : ExplainedBatch
        clip : int
            Index in the batch.

        Returns
        -------
        dict of str to Tensor (T,)
            By name; empty by default.
        """
        return {}

    def explain_audio(
        self,
        interpretation: Tensor,
        residual: Tensor,
        mask: Tensor,
        decision: Decision,
    ) -> Explanation:
        """Make the Explanation of a method that returns sounds.

        The classifier takes exactly these sounds. No signal is analysed twice: if the
        classifier takes spectrograms, the same STFT serves classifier and metrics.

        Arguments
        ---------
        interpretation, residual : Tensor (B, T)
        mask : Tensor
            Of any shape.
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

    def explain_mask(
        self,
        mask: Tensor,
        wavs: Tensor,
        features: Features,
        decision: Decision,
        mask_domain: str = "magnitude",
    ) -> Explanation:
        """Make the Explanation of a mask on the STFT; its sound is eq. 3 of L-MAC.

        Arguments
        ---------
        mask : Tensor (B, frames, bins)
            In [0, 1].
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``; the phase is kept.
        decision : Decision
        mask_domain : str
            See :func:`masked`.

        Returns
        -------
        Explanation
            ``self.classifier_input`` decides what the classifier takes.
        """
        mask = mask.float()
        kept, removed = (
            masked(features.stft, m, features.magnitude, mask_domain)
            for m in (mask, 1 - mask)
        )
        sounds = self.features.istft(torch.cat([kept, removed]), wavs.shape[-1])
        interpretation, residual = sounds.chunk(2)
        if mask_domain == "magnitude":
            interpretation, residual = share_rounding_error(
                mask, wavs, interpretation, residual
            )
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

    def explain_mel_mask(
        self,
        mask: Tensor,
        wavs: Tensor,
        features: Features,
        decision: Decision,
        mask_domain: str = "magnitude",
    ) -> Explanation:
        """Make the Explanation of a mask on the classifier's mel bands.

        The classifier takes the masked mel bands. Such a mask has no sound of its own:
        for the sounds, the mask of the bands is spread over the bins of the STFT. A
        classifier that takes clips of one length pads shorter clips, so its inputs have
        more frames than the clip; the mask is 0 there.

        Arguments
        ---------
        mask : Tensor (B, frames, n_mels)
            In [0, 1], for the frames of the clip or of the classifier's inputs.
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``.
        decision : Decision
            The decision of a classifier with mel bands.
        mask_domain : str
            See :func:`masked`.

        Returns
        -------
        Explanation
        """
        mel = decision.inputs.expm1()
        mask = mask.float()
        input_mask = nn.functional.pad(mask, (0, 0, 0, mel.shape[1] - mask.shape[1]))
        mask = mask[:, : features.magnitude.shape[1]]
        with torch.autocast(mask.device.type, enabled=False):
            stft_mask = mask @ decision.classifier.mel.bands_of_bins
        explanation = self.explain_mask(
            stft_mask, wavs, features, decision, mask_domain
        )
        return replace(
            explanation,
            kept_input=masked(mel, input_mask, mel, mask_domain).log1p(),
            removed_input=masked(mel, 1 - input_mask, mel, mask_domain).log1p(),
            mask=mask,
        )


def share_rounding_error(
    mask: Tensor, wavs: Tensor, interpretation: Tensor, residual: Tensor
) -> tuple[Tensor, Tensor]:
    """Add the rounding error of STFT and inverse STFT to both parts, by the mean mask.

    The masks of the two parts add up to one, so the two sounds add up to the clip
    except for rounding. With the error added back, a constant mask of 1 gives exactly
    the clip, and a constant mask of 0 exactly silence.

    Arguments
    ---------
    mask : Tensor (B, frames, bins)
    wavs, interpretation, residual : Tensor (B, T)

    Returns
    -------
    interpretation, residual : Tensor (B, T)
    """
    rounding = wavs - interpretation - residual
    peak = wavs.abs().amax(dim=1, keepdim=True)
    # Larger differences are no rounding errors.
    rounding = rounding.where(rounding.abs() <= 1e-5 * peak, 0.0)
    share = mask.detach().mean(dim=(1, 2)).unsqueeze(1)
    return interpretation + share * rounding, residual + (1 - share) * rounding


def check_mask_settings(domain: str, mask_domain: str, classifier_input: str) -> None:
    """Refuse values of these settings that do not exist or do not go together.

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
        If a setting has another value, or ``mel`` is combined with ``audio``.
    """
    require_choice("domain", domain, ("stft", "mel"))
    require_choice("mask_domain", mask_domain, ("magnitude", "log1p"))
    require_choice("classifier_input", classifier_input, ("spectrogram", "audio"))
    if domain == "mel" and classifier_input == "audio":
        raise SettingError(
            "domain is mel, but a mask on mel bands has no sound of its own for the "
            "classifier: give --classifier_input spectrogram, or --domain stft"
        )


def masked(x: Tensor, mask: Tensor, magnitude: Tensor, domain: str) -> Tensor:
    """Apply a mask to a spectrogram.

    Arguments
    ---------
    x : Tensor (B, frames, bins)
        The complex STFT, or its magnitude.
    mask : Tensor (B, frames, bins)
    magnitude : Tensor (B, frames, bins)
        The magnitude of ``x``.
    domain : str
        ``magnitude``: the mask scales |X| (L-MAC, eq. 2). ``log1p``: it scales
        log(1 + |X|) (L2I, Algorithm 2; L-MAC's published code); the kept and the
        removed part then add up to less than the input.

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
