"""Post-hoc attributions of the classifier, through Captum, as masks.

What is attributed is the logit of the class explained (for occlusion its probability),
to the STFT's magnitude |X|, or to the mel bands that the classifier is given. A
classifier of waveforms is given the sound of |X| and the clip's own phase. A mask in
[0, 1] is made of an attribution by its positive part over its maximum, clip by clip;
without a positive part nothing is kept.

Clips are explained one by one, and what is random is drawn from a fixed seed, the
same draw for every clip: an explanation depends neither on its batch nor on the order
of the clips. Silence, zero in both domains, is the reference of every method that
needs one; the two of SHAP expect over :func:`backgrounds`.

Captum's Guided Backprop and DeepLIFT replace the gradients of modules, and leave those
of functions as they are: classifiers with functional activations are refused by name.
DeepLIFT takes other modules for linear: that is right for BatchNorm in evaluation, and
not for ``norm_type: ln`` or a cosine head.
"""

import contextlib
import warnings

import captum.attr
import numpy as np
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, nonlinear
from torch import nn

from lmac_td.classifiers.activations import require_module_activations
from lmac_td.classifiers.check import DITHER_DB
from lmac_td.classifiers.cnn14 import MaxPlusMean
from lmac_td.errors import DataError, SettingError, require_number
from lmac_td.features import Log1p, bands_of_bins, mel_filters
from lmac_td.interpreters.base import (
    STAND_IN,
    Interpreter,
    check_masking,
    require_gradients,
    require_mel,
    require_representations,
)

# Besides silence, the reference of a SHAP value: white noise, dB of full scale.
BACKGROUND_LEVELS_DB = (-60, -40, -20)
# Mel bands by which occlusion divides frequency, where the classifier has none.
N_MELS = 80


class ClipLogits(nn.Module):
    """From what is attributed of one clip to the classifier's logits, through modules.

    Arguments
    ---------
    classifier : Classifier
    features : SpectralFeatures
    domain : str
        ``stft`` or ``mel``.
    stft : Tensor, complex (1, frames, bins)
        Of the clip: its phase goes with every magnitude.
    n_samples : int
        Length T of the clip.
    """

    def __init__(self, classifier, features, domain, stft, n_samples):
        super().__init__()
        self.classifier = classifier
        self.features = features
        self.domain = domain
        self.stft = stft
        self.n_samples = n_samples

    def forward(self, x):
        """|X| (B, frames, bins) or log-mel (B, frames, n_mels) to logits (B, C)."""
        return self.decide(x).logits

    def decide(self, x):
        """|X| (B, frames, bins) or log-mel (B, frames, n_mels) to a Decision."""
        # Noise may make x negative, where the logarithm is not defined: the classifier
        # is then given silence, with the gradient at silence.
        x = x + (x.clamp(min=0) - x).detach()
        if self.domain == "mel":
            return self.classifier(x)
        if self.classifier.takes_spectrograms:
            return self.classifier(self.classifier.inputs_of(magnitude=x))
        sounds = self.features.with_magnitude(self.stft, x, self.n_samples)
        return self.classifier.decide(sounds)


