"""What every classifier and every explanation must offer to the rest of the package.

A :class:`Classifier` turns waveforms into its own inputs, and inputs into a
:class:`Decision` with :class:`Representation` s, whose positions in time and frequency
are known. An interpreter turns waveforms and a decision into an :class:`Explanation`.
Losses, metrics, sounds and figures read these types and nothing else, so a new
classifier or a new method is one file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lmac_td.errors import SettingError

ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Geometry:
    """Positions of a representation's entries; decoders are planned from them.

    Attributes
    ----------
    name : str
        Name of the layer that returns the representation.
    channels : int
    frequencies : int
        Entries along frequency; 1 for a sequence.
    hop_samples : float
        Samples of the waveform between two entries along time.
    offset_samples : float
        The sample on which entry 0 is centred.
    bands : Tensor (frequencies, n_mels), optional
        How much each entry along frequency contributes to each of the classifier's mel
        bands, where it has some; each column adds up to 1.
    """

    name: str
    channels: int
    frequencies: int
    hop_samples: float
    offset_samples: float
    bands: Tensor | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class LayerOutput:
    """A layer's output that is not already (B, channels, time, frequencies).

    Attributes
    ----------
    output : Tensor
        The tensor that the next layer takes, so that the logits depend on it.
    as_map : callable
        The linear function, such as a permutation, that gives (B, channels, time,
        frequencies).
    """

    output: Tensor
    as_map: Callable

    @property
    def values(self):
        """(B, channels, time, frequencies)."""
        return self.as_map(self.output)


@dataclass(frozen=True)
class Representation:
    """The output of one layer of a classifier for a batch of B clips.

    Attributes
    ----------
    values : Tensor (B, channels, time, frequencies)
    geometry : Geometry
    layer : LayerOutput, optional
        The output that ``values`` are a view of; None if the next layer takes
        ``values`` itself.
    """

    values: Tensor
    geometry: Geometry
    layer: LayerOutput | None = None

    def gradient(self, score):
        """d score / d values, (B, channels, time, frequencies).

        Arguments
        ---------
        score : Tensor ()
            A score of the same forward pass. Where it does not depend on the layer's
            output, the gradient is 0.
        """
        source = self.values if self.layer is None else self.layer.output
        (gradient,) = torch.autograd.grad(
            score, source, retain_graph=True, materialize_grads=True
        )
        return gradient if self.layer is None else self.layer.as_map(gradient)

    @property
    def hop_samples(self):
        """Samples of the waveform between two entries along time."""
        return self.geometry.hop_samples

    @property
    def offset_samples(self):
        """The sample on which entry 0 is centred."""
        return self.geometry.offset_samples


@dataclass(frozen=True)
class Decision:
    """A classifier's decision on a batch of B clips, and what it is based on.

    Attributes
    ----------
    logits : Tensor (B, C)
    target : Tensor (B,), int64
        The class that is explained: by default the decided one, the first index on
        ties (see :mod:`lmac_td.targets`).
    representations : tuple of Representation
        Deepest first.
    inputs : Tensor (B, ...)
        What the classifier was given.
    classifier : Classifier
        The classifier that decided. A method that must run it again (gradients,
        search) finds it here.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> network = nn.Sequential(nn.Linear(8000, 2))
    >>> classifier = ModuleClassifier(network, sample_rate=8000, labels=["a", "b"])
    >>> decision = classifier.decide(torch.zeros(3, 8000))
    >>> decision.probabilities.shape, decision.target.shape
    (torch.Size([3, 2]), torch.Size([3]))
    """

    logits: Tensor
    target: Tensor
    representations: tuple
    inputs: Tensor
    classifier: "Classifier"

    @property
    def probabilities(self):
        """(B, C), by the classifier's own activation, applied once, in float32."""
        return self.classifier.probabilities(self.logits)

    def select(self, rows):
        """The same decision for some rows, in their order; rows may repeat.

        Arguments
        ---------
        rows : Tensor (N,), int64

        Returns
        -------
        Decision
            Of N entries.
        """
        return replace(
            self,
            logits=self.logits[rows],
            target=self.target[rows],
            inputs=self.inputs[rows],
            representations=tuple(
                replace(rep, values=rep.values[rows], layer=None)
                for rep in self.representations
            ),
        )


