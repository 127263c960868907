"""CNN14 on log-mel spectrograms, with a linear head.

CNN14 is the "Cnn14" of Kong et al., *PANNs: Large-Scale Pretrained Audio Neural
Networks for Audio Pattern Recognition* (https://arxiv.org/abs/1912.10211). State-dict
keys are those of ``speechbrain.lobes.models.Cnn14``, so checkpoints of SpeechBrain load
here. Every activation, pooling and dropout is a module that is called once in a pass,
because Guided Backprop and DeepLIFT replace the gradients of modules by hooks. With
functional activations they would silently give the plain gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from lmac_td.classifiers.front_end import check_front_end
from lmac_td.classifiers.weights import load_weights, locate
from lmac_td.contracts import ACTIVATIONS, Classifier, Geometry
from lmac_td.errors import CheckpointError, SettingError, UnreadableFileError
from lmac_td.features import LogMel, SpectralFeatures
from lmac_td.reading import read_json
from lmac_td.validation import require_choice

# The layer of each representation, and the number of poolings by two up to it.
REPRESENTATIONS = {
    "conv_block6": 5,
    "conv_block5": 5,
    "conv_block4": 4,
    "conv_block3": 3,
}
WEIGHTS = "model.safetensors"
LABELS = "labels.json"

_NORMS = {
    "bn": lambda channels: nn.BatchNorm2d(channels),
    "in": lambda channels: nn.InstanceNorm2d(
        channels, affine=True, track_running_stats=True
    ),
    "ln": lambda channels: nn.GroupNorm(1, channels),
}


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with normalisation and ReLU, then average pooling.

    Arguments
    ---------
    in_channels : int
        Channels of the input.
    out_channels : int
        Channels of the output.
    norm_type : str
        ``bn``, ``in`` or ``ln``.
    pool_size : int
        Size of the average pooling of both axes; an odd last row or column is dropped.

    Example
    -------
    >>> ConvBlock(2, 4, "bn")(torch.rand(3, 2, 9, 8)).shape
    torch.Size([3, 4, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_type: str = "bn",
        pool_size: int = 2,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = _NORMS[norm_type](out_channels)
        self.norm2 = _NORMS[norm_type](out_channels)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.pool = nn.AvgPool2d(pool_size) if pool_size > 1 else nn.Identity()
        self.initialise()

    def initialise(self) -> None:
        """Draw new weights for both convolutions."""
        nn.init.xavier_uniform_(self.conv1.weight)
        nn.init.xavier_uniform_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, t, mel) to (B, out_channels, t // pool, mel // pool)."""
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        return self.pool(x)


class MaxPlusMean(nn.Module):
    """Maximum plus mean over time, as one module, because DeepLIFT needs a module.

    Example
    -------
    >>> MaxPlusMean()(torch.tensor([[[1.0, 3.0, 2.0]]]))
    tensor([[5.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, t) to (B, C); only one frame has the gradient of the maximum."""
        return x.max(dim=2).values + x.mean(dim=2)