class Attribution(Interpreter):
    """Base of the attributions: each says how one clip is attributed.

    Arguments
    ---------
    features : SpectralFeatures
    domain : str
        What is attributed and masked. ``stft``: the magnitude of the STFT. ``mel``:
        the classifier's mel bands; such a mask has no sound, so that of its bands
        spread over the STFT's bins stands in.
    mask_domain : str
        ``magnitude`` or ``log1p``: which magnitude the mask scales, see
        :func:`lmac_td.interpreters.base.masked`.
    classifier_input : str
        What the classifier is given. ``spectrogram``: the masked spectrogram.
        ``audio``: its sound.

    Raises
    ------
    SettingError
        If a setting is none of these, or ``mel`` goes with ``audio``.

    Attributes
    ----------
    attribution_to_mask : str
        How a mask is made; printed below the table.
    needs_gradients : bool
    rules : str or None
        Of a method that replaces the gradients of modules, see
        :func:`lmac_td.classifiers.activations.require_module_activations`.
    """

    attribution_to_mask = "positive part over its maximum, clip by clip"
    needs_gradients = True
    rules = None

    def __init__(
        self,
        features,
        domain="stft",
        mask_domain="magnitude",
        classifier_input="spectrogram",
    ):
        super().__init__(features)
        check_masking(domain, mask_domain, classifier_input)
        self.domain = domain
        self.mask_domain = mask_domain
        self.classifier_input = classifier_input
        self.n_dithered = 0

    @property
    def remark(self):
        """See :class:`Interpreter`."""
        remark = f"attribution to mask: {self.attribution_to_mask}"
        if self.domain == "mel":
            remark += f"; {STAND_IN}"
        if self.n_dithered:
            remark += (
                f"; gradients of {self.n_dithered} maps were not finite (digital "
                f"silence) and were computed with a dither of {DITHER_DB} dB"
            )
        return remark

    def check(self, classifier):
        """See :meth:`Interpreter.check`."""
        if self.domain == "mel":
            require_mel(classifier)
        super().check(classifier)
        if self.needs_gradients:
            require_gradients(classifier, type(self).__name__)
        if self.rules is not None:
            require_module_activations(classifier, self.features, self.rules)

    def attribute(self, x, target, logits):
        """Attribute the class that is explained of one clip.

        Arguments
        ---------
        x : Tensor (1, frames, bins) or (1, frames, n_mels)
            |X| or log-mel; it requires a gradient.
        target : int
            The class.
        logits : ClipLogits

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

        Returns
        -------
        Explanation
            With ``mask`` (B, frames, bins), or (B, frames, n_mels) of mel bands.
        """
        x = features.magnitude if self.domain == "stft" else decision.inputs
        maps = []
        with torch.enable_grad(), warnings.catch_warnings():
            # Captum warns of hooks, which it removes again.
            warnings.simplefilter("ignore")
            for clip, target in enumerate(decision.target.tolist()):
                here = slice(clip, clip + 1)
                logits = ClipLogits(
                    decision.classifier,
                    self.features,
                    self.domain,
                    features.stft[here],
                    wavs.shape[-1],
                )
                maps.append(self.finite_map(x[here].detach(), target, logits))
        mask = positive_over_maximum(torch.cat(maps))
        explain = self.explain_mask if self.domain == "stft" else self.explain_mel_mask
        return explain(mask, wavs, features, decision, self.mask_domain)

    def finite_map(self, x, target, logits):
        """:meth:`attribute`, with dither if the gradient is not finite.

        Raises
        ------
        DataError
            If it is not finite with dither either.
        """

        def attribute():
            return self.attribute(x.clone().requires_grad_(), target, logits).detach()

        found = attribute()
        if found.isfinite().all():
            return found
        with dithered(logits.classifier):
            found = attribute()
        if not found.isfinite().all():
            raise DataError(
                f"the gradient of {logits.classifier.name} is not finite for a clip, "
                f"even with a dither of {DITHER_DB} dB: leave the clip out, or take a "
                "method that perturbs, such as occlusion"
            )
        self.n_dithered += 1
        return found

    def backgrounds(self, x, classifier):
        """The references of clips of the frames of ``x``, in its domain."""
        samples = (x.shape[1] - 1) * self.features.hop_samples
        sounds = backgrounds(samples).to(x.device)
        if self.domain == "stft":
            return self.features(sounds).magnitude
        return classifier.inputs_of(sounds)


@contextlib.contextmanager
def dithered(classifier):
    """Set ``dither_db`` of a classifier to -100 while the block runs.

    Arguments
    ---------
    classifier : Classifier
    """
    before = classifier.dither_db
    classifier.dither_db = DITHER_DB
    try:
        yield
    finally:
        classifier.dither_db = before