class Classifier(nn.Module):
    """Base of every classifier that can be explained.

    A subclass sets the attributes below and implements :meth:`inputs` and :meth:`run`.
    After :meth:`freeze` it does not change: no parameter takes a gradient, and
    ``train()`` leaves it in evaluation mode, so the statistics of BatchNorm are fixed.
    Gradients still flow through it to the waveform.

    Attributes
    ----------
    name : str
        Used in messages.
    sample_rate : int
        Hz.
    labels : tuple of str
        Names of the C classes.
    activation : str
        ``softmax`` (one class a clip) or ``sigmoid`` (tags).
    threshold : float
        For sigmoids: a tag is decided if its probability is at least this.
    geometry : tuple of Geometry
        One for each representation, deepest first.
    spectrogram : SpectralFeatures or None
        The STFT, if the inputs are a function of its magnitude.
    mel : LogMel or None
        The mel filters, if the inputs are log(1 + mel).
    differentiable : bool
        Whether gradients reach the waveform; False for a black box.
    batch_limit : int or None
        The most clips that :meth:`classify` gives the network at once; None for any.
    dither_db : float or None
        Level of the seeded white noise, dB of full scale, that is added to every sound
        before the network takes it. It is needed if gradients at digital silence are
        not finite.
    """

    name = "the classifier"
    activation = "softmax"
    threshold = 0.5
    geometry = ()
    differentiable = True
    batch_limit = None
    dither_db = None

    def __init__(self):
        super().__init__()
        self.frozen = False
        # Not attributes of the class: they would hide modules of the same names.
        self.spectrogram = None
        self.mel = None

    @property
    def n_classes(self):
        """C."""
        return len(self.labels)

    # What an adapter implements.

    def inputs(self, wavs):
        """Waveforms (B, T) to what the network takes, (B, ...).

        It is differentiable and deterministic, computes each clip independently, and
        has a fixed rule for the length.
        """
        raise NotImplementedError

    def inputs_of_spectrogram(self, magnitude):
        """|STFT| (B, frames, bins) of ``self.spectrogram`` to what the network takes.

        Raises
        ------
        SettingError
            If the inputs are not a function of |STFT|.
        """
        raise SettingError(
            f"{self.name} takes waveforms, not spectrograms: give "
            "--classifier_input audio, or another classifier"
        )

    def run(self, inputs):
        """Inputs (B, ...) to logits (B, C) and the values of the representations.

        Returns
        -------
        logits : Tensor (B, C)
        values : tuple of Tensor (B, channels, time, frequencies), or of LayerOutput
            In the order of ``geometry``.
        """
        raise NotImplementedError

    def spread_over_bins(self, values, geometry, features):
        """Bring the frequencies of a representation onto the bins of an STFT.

        Arguments
        ---------
        values : Tensor (..., frequencies)
        geometry : Geometry
            Of the representation.
        features : SpectralFeatures
            The STFT.

        Returns
        -------
        Tensor (..., bins)
            A bin follows the mel bands around it, where the classifier has some; by
            default the entries share the bins evenly, in order.
        """
        if self.mel is not None and geometry.bands is not None:
            return values @ geometry.bands.to(values) @ self.mel.bands_of_bins
        return values @ even_shares(geometry.frequencies, features.n_bins).to(values)

    def load(self, source, download_folder):
        """Load trained weights; adapters that are built with weights do nothing.

        Arguments
        ---------
        source : str or Path
            The setting ``pretrained_classifier``.
        download_folder : str or Path
            Where downloads are kept.
        """

    def stages(self):
        """Groups of layers from the logits to the input, for cascading randomisation.

        Returns
        -------
        dict of str to list of nn.Module
            Every parameter is in one group. By default the groups are the modules of
            the first level that has several, the last one first, then the parameters
            beside them, such as position embeddings.
        """
        name, parent = "network", self
        while True:
            own = list(parent.parameters(recurse=False))
            children = {
                name: child
                for name, child in parent.named_children()
                if any(True for _ in child.parameters())
            }
            if own or len(children) != 1:
                break
            ((name, parent),) = children.items()
        if own and not children:
            return {name: [parent]}
        stages = {name: [children[name]] for name in reversed(children)}
        return stages | ({"parameters": [nn.ParameterList(own)]} if own else {})

    # What the rest of the package calls.

    @property
    def takes_spectrograms(self):
        """Whether the inputs are a function of |STFT|."""
        return self.spectrogram is not None

    def inputs_of(self, wavs=None, magnitude=None):
        """The network's inputs for sounds, in float32.

        Arguments
        ---------
        wavs : Tensor (B, T), optional
            Not needed if the classifier takes spectrograms and ``magnitude`` is given.
        magnitude : Tensor (B, frames, bins), optional
            |STFT| by ``self.spectrogram``, if it is known already, so that no signal is
            analysed twice. Used only if the classifier takes spectrograms.

        Returns
        -------
        Tensor (B, ...)
        """
        known = magnitude if self.takes_spectrograms else None
        with torch.autocast(
            (wavs if known is None else known).device.type, enabled=False
        ):
            if known is None:
                return self.inputs(self._dithered(wavs.float()))
            return self.inputs_of_spectrogram(self._floored(known.float()))

    def _dithered(self, wavs):
        if self.dither_db is None:
            return wavs
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(wavs.shape[-1], generator=generator).to(wavs)
        return wavs + 10 ** (self.dither_db / 20) * noise

    def _floored(self, magnitude):
        """Dither of a magnitude: a floor at the RMS magnitude of the noise."""
        if self.dither_db is None:
            return magnitude
        energy = self.spectrogram.window.square().sum()
        return magnitude.clamp(min=float(10 ** (self.dither_db / 20) * energy.sqrt()))

    def forward(self, inputs):
        """Decide on inputs.

        Arguments
        ---------
        inputs : Tensor (B, ...)
            Of :meth:`inputs`.

        Returns
        -------
        Decision
        """
        logits, outputs = self.run(inputs)
        representations = tuple(
            Representation(output.values, geometry, output)
            if isinstance(output, LayerOutput)
            else Representation(output, geometry)
            for output, geometry in zip(outputs, self.geometry, strict=True)
        )
        return Decision(logits, logits.argmax(dim=1), representations, inputs, self)

    def decide(self, wavs):
        """Decide on waveforms (B, T) -> Decision."""
        return self(self.inputs_of(wavs))

    def classify(self, *inputs):
        """Classify several batches, in one pass unless ``batch_limit`` says otherwise.

        Arguments
        ---------
        *inputs : Tensor
            Each (B_i, ...); the batch sizes may differ, the other sizes may not.

        Returns
        -------
        tuple of Tensor
            The logits (B_i, C) of each.
        """
        joined = torch.cat(inputs)
        parts = joined.split(self.batch_limit or len(joined))
        logits = torch.cat([self.run(part)[0] for part in parts])
        return logits.split([len(batch) for batch in inputs])

    def probabilities(self, logits):
        """Logits (..., C) to probabilities, in float32."""
        logits = logits.float()
        if self.activation == "softmax":
            return logits.softmax(dim=-1)
        return logits.sigmoid()

    def freeze(self):
        """Freeze the parameters and evaluation mode; returns the classifier."""
        self.requires_grad_(False)
        self.frozen = True
        return self.eval()

    def train(self, mode=True):
        """As ``nn.Module.train``; a frozen classifier stays in evaluation mode."""
        return super().train(mode and not self.frozen)


