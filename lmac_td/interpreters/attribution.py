"""Post-hoc attributions of the classifier, through Captum, as masks.

What is attributed is the logit of the class decided (for occlusion its probability),
to the STFT's magnitude |X|, through the mel step, or to the log-mel that the
classifier is given. A mask in [0, 1] is made of an attribution by its positive part
over its maximum, clip by clip; without a positive part nothing is kept.

Clips are explained one by one, and what is random is drawn from a fixed seed, the
same draw for every clip: an explanation depends neither on its batch nor on the order
of the clips. Silence, zero in both domains, is the reference of every method that
needs one; the two of SHAP expect over :func:`backgrounds`.

Captum's Guided Backprop and DeepLIFT replace the gradients of modules, and leave those
of functions as they are. So all that is not linear between the attributed input and the
logits is a module: the logarithm here, activations and the pooling over time in
:class:`lmac_td.classifier.Cnn14`. DeepLIFT takes other modules for linear: that is
right for BatchNorm in evaluation, and not for ``norm_type: ln`` or a cosine head.
"""

import contextlib
import warnings

import captum.attr
import numpy as np
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, nonlinear
from torch import nn

from lmac_td.classifier import FrozenClassifier, MaxPlusMean
from lmac_td.errors import SettingError, require_choice, require_number
from lmac_td.interpreters.base import STAND_IN, Interpreter, check_masking

LAYERS = tuple(f"conv_block{block}" for block in range(1, 7))
# Besides silence, what a SHAP value is told apart from: white noise, dB of full scale.
BACKGROUND_LEVELS_DB = (-60, -40, -20)


class Log1p(nn.Module):
    """log(1 + x), as a module that DeepLIFT knows."""

    def forward(self, x):
        """Any shape to the same."""
        return torch.log1p(x)


class Logits(nn.Module):
    """From what is attributed to the classifier's logits, through modules.

    Arguments
    ---------
    features : SpectralFeatures
    frozen : FrozenClassifier
    domain : str
        ``stft`` or ``mel``.
    """

    def __init__(self, features, frozen, domain):
        super().__init__()
        self.features = features
        self.frozen = frozen
        self.domain = domain
        self.log1p = Log1p()

    def forward(self, x):
        """Map |X| (B, frames, bins) or log-mel (B, frames, n_mels) to logits (B, C)."""
        # Noise may carry x below silence, which nothing can sound like, and where the
        # logarithm ends: it is then heard as silence, with the gradient at silence.
        x = x + (x.clamp(min=0) - x).detach()
        if self.domain == "stft":
            with torch.autocast(x.device.type, enabled=False):  # as in the features
                x = self.log1p(x @ self.features.mel_matrix)
        return self.frozen(x).logits


