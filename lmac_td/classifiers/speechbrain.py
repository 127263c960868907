"""SpeechBrain's ``EncoderClassifier``: features, embedding and head of one folder.

``compute_features`` and ``mean_var_norm`` compute the network's inputs,
``embedding_model`` and ``classifier`` the logits, as in
``EncoderClassifier.classify_batch``, but with gradients. Examples are the ECAPA-TDNN
and x-vector models for languages, commands and speakers on the hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.nnet.pooling import StatisticsPooling
from torch import Tensor, nn

from lmac_td.classifiers.hooks import record_outputs
from lmac_td.classifiers.layouts import Layer, locate_layer, read_layers, to_map
from lmac_td.classifiers.probe import Probe
from lmac_td.classifiers.speechbrain_files import (
    check_modules,
    labels_of,
    open_encoder,
    reason,
    sample_rate_of,
)
from lmac_td.contracts import Classifier, Geometry, LayerOutput
from lmac_td.errors import SettingError
from lmac_td.validation import require_number

# The largest number of representations by default.
DEEPEST = 4


class SpeechBrainClassifier(Classifier):
    """A classifier made of a SpeechBrain ``EncoderClassifier``.

    It takes sounds at the sample rate of the model and of any length; each clip counts
    as a whole (``wav_lens`` of ones). Entry 0 of a representation is centred on the
    frames of ``compute_features`` that it covers. The first frame is assumed to be
    centred on sample 0, as in SpeechBrain's STFT by default; for other features give
    ``offset_samples``. X-vectors add random noise of 1e-5 to 9e-5 to their mean over
    time, in evaluation mode, too. Here the noise is replaced by its midpoint, so that
    two calls agree.

    Arguments
    ---------
    source : str, Path or EncoderClassifier
        A folder with ``hyperparams.yaml``, an address, a hub id, or an
        EncoderClassifier, whose modules are then used and frozen, not copied. The yaml
        of a folder is executed when it is loaded: use only folders that you trust.
    savedir : str or Path, optional
        Where downloads are kept, one folder per source; the cache of the hub by
        default. A local folder is read in place.
    representations : sequence of str, or dict of str to dict, optional
        Names of modules of ``embedding_model``, deepest first, and values that are not
        to be measured, see :func:`~lmac_td.classifiers.layouts.read_layers`. By default
        the last four of its ``blocks``, or of its children, whose output has a time
        axis. If the blocks are single layers, the normalisations are used.
    run_opts : dict, optional
        Options of SpeechBrain; by default the classifier is on the CPU, and :meth:`to`
        moves it.
    logit_scale : float
        Factor of the scores before the softmax. The cosines of a head that was trained
        with (additive) angular margin softmax need the scale of that loss, usually 30.
    trust_remote_code : bool
        Let the yaml of a source that is not on this disk run any code. Otherwise it may
        name networks of SpeechBrain and torch only.

    Raises
    ------
    CheckpointError
        If the source is missing, cannot be downloaded or cannot be loaded.
    SettingError
        If the source is not an EncoderClassifier, runs code of its own, its
        normalisation mixes clips, or the output of a module cannot be a representation.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> from speechbrain.lobes.features import Fbank
    >>> from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
    >>> from speechbrain.processing.features import InputNormalization
    >>> encoder = EncoderClassifier(
    ...     modules={
    ...         "compute_features": Fbank(n_mels=16),
    ...         "mean_var_norm": InputNormalization(norm_type="sentence"),
    ...         "embedding_model": ECAPA_TDNN(
    ...             16, lin_neurons=8, channels=[8] * 5, attention_channels=4,
    ...             res2net_scale=2, se_channels=4,
    ...         ),
    ...         "classifier": Classifier(8, lin_neurons=8, out_neurons=3),
    ...     },
    ...     hparams={"sample_rate": 16000},
    ...     run_opts={"device": "cpu"},
    ... )
    >>> classifier = SpeechBrainClassifier(encoder, logit_scale=30)
    >>> decision = classifier.decide(torch.randn(2, 16000))
    >>> decision.logits.shape, decision.representations[0].values.shape
    (torch.Size([2, 3]), torch.Size([2, 8, 101, 1]))
    >>> [geometry.name for geometry in classifier.geometry]
    ['blocks.3', 'blocks.2', 'blocks.1', 'blocks.0']
    """

    def __init__(
        self,
        source: str | Path | EncoderClassifier,
        savedir: str | Path | None = None,
        representations: Sequence[str] | Mapping[str, Mapping | None] | None = None,
        run_opts: dict[str, Any] | None = None,
        logit_scale: float = 1.0,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        require_number("logit_scale", logit_scale)
        encoder = source
        if not isinstance(source, EncoderClassifier):
            encoder = open_encoder(source, savedir, run_opts, trust_remote_code)
        check_modules(encoder, source)
        self.compute_features = encoder.mods["compute_features"]
        self.mean_var_norm = encoder.mods["mean_var_norm"]
        self.embedding_model = encoder.mods["embedding_model"]
        self.classifier = encoder.mods["classifier"]
        self.name = f"SpeechBrain's {type(self.embedding_model).__name__}"
        self.logit_scale = logit_scale
        self.sample_rate = sample_rate_of(encoder)
        self._layouts = {}
        self.freeze()
        _fix_noise(self.embedding_model)
        self.labels = labels_of(encoder, self._count_classes())
        self._measure(representations)

    # Inputs and outputs.

    def inputs(self, wavs: Tensor) -> Tensor:
        """Compute normalised features (B, frames, F) of waveforms (B, T)."""
        features = self.compute_features(wavs)
        for name in ("glob_mean", "glob_std"):  # no buffers, so `to` does not move them
            statistic = getattr(self.mean_var_norm, name, None)
            if statistic is not None and statistic.device != features.device:
                setattr(self.mean_var_norm, name, statistic.to(features.device))
        return self.mean_var_norm(features, _whole(features))

    def run(self, inputs: Tensor) -> tuple[Tensor, tuple[LayerOutput, ...]]:
        """Compute logits (B, C) and representations; see the base class.

        Raises
        ------
        SettingError
            If a module does not return one tensor with one row per clip.
        """
        with record_outputs(self.embedding_model, self._layouts) as outputs:
            embedding = self.embedding_model(inputs, _whole(inputs))
        self._require_batch("embedding_model", embedding, len(inputs))
        scores = self.classifier(embedding)
        self._require_batch("classifier", scores, len(inputs))
        scores = scores.flatten(1)  # (B, 1, C) to (B, C)
        values = tuple(
            LayerOutput(outputs[name][0], partial(to_map, layout=layout))
            for name, layout in self._layouts.items()
        )
        return scores * self.logit_scale, values

    def _require_batch(self, module: str, output: object, n_clips: int) -> None:
        """Refuse an output that is not one tensor with one row per clip.

        The output is never unpacked: a tensor of two clips would look like two values.
        """
        is_tensor = isinstance(output, torch.Tensor)
        shape = tuple(output.shape) if is_tensor else f"a {type(output).__name__}"
        if is_tensor and shape in ((n_clips, shape[-1]), (n_clips, 1, shape[-1])):
            return
        raise SettingError(
            f"{self.name}: its {module} returns {shape} for {n_clips} clips, not one "
            "tensor (clips, 1, width): wrap it in a module that does, or use "
            "lmac_td.classifiers.modules.ModuleClassifier"
        )

    def stages(self) -> dict[str, list[nn.Module]]:
        """Return the head, then the children of the embedding model, last one first."""
        stages = {"classifier": [self.classifier]}
        children = {}
        for name, child in self.embedding_model.named_children():
            if isinstance(child, torch.nn.ModuleList):
                children |= {f"{name}.{k}": c for k, c in child.named_children()}
            else:
                children[name] = child
        for name in reversed(children):
            if any(True for _ in children[name].parameters()):
                stages[name] = [children[name]]
        staged = {p for (module,) in stages.values() for p in module.parameters()}
        return stages if staged.issuperset(self.parameters()) else super().stages()

    # Measurements at construction.

    @torch.no_grad()
    def _count_classes(self) -> int:
        """Count the scores of a clip."""
        try:
            logits, _ = self.run(self.inputs(self._noise(self.sample_rate)))
        except SettingError:
            raise
        except Exception as error:
            raise SettingError(
                f"{self.name} cannot take {self.sample_rate} samples of noise "
                f"({reason(error)}): check that its modules fit together"
            ) from error
        return logits.shape[1]

    def _measure(
        self, representations: Sequence[str] | Mapping[str, Mapping | None] | None
    ) -> None:
        """Measure the geometry and the layouts of the representations."""
        if representations is None:
            representations = self._deepest_blocks()
        layers = read_layers(representations)
        if not layers:
            return
        second = self.sample_rate
        _, frames = locate_layer(
            Layer("compute_features", "time channels"),
            lambda n_samples: self.compute_features(self._noise(n_samples)).shape,
            (second, 4 * second),
            1,
        )
        located = Probe(self, self.embedding_model, None).locate(layers)
        self._layouts = {geometry.name: layout for layout, geometry in located}
        self.geometry = tuple(
            _centred_on_frames(geometry, frames.hop_samples, layer.offset_samples)
            for layer, (_, geometry) in zip(layers, located, strict=True)
        )

    @torch.no_grad()
    def _deepest_blocks(self) -> list[str]:
        """Return the names of the last blocks with a time axis, deepest first."""
        names = _block_names(self.embedding_model)
        shapes = []
        for seconds in (1, 2):
            with record_outputs(self.embedding_model, names) as outputs:
                self.run(self.inputs(self._noise(seconds * self.sample_rate)))
            shapes.append({n: _shape_of_one(calls) for n, calls in outputs.items()})
        short, long = shapes
        with_time = [n for n in names if len(short[n]) > 2 and short[n] != long[n]]
        if not with_time:
            raise SettingError(
                f"{self.name} has no blocks whose output has a time axis: name modules "
                "of its embedding_model as representations, or give "
                "--representations []"
            )
        return with_time[: -DEEPEST - 1 : -1]

    def _noise(self, n_samples: int) -> Tensor:
        """Make two clips of seeded noise."""
        generator = torch.Generator().manual_seed(0)
        device = next(self.parameters()).device
        return (0.1 * torch.randn(2, n_samples, generator=generator)).to(device)


def _centred_on_frames(
    geometry: Geometry, frame_hop: float, offset_samples: float | None
) -> Geometry:
    """Centre entry 0 on the middle of its frames; frame 0 is centred on sample 0."""
    if offset_samples is None:
        offset_samples = max(0.0, (geometry.hop_samples - frame_hop) / 2)
    return replace(geometry, offset_samples=offset_samples)


def _whole(features: Tensor) -> Tensor:
    """Return relative lengths of 1, (B,): each clip counts as a whole."""
    return torch.ones(len(features), device=features.device)


def _fix_noise(model: nn.Module) -> None:
    """Replace the random noise of statistics pooling by its midpoint."""
    for module in model.modules():
        if isinstance(module, StatisticsPooling):
            module._get_gauss_noise = partial(_constant_noise, 5 * module.eps)


def _constant_noise(level: float, shape: Any, device: Any) -> Tensor:
    return torch.full(shape, level, device=device)


def _block_names(model: nn.Module) -> list[str]:
    """Return the names of its ``blocks``; if they are layers, of its normalisations."""
    if not isinstance(getattr(model, "blocks", None), torch.nn.ModuleList):
        return [name for name, _ in model.named_children()]
    blocks = {f"blocks.{name}": block for name, block in model.blocks.named_children()}
    norms = [n for n, b in blocks.items() if type(b).__name__.startswith("BatchNorm")]
    return norms or list(blocks)


def _shape_of_one(calls: Sequence[object]) -> tuple[int, ...]:
    """Return the shape of a module's output; () unless it is one tensor of one call."""
    is_one = len(calls) == 1 and isinstance(calls[0], torch.Tensor)
    return tuple(calls[0].shape) if is_one else ()