def even_shares(n_entries, n_bins):
    """Share bins evenly among entries along frequency, in order.

    Arguments
    ---------
    n_entries, n_bins : int

    Returns
    -------
    Tensor (n_entries, n_bins)
        1 where a bin belongs to an entry, else 0.

    Example
    -------
    >>> even_shares(2, 3)
    tensor([[1., 1., 0.],
            [0., 0., 1.]])
    """
    entries = torch.arange(n_bins) * n_entries // n_bins
    return nn.functional.one_hot(entries, n_entries).T.float()


@dataclass(frozen=True)
class Explanation:
    """An interpreter's explanation of a batch of B clips of T samples.

    Attributes
    ----------
    interpretation : Tensor (B, T)
        The sound that is kept: what a person listens to.
    residual : Tensor (B, T)
        The sound that is removed.
    kept_input, removed_input : Tensor (B, ...)
        What the classifier is given for the kept and for the removed part.
    magnitude : Tensor (B, frames, bins)
        |STFT(interpretation)|.
    mask : Tensor, the method's own shape
        In [0, 1].

    A method may return a subclass with fields of its own, for its own objective.
    """

    interpretation: Tensor
    residual: Tensor
    kept_input: Tensor
    removed_input: Tensor
    magnitude: Tensor
    mask: Tensor

    @property
    def attribution(self):
        """log(1 + |STFT(interpretation)|): SPS and COMP are measured on it."""
        return self.magnitude.log1p()


@dataclass(frozen=True)
class Sources:
    """The sources of a batch of mixtures; only the oracle may use them.

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


@dataclass(frozen=True)
class ExplainedBatch:
    """One method's explanation of a batch, and the classifier's logits for it.

    Attributes
    ----------
    wavs : Tensor (B, T)
        The mixtures.
    features : Features
        Of the mixtures.
    decision : Decision
        On the mixtures.
    explanation : Explanation
    kept_logits, removed_logits : Tensor (B, C) or None
        The classifier's, for what is kept and for what is removed; None if they are
        not needed, as in the training of L2I.
    sources : Sources or None
        The sources of the mixtures, for the metrics.
    """

    wavs: Tensor
    features: object
    decision: Decision
    explanation: Explanation
    kept_logits: Tensor | None = None
    removed_logits: Tensor | None = None
    sources: Sources | None = None

    @property
    def classifier(self):
        """The classifier that is explained."""
        return self.decision.classifier
