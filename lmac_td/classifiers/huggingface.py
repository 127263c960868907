"""Audio classifiers of Hugging Face ``transformers``, by folder or hub id.

Supported is every ``AutoModelForAudioClassification`` whose feature extractor is
implemented here as a differentiable function of waveforms: AST and the wav2vec2 family
(see :mod:`lmac_td.classifiers.huggingface_families`). The probabilities are those of
the pipeline ``audio-classification``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lmac_td.classifiers.huggingface_families import front_end, require_family
from lmac_td.classifiers.huggingface_files import PretrainedFiles
from lmac_td.contracts import ACTIVATIONS, Classifier, Geometry, LayerOutput
from lmac_td.errors import CheckpointError, DataError, SettingError
from lmac_td.features import SpectralFeatures, bands_of_bins
from lmac_td.nn.kaldi import mel_matrix
from lmac_td.validation import require_choice, require_number

N_REPRESENTATIONS = 4
# Clips that a transformer takes at once: its attention needs much memory.
BATCH_LIMIT = 16


class HuggingFaceClassifier(Classifier):
    """A frozen classifier with the weights that ``transformers`` saved.

    Arguments
    ---------
    source : str or Path
        The setting ``pretrained_classifier``: a folder in which ``save_pretrained``
        saved a model and its feature extractor, or a Hugging Face hub id.
    representations : sequence of int or str, optional
        Layers whose outputs are decoded: their numbers from 0 or their names
        ``layers.0``, ``layers.1``... By default four layers, spread evenly over depth.
    activation : str
        ``softmax``, ``sigmoid``, or ``auto``: sigmoid if ``problem_type`` of the
        configuration is ``multi_label_classification``, as in the pipeline. The AST
        that was trained on AudioSet needs ``sigmoid``: its configuration has no
        ``problem_type``.
    threshold : float
        The setting ``tag_threshold``, for sigmoids.
    download_folder : str or Path, optional
        Where downloads are kept; by default the cache of the hub.
    revision : str, optional
        Branch, tag or commit on the hub.

    Raises
    ------
    SettingError
        If a setting has a value that cannot work, the model's family is not supported,
        or transformers is not installed.
    CheckpointError
        If files are missing or damaged, or cannot be downloaded.

    Example
    -------
    >>> import tempfile, torch
    >>> from transformers import ASTConfig, ASTFeatureExtractor
    >>> from transformers import ASTForAudioClassification
    >>> config = ASTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    ...                    intermediate_size=64, max_length=128, num_labels=3)
    >>> folder = tempfile.mkdtemp()
    >>> ASTForAudioClassification(config).save_pretrained(folder)
    >>> _ = ASTFeatureExtractor(max_length=128).save_pretrained(folder)
    >>> classifier = HuggingFaceClassifier(folder)
    >>> classifier.sample_rate, classifier.labels
    (16000, ('LABEL_0', 'LABEL_1', 'LABEL_2'))
    >>> decision = classifier.decide(torch.randn(2, 16000))
    >>> decision.probabilities.shape, decision.representations[0].values.shape
    (torch.Size([2, 3]), torch.Size([2, 32, 9, 12]))
    """

    def __init__(
        self,
        source: str | Path,
        representations: Sequence[int | str] | int | str | None = None,
        activation: str = "auto",
        threshold: float = 0.5,
        download_folder: str | Path | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        require_choice("activation", activation, ("auto", *ACTIVATIONS))
        require_number("tag_threshold", threshold, most=1.0)
        files = PretrainedFiles(source, download_folder, revision)
        config = files.read_config()
        require_family(config.model_type, files.source)
        extractor = files.read_extractor()
        self.activation = _activation(config, activation, files.source)
        self.threshold = float(threshold)
        self.sample_rate = extractor.sampling_rate
        self.labels = _labels(config, files.source)
        self.front_end = front_end(config, extractor, files.source)
        self.clip_samples = self.front_end.clip_samples
        self.layers = _chosen(representations, config.num_hidden_layers)
        self.geometry = tuple(
            self.front_end.geometry(f"layers.{layer}") for layer in self.layers
        )
        self.network = files.read_network(config)
        self.name = type(self.network).__name__
        self.batch_limit = BATCH_LIMIT
        self.freeze()

    def inputs(self, wavs: Tensor) -> Tensor:
        """Compute the features of the family's feature extractor for waveforms (B, T).

        Returns
        -------
        Tensor
            AST: normalised log-mel (B, frames, n_mels) of the frames within the clip,
            at most the first ``max_length`` frames (10.24 s for the published models).
            Later frames are not classified; :meth:`run` pads shorter clips. The
            wav2vec2 family: (B, T).

        Raises
        ------
        DataError
            If T is too short for one entry of the representations.
        """
        if wavs.shape[1] < self.front_end.minimum_samples:
            raise DataError(
                f"a clip of {wavs.shape[1]} samples is too short for {self.name}: "
                f"leave out clips of less than {self.front_end.minimum_samples} samples"
                f" at {self.sample_rate} Hz"
            )
        return self.front_end(wavs)

    def run(self, inputs: Tensor) -> tuple[Tensor, tuple[LayerOutput, ...]]:
        """Compute logits (B, C) and the outputs of the chosen layers.

        Returns
        -------
        logits : Tensor (B, C)
        values : tuple of Tensor (B, channels, time, frequencies)
            AST: the patches whose frames lie within the clip. The wav2vec2 family has
            one frequency.
        """
        outputs = self.network(
            self.front_end.network_inputs(inputs),
            output_hidden_states=True,
            return_dict=True,
        )
        # The first of the hidden states is the input of the first layer.
        grid = partial(self.front_end.grid, inputs=inputs)
        values = tuple(
            LayerOutput(outputs.hidden_states[layer + 1], grid) for layer in self.layers
        )
        return outputs.logits, values

    def spread_over_bins(
        self, values: Tensor, geometry: Geometry, features: SpectralFeatures
    ) -> Tensor:
        """Map frequencies to bins, see :meth:`lmac_td.contracts.Classifier`.

        For AST, patches are mapped to Kaldi's mel bands, and these to bins.
        """
        if geometry.bands is None:
            return super().spread_over_bins(values, geometry, features)
        n_mels = geometry.bands.shape[1]
        matrix = mel_matrix(self.sample_rate, features.n_fft, n_mels)  # (bins, n_mels)
        return values @ geometry.bands.to(values) @ bands_of_bins(matrix).to(values)

    def stages(self) -> dict[str, list[nn.Module]]:
        """Return the head, the layers from the last to the first, and the embeddings.

        Returns
        -------
        dict of str to list of nn.Module
        """
        base = self.network.base_model
        layers = list(self.front_end.layers(self.network))
        head = [part for part in self.network.children() if part is not base]
        head += self.front_end.after_layers(self.network)
        # The weights of a head that sums all layers.
        weights = list(self.network.parameters(recurse=False))
        stages = {"head": head + ([nn.ParameterList(weights)] if weights else [])}
        for number in reversed(range(len(layers))):
            stages[f"layers.{number}"] = [layers[number]]
        stages["embeddings"] = _without(base, {*head, *layers})
        return stages


def _activation(config: Any, activation: str, source: str) -> str:
    """Return ``softmax`` or ``sigmoid``; for ``auto``, the choice of the pipeline."""
    if activation == "auto":
        several = config.problem_type == "multi_label_classification"
        activation = "sigmoid" if several else "softmax"
    if config.problem_type == "regression" or (
        config.num_labels == 1 and activation == "softmax"
    ):
        raise SettingError(
            f"pretrained_classifier: {source} has {config.num_labels} outputs and "
            f"problem_type {config.problem_type}, so it does not choose a class: give "
            "--pretrained_classifier a model with classes, or, for one tag, "
            "--activation sigmoid"
        )
    return activation


def _labels(config: Any, source: str) -> tuple[str, ...]:
    """Return the names of the classes, in the order of the logits."""
    names = config.id2label
    if sorted(names) != list(range(len(names))):
        raise CheckpointError(
            f"pretrained_classifier: id2label in config.json of {source} numbers its "
            f"classes {sorted(names)}: number them from 0, without gaps"
        )
    return tuple(str(names[number]) for number in range(len(names)))


def _chosen(
    representations: Sequence[int | str] | int | str | None, n_layers: int
) -> tuple[int, ...]:
    """Return the numbers of the chosen layers, deepest first."""
    if representations is None:
        shares = range(1, N_REPRESENTATIONS + 1)
        chosen = {-(-n_layers * share // N_REPRESENTATIONS) - 1 for share in shares}
        return tuple(sorted(chosen, reverse=True))
    if isinstance(representations, (int, str)):
        representations = [representations]
    numbers = {f"layers.{number}": number for number in range(n_layers)}
    names = [f"layers.{i}" if type(i) is int else str(i) for i in representations]
    if not names or len({*names}) < len(names) or not {*names} <= {*numbers}:
        raise SettingError(
            f"representations is {list(representations)}: give --representations "
            f"different layers from 0 to {n_layers - 1}, such as [{n_layers - 1}], or "
            "null for four layers that are spread over depth"
        )
    return tuple(sorted((numbers[name] for name in names), reverse=True))


def _without(module: nn.Module, taken: set[nn.Module]) -> list[nn.Module]:
    """Return the largest modules with parameters that contain no taken module."""
    if module in taken or not any(True for _ in module.parameters()):
        return []
    if taken.isdisjoint(module.modules()):
        return [module]
    return [part for child in module.children() for part in _without(child, taken)]