class Saliency(Attribution):
    """|dS_c/dx| (Simonyan et al., *Deep Inside Convolutional Networks*, 2014)."""

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        return captum.attr.Saliency(logits).attribute(x, target)


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
        Copies that are classified at once.
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

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        deviation = self.noise_level * (x.max() - x.min()).item()
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(logits))
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
        Nodes that are classified at once.

    The others are those of :class:`Attribution`.
    """

    def __init__(self, *args, n_steps=64, batch_size=8, **settings):
        super().__init__(*args, **settings)
        require_whole("n_steps", n_steps)
        self.n_steps = n_steps
        self.batch_size = batch_size

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        return captum.attr.IntegratedGradients(logits).attribute(
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

    rules = "guided_backprop"

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        return captum.attr.GuidedBackprop(logits).attribute(x, target)


class GradCAM(Attribution):
    """The channels of a layer, weighed by their mean gradient (Selvaraju et al., 2017).

    L = ReLU(sum_k a_k A^k), a_k the mean of dS_c/dA^k over time and frequency (eq. 1,
    2). A cell stands for the frames that are nearest to its centre, and for the bins or
    mel bands of its entry along frequency.

    Arguments
    ---------
    layer : str, optional
        One of the classifier's representations, by name. By default the deepest, which
        is customary, or the next one, if the score of a clip does not depend on the
        deepest: a head that reads only the class token does not read the patches of a
        transformer's last layer.

    The others are those of :class:`Attribution`.
    """

    def __init__(self, *args, layer=None, **settings):
        super().__init__(*args, **settings)
        # Yaml reads the names of a Sequential's modules as numbers.
        self.layer = None if layer is None else str(layer)

    def check(self, classifier):
        """See :meth:`Interpreter.check`."""
        super().check(classifier)
        require_representations(classifier, type(self).__name__)
        self.layers_of(classifier.geometry)

    def layers_of(self, geometry):
        """Indices of the representations that may be used, the first choice first.

        Arguments
        ---------
        geometry : sequence of Geometry
            Of the classifier's representations.

        Raises
        ------
        SettingError
            If there is no such representation.
        """
        names = [representation.name for representation in geometry]
        if self.layer is None:
            return range(len(names))
        if self.layer not in names:
            raise SettingError(
                f"gradcam_layer is {self.layer!r}: give --gradcam_layer one of "
                f"{', '.join(names)}"
            )
        return [names.index(self.layer)]

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        decision = logits.decide(x)
        score = decision.logits[0, target]
        for place in self.layers_of(logits.classifier.geometry):
            rep = decision.representations[place]
            gradient = rep.gradient(score)  # (1, C, time, F)
            if gradient.any():
                break
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        cells = (weights * rep.values).sum(dim=1).relu()  # (1, time, F)
        cells = cells[:, self.cells_of_frames(rep, x.shape[1])]
        if self.domain == "mel":
            return cells @ rep.geometry.bands.to(cells)
        return logits.classifier.spread_over_bins(cells, rep.geometry, self.features)

    def cells_of_frames(self, rep, n_frames):
        """The cell that is nearest to each frame of the STFT, (n_frames,)."""
        samples = torch.arange(n_frames) * self.features.hop_samples
        cells = ((samples - rep.offset_samples) / rep.hop_samples).round().long()
        return cells.clamp(min=0, max=rep.values.shape[2] - 1)


class GuidedGradCAM(GradCAM):
    """GradCAM times Guided Backprop (Selvaraju et al., 2017, section 3.2).

    Not Captum's own, which stretches GradCAM's cells over the whole of the input.
    """

    rules = "guided_gradcam"

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        guided = captum.attr.GuidedBackprop(logits).attribute(x, target)
        return super().attribute(x, target, logits) * guided


class GradientShap(Attribution):
    """Expected gradients between backgrounds and x (Lundberg and Lee, 2017).

    The mean of (x - b) dS_c/dx at random points between x and random backgrounds b.

    Arguments
    ---------
    n_samples : int
        Random points; all are classified at once.
    seed : int
        Of the draws.

    The others are those of :class:`Attribution`.
    """

    def __init__(self, *args, n_samples=25, seed=0, **settings):
        super().__init__(*args, **settings)
        require_whole("shap_samples", n_samples)
        self.n_samples = n_samples
        self.seed = seed

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        with drawing_from(self.seed, x.device):
            return captum.attr.GradientShap(logits).attribute(
                x,
                baselines=self.backgrounds(x, logits.classifier),
                n_samples=self.n_samples,
                target=target,
            )


class DeepLiftShap(Attribution):
    """The mean of DeepLIFT, by its rescale rule, over the backgrounds.

    The attribution adds up to S_c(x) less the mean of S_c(b) over the backgrounds b.
    Lundberg and Lee, *A Unified Approach to Interpreting Model Predictions*, 2017, of
    Shrikumar et al., *Learning Important Features*, 2017.
    """

    rules = "deeplift_shap"

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""
        return captum.attr.DeepLiftShap(logits).attribute(
            x, baselines=self.backgrounds(x, logits.classifier), target=target
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

    needs_gradients = False

    def __init__(
        self, *args, time_segments=10, frequency_segments=4, batch_size=8, **settings
    ):
        super().__init__(*args, **settings)
        require_whole("time_segments", time_segments)
        require_whole("frequency_segments", frequency_segments)
        self.time_segments = time_segments
        self.frequency_segments = frequency_segments
        self.batch_size = batch_size

    def attribute(self, x, target, logits):
        """See :class:`Attribution`."""

        def probability(x):
            return logits.classifier.probabilities(logits(x))

        with torch.no_grad():
            return captum.attr.FeatureAblation(probability).attribute(
                x.detach(),
                target=target,
                feature_mask=self.segments(x.shape[1], logits.classifier.mel).to(
                    x.device
                ),
                perturbations_per_eval=self.batch_size,
            )

    def segments(self, n_frames, mel):
        """The segment of every frame and bin or band, (1, frames, bins or n_mels).

        Arguments
        ---------
        n_frames : int
        mel : LogMel or None
            The classifier's.
        """
        if mel is not None:
            bands = mel.bands_of_bins.cpu()
        else:
            front_end = self.features.sample_rate, self.features.n_fft, N_MELS
            bands = bands_of_bins(mel_filters(*front_end))
        rows = torch.arange(n_frames) * self.time_segments // n_frames
        columns = torch.arange(len(bands)) * self.frequency_segments // len(bands)
        if self.domain == "stft":
            # A bin belongs where the band is that covers it best.
            columns = columns[bands.argmax(dim=0)]
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


def backgrounds(n_samples, seed=0):
    """Silence, and white noise at :data:`BACKGROUND_LEVELS_DB`: (4, n_samples).

    Sounds without any event, from a fixed seed: the same for every clip.
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
