"""The base of every classifier that can be explained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lmac_td.contracts.decision import Decision
from lmac_td.contracts.representation import (
    Geometry,
    LayerOutput,
    Representation,
    even_shares,
)
from lmac_td.errors import SettingError

if TYPE_CHECKING:
    from lmac_td.features import LogMel, SpectralFeatures

ACTIVATIONS = ("softmax", "sigmoid")


class Classifier(nn.Module):
    """Base of every classifier that can be explained.

    A subclass sets the attributes below and implements :meth:`inputs` and :meth:`run`.
    After :meth:`freeze` it does not change: no parameter takes a gradient, and
    ``train()`` leaves it in evaluation mode, so the statistics of BatchNorm stay fixed.
    Gradients still flow through it to the waveform.

    Attributes
    ----------
    name : str
        The name in messages.
    sample_rate : int
        In Hz.
    labels : tuple of str
        Names of the C classes.
    activation : str
        ``softmax`` (one class per clip) or ``sigmoid`` (tags).
    threshold : float
        For sigmoids: a tag is present if its probability is at least this.
    geometry : tuple of Geometry
        One for each representation, deepest first.
    spectrogram : SpectralFeatures or None
        The STFT, if the inputs are a function of its magnitude.
    mel : LogMel or None
        The mel filters, if the inputs are log(1 + mel).
    differentiable : bool
        Whether gradients reach the waveform; False for a black box.
    batch_limit : int or None
        The largest number of clips that the network takes at once; None for no limit.
        :meth:`classify` splits larger batches.
    clip_samples : int or None
        The largest number of samples that the network takes; None for any length.
    dither_db : float or None
        Level, in dB of full scale, of the seeded white noise that is added to every
        sound before the network takes it. It is needed if gradients at digital silence
        are not finite.
    """

    name: str = "the classifier"
    sample_rate: int
    labels: tuple[str, ...]
    activation: str = "softmax"
    threshold: float = 0.5
    geometry: tuple[Geometry, ...] = ()
    differentiable: bool = True
    batch_limit: int | None = None
    clip_samples: int | None = None
    dither_db: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        # Not attributes of the class: they would hide modules of the same names.
        self.spectrogram: SpectralFeatures | None = None
        self.mel: LogMel | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return len(self.labels)

    # Methods that an adapter implements.

    def inputs(self, wavs: Tensor) -> Tensor:
        """Convert waveforms (B, T) to the network's inputs (B, ...).

        It is differentiable and deterministic, computes each clip independently, and
        has a fixed rule for the length.
        """
        raise NotImplementedError

    def inputs_of_spectrogram(self, magnitude: Tensor) -> Tensor:
        """Convert |STFT| (B, frames, bins) of ``self.spectrogram`` to inputs (B, ...).

        Raises
        ------
        SettingError
            If the inputs are not a function of |STFT|.
        """
        raise SettingError(
            f"{self.name} takes waveforms, not spectrograms: give "
            "--classifier_input audio, or another classifier"
        )

    def run(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor | LayerOutput, ...]]:
        """Compute logits and representations of inputs (B, ...).

        Returns
        -------
        logits : Tensor (B, C)
        values : tuple of Tensor (B, channels, time, frequencies), or of LayerOutput
            In the order of ``geometry``.
        """
        raise NotImplementedError

    def spread_over_bins(
        self, values: Tensor, geometry: Geometry, features: SpectralFeatures
    ) -> Tensor:
        """Map the frequencies of a representation to the bins of an STFT.

        Arguments
        ---------
        values : Tensor (..., frequencies)
        geometry : Geometry
            The geometry of the representation.
        features : SpectralFeatures
            The STFT.

        Returns
        -------
        Tensor (..., bins)
            If the classifier has mel bands, a bin takes the weighted mean of the mel
            bands that cover it. Otherwise the entries share the bins evenly, in order.
        """
        if self.mel is not None and geometry.bands is not None:
            return values @ geometry.bands.to(values) @ self.mel.bands_of_bins
        return values @ even_shares(geometry.frequencies, features.n_bins).to(values)

    def load(self, source: str | Path | None, download_folder: str | Path) -> None:
        """Load trained weights; adapters that are built with weights do nothing.

        Arguments
        ---------
        source : str or Path
            The setting ``pretrained_classifier``.
        download_folder : str or Path
            Where downloads are kept.
        """

    def stages(self) -> dict[str, list[nn.Module]]:
        """Group the layers, from the logits to the input, for cascading randomisation.

        Returns
        -------
        dict of str to list of nn.Module
            Every parameter is in one group. By default the groups are the modules of
            the first level of the network that has more than one module, the last one
            first. The last group holds the parameters beside these modules, such as
            position embeddings.
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

    # Methods that the rest of the package calls.

    @property
    def takes_spectrograms(self) -> bool:
        """Whether the inputs are a function of |STFT|."""
        return self.spectrogram is not None

    def inputs_of(
        self, wavs: Tensor | None = None, magnitude: Tensor | None = None
    ) -> Tensor:
        """Compute the network's inputs for sounds, in float32.

        Arguments
        ---------
        wavs : Tensor (B, T), optional
            Not needed if the classifier takes spectrograms and ``magnitude`` is given.
        magnitude : Tensor (B, frames, bins), optional
            |STFT| by ``self.spectrogram``, if it is already known: no signal should be
            analysed twice. It is used only if the classifier takes spectrograms.

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

    def inputs_of_spectrum(
        self, magnitude: Tensor, resynthesise: Callable[[], Tensor]
    ) -> Tensor:
        """Compute the network's inputs for spectra, in float32.

        Spectrograms are the inputs of a classifier that takes spectrograms. For the
        others, the sound of the spectra is computed first.

        Arguments
        ---------
        magnitude : Tensor (B, frames, bins)
            |STFT| of the spectra.
        resynthesise : callable
            Returns the sound (B, T) of the spectra, such as their inverse STFT. It is
            called only if the classifier takes waveforms.

        Returns
        -------
        Tensor (B, ...)

        Example
        -------
        >>> from lmac_td.classifiers.modules import ModuleClassifier
        >>> from lmac_td.features import SpectralFeatures
        >>> stft = SpectralFeatures(8000, 256, 32, 16)
        >>> features = stft(torch.randn(2, 8000))
        >>> classifier = ModuleClassifier(nn.Linear(8000, 2), 8000, ["a", "b"])
        >>> half = 0.5 * features.stft
        >>> classifier.inputs_of_spectrum(
        ...     half.abs(), lambda: stft.istft(half, length=8000)
        ... ).shape
        torch.Size([2, 8000])
        """
        if self.takes_spectrograms:
            return self.inputs_of(magnitude=magnitude)
        return self.inputs_of(resynthesise())

    def _dithered(self, wavs: Tensor) -> Tensor:
        if self.dither_db is None:
            return wavs
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(wavs.shape[-1], generator=generator).to(wavs)
        return wavs + 10 ** (self.dither_db / 20) * noise

    def _floored(self, magnitude: Tensor) -> Tensor:
        """Dither a magnitude: a floor at the RMS magnitude of the noise."""
        if self.dither_db is None:
            return magnitude
        energy = self.spectrogram.window.square().sum()
        return magnitude.clamp(min=float(10 ** (self.dither_db / 20) * energy.sqrt()))

    def forward(self, inputs: Tensor) -> Decision:
        """Decide on inputs.

        Arguments
        ---------
        inputs : Tensor (B, ...)
            As :meth:`inputs` returns them.

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

    def decide(self, wavs: Tensor) -> Decision:
        """Decide on waveforms (B, T)."""
        return self(self.inputs_of(wavs))

    def classify(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Classify several batches in one pass, or in passes of ``batch_limit`` clips.

        Arguments
        ---------
        *inputs : Tensor
            Each (B_i, ...); the batch sizes may differ, the other sizes may not.

        Returns
        -------
        tuple of Tensor
            The logits (B_i, C) of each batch.
        """
        joined = torch.cat(inputs)
        parts = joined.split(self.batch_limit or len(joined))
        logits = torch.cat([self.run(part)[0] for part in parts])
        return logits.split([len(batch) for batch in inputs])

    def probabilities(self, logits: Tensor) -> Tensor:
        """Convert logits (..., C) to probabilities, in float32."""
        logits = logits.float()
        if self.activation == "softmax":
            return logits.softmax(dim=-1)
        return logits.sigmoid()

    def freeze(self) -> Classifier:
        """Fix the parameters and evaluation mode, and return the classifier."""
        self.requires_grad_(False)
        self.frozen = True
        return self.eval()

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode as ``nn.Module.train``; frozen, it stays in evaluation mode."""
        return super().train(mode and not self.frozen)
