"""L-MAC's guided loss, for fine-tuning a trained interpreter."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lmac_td.contracts import Classifier, ExplainedBatch, Explanation
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.training.objectives.base import Terms
from lmac_td.training.objectives.masking import MaskingLoss
from lmac_td.validation import require_choice, require_number


class GuidedMaskingLoss(MaskingLoss):
    """The masking loss plus L-MAC's guidance, to fine-tune a trained interpreter.

    L-MAC, section 2.1: if an interpretation is already similar to the clean clip, a
    guidance term pulls the mask towards the clean clip; otherwise the masking loss is
    used alone. A clip is guided if the cosine similarity of log(1 + |STFT(i)|) and
    log(1 + |STFT(clean)|) is at least ``cct``. Checkpoints are selected by the masking
    loss alone.

    Arguments
    ---------
    features : SpectralFeatures
        Computes the STFT of the clean clips.
    g_w : float
        The weight lambda_g; the paper uses 4, 16 and 32.
    cct : float
        The cosine similarity from which a clip is guided, in [0, 1].
    guidance : str
        ``binary``: the cross-entropy of the mask against a binary mask of the clean
        clip, which is 1 where its log-spectrum reaches ``bin_th`` of its maximum (the
        published code). ``spectrogram``: the mean squared difference of the two
        log-spectra (the paper's ||M X - X||).
    bin_th : float
        The threshold of the binary mask, in [0, 1].
    **masking : float or str
        Arguments of :class:`~lmac_td.training.objectives.masking.MaskingLoss`.

    Raises
    ------
    SettingError
        If a setting is out of its range, or the guidance is binary and the mask is
        neither an STFT mask nor a mask of mel bands.
    """

    def __init__(
        self,
        features: SpectralFeatures,
        g_w: float = 4.0,
        cct: float = 0.6,
        guidance: str = "binary",
        bin_th: float = 0.35,
        **masking: float | str,
    ):
        super().__init__(**masking)
        require_choice("guidance", guidance, ("binary", "spectrogram"))
        require_number("g_w", g_w, least=0)
        require_number("cct", cct, least=0, most=1)
        require_number("bin_th", bin_th, least=0, most=1)
        self.features = features
        self.g_w = g_w
        self.cct = cct
        self.guidance = guidance
        self.bin_th = bin_th

    def forward(self, batch: ExplainedBatch, clean: Tensor) -> Terms:
        """Compute the loss of each entry of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
            With the classifier's logits.
        clean : Tensor (B, T)
            The clean clips, at their level in the mixtures.

        Returns
        -------
        Terms
            With two parts more than the masking loss: ``guided`` is 1 for a guided
            entry and 0 for others, so its mean is the share of guided entries;
            ``guide`` is the guidance term, 0 for entries that are not guided.
        """
        terms = super().forward(batch, clean)
        explanation = batch.explanation
        with torch.no_grad():
            clean_features = self.features(clean)
            similarity = F.cosine_similarity(
                explanation.attribution.flatten(1),
                torch.log1p(clean_features.magnitude).flatten(1),
            )
            guided = (similarity >= self.cct).float()
        guide = guided * self.guide(explanation, clean_features, batch.classifier)
        return replace(
            terms,
            loss=terms.loss + self.g_w * guide,
            # Not the whole loss: it rises whenever another clip becomes similar
            # enough to be guided, although the interpreter has improved.
            selection=terms.loss,
            parts={**terms.parts, "guide": guide, "guided": guided},
        )

    def guide(
        self,
        explanation: Explanation,
        clean: Features,
        classifier: Classifier,
    ) -> Tensor:
        """Return the distance of each explanation to the clean clip, (B,)."""
        log_magnitude = torch.log1p(clean.magnitude)
        if self.guidance == "spectrogram":
            return (explanation.attribution - log_magnitude).pow(2).mean(dim=(1, 2))
        mask = explanation.mask.float()
        spectra = [log_magnitude]
        if classifier.mel is not None:
            spectra.append(classifier.mel(clean.magnitude))
        for spectrum in spectra:
            if mask.shape == spectrum.shape:
                loudest = spectrum.amax(dim=(1, 2), keepdim=True)
                binary = (spectrum >= self.bin_th * loudest).to(mask.dtype)
                # Autocast refuses a cross-entropy of probabilities.
                with torch.autocast(mask.device.type, enabled=False):
                    distance = F.binary_cross_entropy(mask, binary, reduction="none")
                return distance.mean(dim=(1, 2))
        raise SettingError(
            "guidance is binary, but this interpreter's mask is neither an STFT mask "
            "nor a mask of mel bands: give --guidance spectrogram"
        )
