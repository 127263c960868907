"""Any PyTorch network from waveforms or spectrograms to one score per class.

Representations are the outputs of modules that are given by name. Forward hooks record
them. Their positions in time and frequency are measured on noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lmac_td.classifiers.hooks import record_outputs
from lmac_td.classifiers.labels import read_labels
from lmac_td.classifiers.layouts import Layer, on_mel_bands, read_layers, to_map
from lmac_td.classifiers.logits import logits_of_probabilities, mean_of_top_frames
from lmac_td.classifiers.probe import Probe
from lmac_td.classifiers.weights import load_weights
from lmac_td.contracts import ACTIVATIONS, Classifier, LayerOutput
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.features import LogMel, SpectralFeatures
from lmac_td.validation import require_choice, require_number

# What to do if a file of weights belongs to another network.
REMEDY = "build the network as it was trained"


class ModuleClassifier(Classifier):
    """A classifier made of any ``nn.Module``.

    Arguments
    ---------
    network : nn.Module
        Returns logits (B, C); for other outputs see ``output``, ``top_frames`` and
        ``probabilities_out``.
    sample_rate : int
        In Hz.
    labels : sequence of str, int, or str or Path
        Names of the classes, their number, or a text file with one name per line.
    representations : sequence of str, or dict of str to dict
        Names of modules, deepest first; none by default. A dictionary gives values that
        are not to be measured: ``{layout, hop_samples, offset_samples}``, see
        :class:`~lmac_td.classifiers.layouts.Layer`. By default the layout and the hop
        are measured, and entry 0 is centred on its span of one hop: on sample
        (hop - 1) / 2, or, with ``features``, on the centre of its frames (sample 0 if
        an entry is one frame).
    activation : str
        The activation for the logits: ``softmax`` (one class per clip) or ``sigmoid``
        (tags).
    threshold : float
        For sigmoids: a tag is present if its probability is at least this.
    front_end : callable, optional
        Computes the network's input. With ``features`` it takes |STFT| (B, frames,
        bins), else waveforms (B, T). None: the network takes waveforms. With a
        :class:`~lmac_td.features.LogMel`, masks of mel bands are possible, too, and
        entries along frequency share the mel bands evenly; with any other front end
        they share the bins of the STFT.
    features : SpectralFeatures, optional
        The STFT whose magnitude ``front_end`` takes.
    output : str or int, optional
        If the network returns several values: the key, attribute or index of the
        scores.
    top_frames : int, optional
        If the scores are (B, frames, C): a class's logit is the mean over this number
        of frames, those in which its score is highest.
    weights : str or Path, optional
        A state dict of the network, saved by ``torch.save`` or in safetensors.
    probabilities_out : bool
        Whether the network applies the activation itself.
    clip_samples : int, optional
        If the network takes clips of one length only: this length, in samples. Shorter
        clips are padded with silence. The hops of representations must then be given.
    dither_db : float, optional
        See :class:`~lmac_td.contracts.Classifier`; use -100 for networks whose gradient
        is not finite at digital silence.

    Raises
    ------
    SettingError
        If settings contradict each other, or the output of a module cannot be a
        representation.
    CheckpointError
        If ``weights`` is missing, damaged, or belongs to another network.

    Example
    -------
    >>> network = nn.Sequential(
    ...     nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 64, stride=32), nn.ReLU(),
    ...     nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2),
    ... )
    >>> classifier = ModuleClassifier(
    ...     network, sample_rate=8000, labels=["dog", "rain"], representations=["1"]
    ... ).freeze()
    >>> decision = classifier.decide(torch.randn(3, 8000))
    >>> decision.logits.shape, decision.representations[0].values.shape
    (torch.Size([3, 2]), torch.Size([3, 4, 249, 1]))
    >>> classifier.geometry[0].hop_samples, classifier.geometry[0].offset_samples
    (32, 15.5)
    """

    def __init__(
        self,
        network: nn.Module,
        sample_rate: int,
        labels: Sequence[str] | int | str | Path,
        representations: Sequence[str] | Mapping[str, Mapping | None] | None = (),
        activation: str = "softmax",
        threshold: float = 0.5,
        front_end: Callable[[Tensor], Tensor] | None = None,
        features: SpectralFeatures | None = None,
        output: str | int | None = None,
        top_frames: int | None = None,
        weights: str | Path | None = None,
        probabilities_out: bool = False,
        clip_samples: int | None = None,
        dither_db: float | None = None,
    ) -> None:
        super().__init__()
        _check_settings(
            network, sample_rate, activation, threshold, front_end, features, top_frames
        )
        self.name = type(network).__name__
        self.network = network
        self.sample_rate = sample_rate
        self.labels = read_labels(labels)
        self.activation = activation
        self.threshold = threshold
        self.front_end = front_end
        self.spectrogram = features
        self.mel = front_end if isinstance(front_end, LogMel) else None
        self.output = output
        self.top_frames = top_frames
        self.probabilities_out = probabilities_out
        self.clip_samples = clip_samples
        self.dither_db = dither_db
        if weights is not None:
            self._load(Path(weights), "weights")
        layers = read_layers(representations)
        self._layouts = {}
        if layers:
            self._measure(layers)

    # Inputs.

    def inputs(self, wavs: Tensor) -> Tensor:
        """Convert waveforms (B, T) to the network's inputs."""
        if self.takes_spectrograms:
            return self.inputs_of_spectrogram(self.spectrogram(wavs).magnitude)
        if self.clip_samples is not None:
            wavs = self._padded(wavs, self.clip_samples, "samples")
        return wavs if self.front_end is None else self.front_end(wavs)

    def inputs_of_spectrogram(self, magnitude: Tensor) -> Tensor:
        """Convert |STFT| (B, frames, bins) to the network's inputs."""
        if not self.takes_spectrograms:
            return super().inputs_of_spectrogram(magnitude)
        if self.clip_samples is not None:
            n_frames = self.spectrogram.n_frames(self.clip_samples)
            magnitude = self._padded(magnitude.mT, n_frames, "frames").mT
        return self.front_end(magnitude)

    def _padded(self, x: Tensor, length: int, unit: str) -> Tensor:
        missing = length - x.shape[-1]
        if missing < 0:
            raise SettingError(
                f"{self.name} takes clips of {length} {unit} (clip_samples), not of "
                f"{x.shape[-1]}: shorten the clips (signal_length_s)"
            )
        return nn.functional.pad(x, (0, missing))

    # Outputs.

    def run(self, inputs: Tensor) -> tuple[Tensor, tuple[LayerOutput, ...]]:
        """Compute logits and representations; see the base class.

        Raises
        ------
        SettingError
            If the network does not return one score per clip and class.
        """
        with record_outputs(self.network, self._layouts) as outputs:
            output = self.network(inputs)
        values = tuple(
            LayerOutput(outputs[name][0], partial(to_map, layout=layout))
            for name, layout in self._layouts.items()
        )
        return self._logits(output, len(inputs)), values

    def _logits(self, output: object, n_clips: int) -> Tensor:
        scores = self._scores(output)
        axes = 2 if self.top_frames is None else 3
        expected = f"(B, {'frames, ' if axes == 3 else ''}{self.n_classes})"
        shape = tuple(scores.shape)
        if (len(shape), shape[:1], shape[-1:]) != (axes, (n_clips,), (self.n_classes,)):
            remedy = "give as many labels as it has classes"
            if len(shape) == 3 and axes == 2:
                remedy = "if it scores frames, give top_frames"
            elif len(shape) == 2 and axes == 3:
                remedy = "if it scores clips and not frames, leave top_frames out"
            raise SettingError(
                f"{self.name} returns {shape} for {n_clips} clips, not {expected} for "
                f"its {self.n_classes} labels: {remedy}"
            )
        if self.probabilities_out:
            scores = logits_of_probabilities(scores, self.activation)
        if self.top_frames is not None:
            scores = mean_of_top_frames(scores, self.top_frames)
        return scores

    def _scores(self, output: object) -> Tensor:
        if isinstance(output, torch.Tensor):
            if self.output is None:
                return output
            # Its first entry would be the scores of the first clip.
            raise SettingError(
                f"output is {self.output!r}, but {self.name} returns one tensor "
                f"{tuple(output.shape)}: leave output out"
            )
        remedy = "give the key or index of its tensor of scores as output"
        if self.output is None:
            raise SettingError(f"{self.name} returns {_described(output)}: {remedy}")
        try:
            scores = output[self.output]
        except (KeyError, IndexError, TypeError):
            scores = getattr(output, str(self.output), None)
        if not isinstance(scores, torch.Tensor):
            raise SettingError(
                f"output is {self.output!r}, but {self.name} returns "
                f"{_described(output)}: {remedy}"
            )
        return scores

    # Weights.

    def load(self, source: str | Path | None, download_folder: str | Path) -> None:
        """Load the state dict of the network, if a file is given.

        Arguments
        ---------
        source : str or Path or None
            A file of ``torch.save`` or safetensors; None loads nothing.
        download_folder : str or Path
            Not used.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, or belongs to another network.
        """
        if source is not None:
            self._load(Path(source), "pretrained_classifier")

    def _load(self, path: Path, setting: str) -> None:
        if not path.is_file():
            raise CheckpointError(
                f"{setting}: {path} is not a file: give the state dict of {self.name}, "
                "saved by torch.save or in safetensors"
            )
        load_weights(self.network, path, path, REMEDY)

    # Representations.

    def _measure(self, layers: Sequence[Layer]) -> None:
        """Measure the geometry and the layouts of the representations."""
        probe = Probe(self, self.network, self.clip_samples)
        located = probe.locate(layers)
        self.geometry = tuple(
            geometry if self.mel is None else on_mel_bands(geometry, self.mel)
            for _, geometry in located
        )
        self._layouts = {geometry.name: layout for layout, geometry in located}