class Attribution(Interpreter):
    """Base of the attributions: each says how one clip is attributed.

    Arguments
    ---------
    features : SpectralFeatures
        The classifier's front end.
    embedding_model, classifier : nn.Module
        The pair that is explained, frozen here; weights may be loaded in place later.
    domain : str
        What is attributed and masked. ``stft``: the magnitude of the STFT. ``mel``:
        the classifier's own features; such a mask has no sound, so that of its bands
        spread over the STFT's bins stands in.
    mask_domain : str
        ``magnitude`` or ``log1p``: which magnitude the mask scales, see
        :func:`lmac_td.interpreters.base.masked`.
    heard : str
        What the classifier is given. ``spectrogram``: the masked spectrogram.
        ``audio``: its sounds, analysed anew.

    Raises
    ------
    SettingError
        If a setting is none of these, or ``mel`` is to be heard as audio.

    Attributes
    ----------
    attribution_to_mask : str
        How a mask is made, told in the table.
    """

    attribution_to_mask = "positive part over its maximum, clip by clip"

    def __init__(
        self,
        features,
        embedding_model,
        classifier,
        domain="stft",
        mask_domain="magnitude",
        heard="spectrogram",
    ):
        super().__init__(features)
        check_masking(domain, mask_domain, heard)
        self.domain = domain
        self.mask_domain = mask_domain
        self.heard = heard
        self.logits = Logits(
            features, FrozenClassifier(embedding_model, classifier), domain
        )
        self.remark = f"attribution to mask: {self.attribution_to_mask}"
        if domain == "mel":
            self.remark += f"; {STAND_IN}"

    def attribute(self, x, target):
        """Attribute the class decided on one clip.

        Arguments
        ---------
        x : Tensor (1, frames, bins) or (1, frames, n_mels)
            |X| or log-mel; it requires a gradient.
        target : int
            The class decided.

        Returns
        -------
        Tensor, of the shape of ``x``
            The more positive, the more it speaks for the class.
        """
        raise NotImplementedError

    def forward(self, wavs, features, decision):
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            Of ``wavs``.
        decision : Decision
            The classifier's, on ``features.log_mel``.

        Returns
        -------
        Explanation
            With ``mask`` (B, frames, bins), or (B, frames, n_mels) of mel bands.
        """
        x = features.magnitude if self.domain == "stft" else features.log_mel
        with torch.enable_grad(), warnings.catch_warnings():
            # Captum warns of hooks, which it removes again.
            warnings.simplefilter("ignore")
            maps = [
                self.attribute(clip.unsqueeze(0).requires_grad_(), target).detach()
                for clip, target in zip(
                    x.detach(), decision.predicted.tolist(), strict=True
                )
            ]
        mask = positive_over_maximum(torch.cat(maps))
        explain = self.explain_mask if self.domain == "stft" else self.explain_mel_mask
        return explain(mask, wavs, features, self.mask_domain)

    def backgrounds(self, x):
        """What clips of the frames of ``x`` are told apart from, in its domain."""
        samples = (x.shape[1] - 1) * self.features.hop_samples
        heard = self.features(backgrounds(samples).to(x.device))
        return heard.magnitude if self.domain == "stft" else heard.log_mel


class Saliency(Attribution):
    """|dS_c/dx| (Simonyan et al., *Deep Inside Convolutional Networks*, 2014)."""

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        return captum.attr.Saliency(self.logits).attribute(x, target)


class SmoothGrad(Attribution):
    """|mean of dS_c/dx over noisy copies of x| (Smilkov et al., *SmoothGrad*, 2017).

    Every copy has noise of its own.

    Arguments
    ---------
    n_samples : int
        Copies.
    noise_level : float
        Standard deviation of the noise over max(x) - min(x), as in the paper.
    batch_size : int
        Copies that are heard at once.
    seed : int
        Of the noise.

    The others are those of :class:`Attribution`.
    """

    def __init__(
        self, *args, n_samples=25, noise_level=0.15, batch_size=8, seed=0, **settings
    ):
        super().__init__(*args, **settings)
        require_whole("smoothgrad_samples", n_samples)
        require_number("noise_level", noise_level, least=0.0)
        self.n_samples = n_samples
        self.noise_level = noise_level
        self.batch_size = batch_size
        self.seed = seed

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        deviation = self.noise_level * (x.max() - x.min()).item()
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(self.logits))
        with drawing_from(self.seed, x.device):
            mean = tunnel.attribute(
                x,
                nt_type="smoothgrad",
                nt_samples=self.n_samples,
                nt_samples_batch_size=self.batch_size,
                stdevs=deviation,
                target=target,
                abs=False,
            )
        return mean.abs()


class IntegratedGradients(Attribution):
    """x times the mean gradient on the way from silence to x.

    Sundararajan et al., *Axiomatic Attribution for Deep Networks*, 2017, eq. 1. The
    attribution adds up to S_c(x) - S_c(silence), but for the error of the integral.

    Arguments
    ---------
    n_steps : int
        Nodes of the Gauss-Legendre quadrature.
    batch_size : int
        Nodes that are heard at once.

    The others are those of :class:`Attribution`.
    """

    def __init__(self, *args, n_steps=64, batch_size=8, **settings):
        super().__init__(*args, **settings)
        require_whole("n_steps", n_steps)
        self.n_steps = n_steps
        self.batch_size = batch_size

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        return captum.attr.IntegratedGradients(self.logits).attribute(
            x,
            target=target,
            n_steps=self.n_steps,
            method="gausslegendre",
            internal_batch_size=self.batch_size,
        )


class GuidedBackprop(Attribution):
    """The gradient of S_c, of which every ReLU lets the positive part through only.

    Springenberg et al., *Striving for Simplicity*, 2015.
    """

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        return captum.attr.GuidedBackprop(self.logits).attribute(x, target)


class GradCAM(Attribution):
    """The channels of a layer, weighed by their mean gradient (Selvaraju et al., 2017).

    L = ReLU(sum_k a_k A^k), a_k the mean of dS_c/dA^k over time and mel (eq. 1, 2). A
    cell of a layer that is pooled n times stands for the 2^n frames and 2^n bands that
    it was pooled from. What no cell stands for, because pooling drops the last ones,
    goes with the cell beside it; bins of the STFT go with their mel bands.

    Arguments
    ---------
    layer : str
        ``conv_block1`` to ``conv_block6`` of CNN14; the last is the customary one.

    The others are those of :class:`Attribution`.
    """

    def __init__(self, *args, layer=LAYERS[-1], **settings):
        super().__init__(*args, **settings)
        require_choice("gradcam_layer", layer, LAYERS)
        self.layer = layer

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        layer = self.logits.frozen.embedding_model.get_submodule(self.layer)
        cells = captum.attr.LayerGradCam(self.logits, layer).attribute(
            x, target, relu_attributions=True
        )
        poolings = min(LAYERS.index(self.layer) + 1, 5)  # the sixth block has none
        n_mels = self.features.mel_matrix.shape[1]
        bands = lay_over(cells[:, 0], x.shape[1], n_mels, 2**poolings)
        return bands @ self.features.bands_of_bins if self.domain == "stft" else bands


class GuidedGradCAM(GradCAM):
    """GradCAM times Guided Backprop (Selvaraju et al., 2017, section 3.2).

    Not Captum's own, which stretches GradCAM's cells over the whole of the input.
    """

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        guided = captum.attr.GuidedBackprop(self.logits).attribute(x, target)
        return super().attribute(x, target) * guided


class GradientShap(Attribution):
    """Expected gradients between backgrounds and x (Lundberg and Lee, 2017).

    The mean of (x - b) dS_c/dx at random points between x and random backgrounds b.

    Arguments
    ---------
    n_samples : int
        Random points; all are heard at once.
    seed : int
        Of the draws.

    The others are those of :class:`Attribution`.
    """

    def __init__(self, *args, n_samples=25, seed=0, **settings):
        super().__init__(*args, **settings)
        require_whole("shap_samples", n_samples)
        self.n_samples = n_samples
        self.seed = seed

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        with drawing_from(self.seed, x.device):
            return captum.attr.GradientShap(self.logits).attribute(
                x,
                baselines=self.backgrounds(x),
                n_samples=self.n_samples,
                target=target,
            )


class DeepLiftShap(Attribution):
    """The mean of DeepLIFT, by its rescale rule, over the backgrounds.

    The attribution adds up to S_c(x) less the mean of S_c(b) over the backgrounds b.
    Lundberg and Lee, *A Unified Approach to Interpreting Model Predictions*, 2017, of
    Shrikumar et al., *Learning Important Features*, 2017.
    """

    def attribute(self, x, target):
        """See :class:`Attribution`."""
        return captum.attr.DeepLiftShap(self.logits).attribute(
            x, baselines=self.backgrounds(x), target=target
        )


class Occlusion(Attribution):
    """How much of p_c is lost when a segment of time and frequency falls silent.

    The segments are those of SLIME (Mishra, Sturm, Dixon, *Local Interpretable
    Model-agnostic Explanations for Music Content Analysis*, 2017, section 3): equal
    spans of time times equal spans of the mel scale. They are left out one by one, not
    in random sets with a linear model fitted to them.

    Arguments
    ---------
    time_segments, frequency_segments : int
        Segments of the clip, of the bands.
    batch_size : int
        Segments that are left out at once, each in a copy of its own.

    The others are those of :class:`Attribution`.
    """

    def __init__(
        self, *args, time_segments=10, frequency_segments=4, batch_size=8, **settings
    ):
        super().__init__(*args, **settings)
        require_whole("time_segments", time_segments)
        require_whole("frequency_segments", frequency_segments)
        self.time_segments = time_segments
        self.frequency_segments = frequency_segments
        self.batch_size = batch_size

    def attribute(self, x, target):
        """See :class:`Attribution`."""

        def probability(x):
            return self.logits(x).softmax(dim=-1)

        with torch.no_grad():
            return captum.attr.FeatureAblation(probability).attribute(
                x.detach(),
                target=target,
                feature_mask=self.segments(x.shape[1]).to(x.device),
                perturbations_per_eval=self.batch_size,
            )

    def segments(self, n_frames):
        """The segment of every frame and bin or band, (1, frames, bins or n_mels)."""
        n_mels = len(self.features.bands_of_bins)
        rows = torch.arange(n_frames) * self.time_segments // n_frames
        columns = torch.arange(n_mels) * self.frequency_segments // n_mels
        if self.domain == "stft":
            # A bin belongs where the band is that hears it best.
            columns = columns[self.features.bands_of_bins.argmax(dim=0).cpu()]
        segments = rows.unsqueeze(1) * self.frequency_segments + columns
        return segments.unsqueeze(0)


METHODS = {
    "saliency": Saliency,
    "smoothgrad": SmoothGrad,
    "integrated_gradients": IntegratedGradients,
    "gradcam": GradCAM,
    "guided_gradcam": GuidedGradCAM,
    "guided_backprop": GuidedBackprop,
    "gradient_shap": GradientShap,
    "deeplift_shap": DeepLiftShap,
    "occlusion": Occlusion,
}


def build_attributions(methods, settings=None, domain="stft", **common):
    """The rows of a table that a list of methods asks for.

    Arguments
    ---------
    methods : list of str
        Of :data:`METHODS`.
    settings : dict of str to dict, optional
        By method, the arguments that it has of its own.
    domain : str
        ``stft`` or ``mel``.
    **common
        The other arguments of :class:`Attribution`.

    Returns
    -------
    dict of str to Attribution
        By name of the row: ``saliency``, or ``saliency (mel)``.

    Raises
    ------
    SettingError
        If a method is unknown, or none is named.
    """
    if not isinstance(methods, list) or not methods:
        raise SettingError(
            f"methods is {methods!r}: give --methods a list such as "
            '"[saliency, gradcam]"'
        )
    for method in methods:
        if method not in METHODS:
            raise SettingError(
                f"methods names {method!r}: give --methods some of "
                f"[{', '.join(METHODS)}]"
            )
    row = "{}" if domain == "stft" else "{} (mel)"
    return {
        row.format(method): METHODS[method](
            domain=domain, **common, **(settings or {}).get(method, {})
        )
        for method in methods
    }


def positive_over_maximum(attribution):
    """Mask of an attribution (B, ...): its positive part over its maximum, a clip.

    Example
    -------
    >>> positive_over_maximum(torch.tensor([[[-1.0, 1.0, 4.0]], [[-1.0, 0.0, -2.0]]]))
    tensor([[[0.0000, 0.2500, 1.0000]],
    <BLANKLINE>
            [[0.0000, 0.0000, 0.0000]]])
    """
    positive = attribution.clamp(min=0)
    maximum = positive.amax(dim=tuple(range(1, positive.dim())), keepdim=True)
    return positive / maximum.where(maximum > 0, 1.0)


def lay_over(cells, n_frames, n_bands, span):
    """Lay the cells of a pooled map over the frames and bands that they stand for.

    Arguments
    ---------
    cells : Tensor (B, n_frames // span, n_bands // span)
        At least one of each.
    n_frames, n_bands : int
    span : int
        Frames, and bands, of a cell.

    Returns
    -------
    Tensor (B, n_frames, n_bands)

    Example
    -------
    >>> lay_over(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 5, 4, 2)[0, :, 0]
    tensor([1., 1., 3., 3., 3.])
    """
    rows = (torch.arange(n_frames) // span).clamp(max=cells.shape[1] - 1)
    columns = (torch.arange(n_bands) // span).clamp(max=cells.shape[2] - 1)
    return cells[:, rows][:, :, columns]


def backgrounds(n_samples, seed=0):
    """Silence, and white noise at :data:`BACKGROUND_LEVELS_DB`: (4, n_samples).

    Sounds in which nothing happens, from a fixed seed: the same for every clip.
    """
    generator = torch.Generator().manual_seed(seed)
    levels = 10 ** (torch.tensor(BACKGROUND_LEVELS_DB) / 20)
    noise = torch.randn(len(levels), n_samples, generator=generator)
    return torch.cat([torch.zeros(1, n_samples), levels.unsqueeze(1) * noise])


@contextlib.contextmanager
def drawing_from(seed, device):
    """Seed the global generators, which Captum draws from; then they are as before."""
    state = np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def require_whole(name, value):
    """Refuse a setting that is no whole number from 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{name} is {value!r}: give --{name} a whole number from 1")


def _max_plus_mean(module, inputs, outputs, grad_input, grad_output, eps=1e-10):
    """DeepLIFT's rule for a maximum, as Captum's for its max pooling, and for a mean.

    The way from the reference's maximum to the input's goes over the greater of the
    two: what rises is due to the frame of the input's maximum, what falls to that of
    the reference's.
    """
    clip, reference = inputs.chunk(2)
    grad_output = grad_output.chunk(2)[0]
    (top, frame), (top_reference, frame_reference) = clip.max(2), reference.max(2)
    greater = torch.maximum(top, top_reference)
    contribution = torch.zeros_like(clip)
    for where, gained in (
        (frame, greater - top_reference),
        (frame_reference, top - greater),
    ):
        contribution.scatter_add_(
            2, where.unsqueeze(2), (grad_output * gained).unsqueeze(2)
        )
    difference = clip - reference
    differs = difference.abs() > eps
    of_max = torch.where(differs, contribution / difference.where(differs, 1.0), 0.0)
    of_mean = grad_output.unsqueeze(2) / clip.shape[2]
    return (of_max + of_mean).repeat(2, 1, 1)


SUPPORTED_NON_LINEAR[Log1p] = nonlinear
SUPPORTED_NON_LINEAR[MaxPlusMean] = _max_plus_mean