class Cnn14(nn.Module):
    """CNN14 of any width, with the representations that interpreters decode.

    Arguments
    ---------
    mel_bins : int
        Mel bands of the input; at least 32, because they are halved five times.
    emb_dim : int
        Size of the embedding, and channels of the sixth block.
    channels : sequence of int
        Channels of the first five blocks.
    norm_type : str
        ``bn`` (batch), ``in`` (instance) or ``ln`` (layer, as one group).
    return_reps : bool
        Whether to return the representations, too.
    dropout : float
        Dropout probability after each block, in training only.

    Raises
    ------
    SettingError
        If ``mel_bins``, ``channels`` or ``norm_type`` has a value that cannot work.

    Example
    -------
    >>> net = Cnn14(mel_bins=64, emb_dim=32, channels=(4, 4, 8, 8, 16)).eval()
    >>> embedding, reps = net(torch.rand(2, 100, 64))
    >>> embedding.shape
    torch.Size([2, 32])
    >>> [tuple(rep.shape) for rep in reps]
    [(2, 32, 3, 2), (2, 16, 3, 2), (2, 8, 6, 4), (2, 8, 12, 8)]
    """

    def __init__(
        self,
        mel_bins: int,
        emb_dim: int,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        norm_type: str = "bn",
        return_reps: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        require_choice("norm_type", norm_type, tuple(_NORMS))
        if len(channels) != 5:
            raise SettingError(
                f"cnn14_channels has {len(channels)} widths, but CNN14 has five blocks "
                "before the last: give --cnn14_channels five widths"
            )
        if mel_bins < 32:
            raise SettingError(
                f"n_mels is {mel_bins}, but CNN14 halves the mel bands five times: "
                "give --n_mels at least 32"
            )
        self.return_reps = return_reps
        self.norm0 = _NORMS[norm_type](mel_bins)
        widths = (1, *channels, emb_dim)
        for block in range(1, 7):
            pool_size = 2 if block < 6 else 1
            layer = ConvBlock(widths[block - 1], widths[block], norm_type, pool_size)
            self.add_module(f"conv_block{block}", layer)
            self.add_module(f"dropout{block}", nn.Dropout(dropout))
        self.max_plus_mean = MaxPlusMean()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """Embed log-mel spectrograms.

        Arguments
        ---------
        x : Tensor (B, t, mel_bins)
            Log-mel spectrograms of t STFT frames.

        Returns
        -------
        embedding : Tensor (B, emb_dim)
            Maximum plus mean over time of the mean over frequency.
        reps : tuple of Tensor
            Only with ``return_reps``, deepest first: blocks 6 and 5
            (B, C, t // 32, mel // 32), block 4 (B, C, t // 16, mel // 16) and
            block 3 (B, C, t // 8, mel // 8).
        """
        # Five poolings need 32 frames: shorter inputs are padded with silence.
        x = nn.functional.pad(x, (0, 0, 0, max(0, 32 - x.shape[1])))
        x = self.norm0(x.transpose(1, 2).unsqueeze(-1))  # (B, mel, t, 1)
        x = x.transpose(1, 3)  # (B, 1, t, mel)
        outputs = []
        for block in range(1, 7):
            outputs.append(self.get_submodule(f"conv_block{block}")(x))
            x = self.get_submodule(f"dropout{block}")(outputs[-1])
        x = x.mean(dim=3)  # (B, emb_dim, t // 32)
        embedding = self.max_plus_mean(x)
        if not self.return_reps:
            return embedding
        return embedding, tuple(reversed(outputs[2:]))


def widths_of_shapes(
    shapes: Mapping[str, Sequence[int]], path: str | Path
) -> dict[str, Any]:
    """Read the widths of a CNN14 from the shapes of its weights.

    Arguments
    ---------
    shapes : mapping of str to sequence of int
        By the keys of :meth:`Cnn14Classifier.trained_modules`.
    path : str or Path
        Where they are from, for the message.

    Returns
    -------
    dict of str to object
        ``cnn14_channels``, ``emb_dim``, ``n_mels`` and ``out_n_neurons``.

    Raises
    ------
    CheckpointError
        If they are not those of a CNN14.
    """
    try:
        blocks = [
            shapes[f"embedding_model.conv_block{n}.conv1.weight"][0]
            for n in range(1, 7)
        ]
        n_mels = shapes["embedding_model.norm0.weight"][0]
        n_classes = shapes["classifier.weight"][0]
    except KeyError as error:
        raise CheckpointError(
            f"{path} does not hold the weights of a CNN14 ({error}): give a folder "
            "that train_classifier.py wrote, or SpeechBrain's embedding_model.ckpt and "
            "classifier.ckpt"
        ) from error
    return {
        "cnn14_channels": blocks[:5],
        "emb_dim": blocks[5],
        "n_mels": n_mels,
        "out_n_neurons": n_classes,
    }


class Cnn14Classifier(Classifier):
    """CNN14 and its linear head, on log(1 + mel) of the STFT.

    Arguments
    ---------
    features : SpectralFeatures
        The STFT.
    n_mels : int
        Mel bands.
    channels : sequence of int
        Widths of CNN14's first five blocks.
    emb_dim : int
        Width of its sixth block.
    n_classes : int
        Number of classes C.
    labels : sequence of str, optional
        Names of the classes; numbers by default. :meth:`load` reads the names that the
        training saved beside the weights.
    revision : str, optional
        The commit, tag or branch that :meth:`load` takes from a hub id.
    activation : str
        ``softmax`` (one class per clip) or ``sigmoid`` (tags).
    threshold : float
        For sigmoids: a tag is present if its probability is at least this.

    Raises
    ------
    SettingError
        If ``activation`` is neither.

    Example
    -------
    >>> from lmac_td.features import SpectralFeatures
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> classifier = Cnn14Classifier(
    ...     features, n_mels=80, channels=(2, 4, 4, 8, 8), emb_dim=8, n_classes=10
    ... ).freeze()
    >>> decision = classifier.decide(torch.randn(2, 16000))
    >>> decision.logits.shape, decision.representations[0].values.shape
    (torch.Size([2, 10]), torch.Size([2, 8, 2, 2]))
    """

    name = "CNN14"

    def __init__(
        self,
        features: SpectralFeatures,
        n_mels: int,
        channels: Sequence[int],
        emb_dim: int,
        n_classes: int,
        labels: Sequence[str] | None = None,
        revision: str | None = None,
        activation: str = "softmax",
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        require_choice("activation", activation, ACTIVATIONS)
        self.revision = revision
        self.activation = activation
        self.threshold = threshold
        self.embedding_model = Cnn14(n_mels, emb_dim, channels)
        self.classifier = nn.Linear(emb_dim, n_classes)
        self.spectrogram = features
        self.mel = LogMel(features.sample_rate, features.n_fft, n_mels)
        self.sample_rate = features.sample_rate
        self.labels = tuple(labels or map(str, range(n_classes)))
        widths = (*channels, emb_dim)
        self.geometry = tuple(
            self._geometry(layer, widths[int(layer[-1]) - 1], poolings)
            for layer, poolings in REPRESENTATIONS.items()
        )

    def _geometry(self, layer: str, channels: int, poolings: int) -> Geometry:
        """Compute a layer's geometry: entry j is the average of 2^poolings frames."""
        span = 2**poolings
        n_mels = self.mel.n_mels
        # Pooling drops the last bands if they do not fill an entry. Here they belong to
        # the last entry.
        entries = (torch.arange(n_mels) // span).clamp(max=n_mels // span - 1)
        bands = nn.functional.one_hot(entries).T.float()  # (frequencies, n_mels)
        return Geometry(
            layer,
            channels,
            n_mels // span,
            span * self.spectrogram.hop_samples,
            (span - 1) / 2 * self.spectrogram.hop_samples,
            bands=bands,
        )

    def inputs(self, wavs: Tensor) -> Tensor:
        """Compute log-mel (B, frames, n_mels) of waveforms (B, T)."""
        return self.inputs_of_spectrogram(self.spectrogram(wavs).magnitude)

    def inputs_of_spectrogram(self, magnitude: Tensor) -> Tensor:
        """Compute log-mel (B, frames, n_mels) of |STFT| (B, frames, bins)."""
        return self.mel(magnitude)

    def run(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute logits and blocks 6, 5, 4 and 3 of log-mel; see :class:`Cnn14`."""
        embedding, representations = self.embedding_model(inputs)
        return self.classifier(embedding), representations

    def load(self, source: str | Path, download_folder: str | Path) -> None:
        """Load the weights, and the names of the classes that stand beside them.

        Arguments
        ---------
        source : str or Path
            A folder with ``model.safetensors``; or a folder, an address or a Hugging
            Face hub id with the two ``.ckpt`` files, see
            :func:`lmac_td.classifiers.weights.locate`.
        download_folder : str or Path

        Raises
        ------
        CheckpointError
            If a file is missing, cannot be downloaded, is corrupt, or belongs to a
            model of other widths or with another front end.
        """
        if source is not None:
            others = {"activation": self.activation}
            check_front_end(source, self.spectrogram, others)
        if source is not None and (Path(source) / WEIGHTS).is_file():
            load_weights(self.trained_modules(), Path(source) / WEIGHTS, source)
        else:
            for name, module in self.trained_modules().items():
                path = locate(f"{name}.ckpt", source, download_folder, self.revision)
                load_weights(module, path, source)
        labels = Path(source) / LABELS
        if labels.is_file():
            self.labels = self._read_labels(labels)

    def trained_modules(self) -> nn.ModuleDict:
        """Return what is trained, by the prefixes of the keys of its weights."""
        return nn.ModuleDict(
            {"embedding_model": self.embedding_model, "classifier": self.classifier}
        )

    def _read_labels(self, path: Path) -> tuple[str, ...]:
        try:
            labels = read_json(path, list)
        except UnreadableFileError:
            labels = [None]
        if (
            not all(isinstance(name, str) for name in labels)
            or len(labels) != self.n_classes
        ):
            raise CheckpointError(
                f"{path} is not a list of {self.n_classes} names: write the class "
                "names into it, or delete it to use numbers as names"
            )
        return tuple(labels)

    def stages(self) -> dict[str, list[nn.Module]]:
        """Return the head, then the blocks from the sixth to the first.

        The normalisation of the input belongs to the first block, so the stages hold
        all parameters.
        """
        net = self.embedding_model
        blocks = {
            f"conv_block{block}": [net.get_submodule(f"conv_block{block}")]
            for block in range(6, 0, -1)
        }
        blocks["conv_block1"].append(net.norm0)
        return {"logits": [self.classifier], **blocks}