def _check_settings(
    network, sample_rate, activation, threshold, front_end, features, top_frames
):
    if not isinstance(network, nn.Module):
        raise SettingError(
            f"network is a {type(network).__name__}: give a torch.nn.Module, or use "
            "lmac_td.classifiers.black_box.BlackBoxClassifier for a function"
        )
    require_choice("activation", activation, ACTIVATIONS)
    require_number("tag_threshold", threshold, most=1)
    if features is not None and front_end is None:
        raise SettingError(
            "features is given, but no front_end: give the function from |STFT| to the "
            "network's input, such as torch.nn.Identity(), or leave features out"
        )
    if features is not None and features.sample_rate != sample_rate:
        raise SettingError(
            f"features is at {features.sample_rate} Hz, the classifier at "
            f"{sample_rate} Hz: give both the same sample_rate"
        )
    if top_frames is not None and not (isinstance(top_frames, int) and top_frames > 0):
        raise SettingError(
            f"top_frames is {top_frames!r}: give a whole number above 0, or leave it "
            "out for a network that scores clips"
        )


def _described(output: object) -> str:
    """Describe the output of a network, for a message."""
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} with {', '.join(map(repr, output))}"
    if isinstance(output, (tuple, list)):
        parts = [
            str(tuple(part.shape))
            if isinstance(part, torch.Tensor)
            else type(part).__name__
            for part in output
        ]
        return f"a {kind} of {len(parts)}: {'; '.join(parts)}"
    return f"a {kind}"
