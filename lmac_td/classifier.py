"""The classifier that is to be explained: CNN14, and the frozen pair around it.

CNN14 is the "Cnn14" of Kong et al., *PANNs: Large-Scale Pretrained Audio Neural
Networks for Audio Pattern Recognition* (https://arxiv.org/abs/1912.10211), with the
state-dict keys of ``speechbrain.lobes.models.Cnn14``, so that checkpoints trained
there load here. Every activation, pooling and dropout is a module that is used once
a pass: Guided Backprop and DeepLIFT replace the gradient of modules by hooks, and
on functional activations they silently become the plain gradient.
"""

import http.client
import os
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.errors
import torch
import torch.nn as nn
from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.fetching import fetch

from lmac_td.errors import CheckpointError, SettingError

_NORMS = {
    "bn": lambda channels: nn.BatchNorm2d(channels),
    "in": lambda channels: nn.InstanceNorm2d(
        channels, affine=True, track_running_stats=True
    ),
    "ln": lambda channels: nn.GroupNorm(1, channels),
}


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each normalised and rectified, then average pooling.

    Arguments
    ---------
    in_channels : int
        Channels of the input.
    out_channels : int
        Channels of the output.
    norm_type : str
        ``bn``, ``in`` or ``ln``.
    pool_size : int
        Average pooling of both axes; an odd last row or column is dropped.

    Example
    -------
    >>> ConvBlock(2, 4, "bn")(torch.rand(3, 2, 9, 8)).shape
    torch.Size([3, 4, 4, 4])
    """

    def __init__(self, in_channels, out_channels, norm_type="bn", pool_size=2):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = _NORMS[norm_type](out_channels)
        self.norm2 = _NORMS[norm_type](out_channels)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.pool = nn.AvgPool2d(pool_size) if pool_size > 1 else nn.Identity()
        nn.init.xavier_uniform_(self.conv1.weight)
        nn.init.xavier_uniform_(self.conv2.weight)

    def forward(self, x):
        """Map (B, in_channels, t, mel) to (B, out_channels, t // pool, mel // pool)."""
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        return self.pool(x)


class MaxPlusMean(nn.Module):
    """Max plus mean over the last axis, as one module: DeepLIFT has rules for modules.

    Example
    -------
    >>> MaxPlusMean()(torch.tensor([[[1.0, 3.0, 2.0]]]))
    tensor([[5.]])
    """

    def forward(self, x):
        """Map (B, C, t) to (B, C); the gradient of the maximum goes to one frame."""
        return x.max(dim=2).values + x.mean(dim=2)


class Cnn14(nn.Module):
    """CNN14 of any width, with the representations that interpreters decode.

    Arguments
    ---------
    mel_bins : int
        Mel bands of the input (at least 32: they are halved five times).
    emb_dim : int
        Size of the embedding, the channels of the sixth block.
    channels : sequence of int
        Channels of the first five blocks.
    norm_type : str
        ``bn`` (batch), ``in`` (instance) or ``ln`` (layer, as one group).
    return_reps : bool
        Whether to return the representations beside the embedding.
    dropout : float
        Probability of dropout after each block, in training only.

    Raises
    ------
    ValueError
        If a width or the normalisation cannot be built.

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
        mel_bins,
        emb_dim,
        channels=(64, 128, 256, 512, 1024),
        norm_type="bn",
        return_reps=True,
        dropout=0.2,
    ):
        super().__init__()
        if norm_type not in _NORMS:
            raise SettingError(f"norm_type: {norm_type!r} is none of {sorted(_NORMS)}")
        if len(channels) != 5:
            raise SettingError(f"channels: CNN14 has five widths, not {len(channels)}")
        if mel_bins < 32:
            raise SettingError(
                f"mel_bins: CNN14 halves them five times, {mel_bins} < 32"
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

    def forward(self, x):
        """Embed log-mel spectrograms.

        Arguments
        ---------
        x : torch.Tensor
            (B, t, mel_bins) log-mel spectrograms of t STFT frames.

        Returns
        -------
        embedding : torch.Tensor
            (B, emb_dim), max plus mean over time of the mean over frequency.
        reps : tuple of torch.Tensor
            Only with ``return_reps``, deepest first: blocks 6 and 5
            (B, C, t // 32, mel // 32), block 4 (B, C, t // 16, mel // 16) and
            block 3 (B, C, t // 8, mel // 8).

        """
        # Five poolings need 32 frames: what is shorter is followed by silence.
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


@dataclass
class Decision:
    """What the classifier decided on a batch, and what it decided it from.

    Arguments
    ---------
    logits : torch.Tensor
        (B, C), before the softmax.
    predicted : torch.Tensor
        (B,) int64, the decided class: the first index on ties.
    representations : tuple of torch.Tensor
        Four tensors (B, C, time, mel), deepest first (see :class:`Cnn14`).

    Example
    -------
    >>> Decision(torch.zeros(1, 4), torch.tensor([0]), ()).probabilities
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    logits: torch.Tensor
    predicted: torch.Tensor
    representations: tuple

    @property
    def probabilities(self):
        """(B, C) softmax of the logits, once."""
        return self.logits.float().softmax(dim=1)


class FrozenClassifier(nn.Module):
    """An embedding model and its head that nothing can change any more.

    Parameters take no gradient and the pair stays in ``eval()`` whatever ``train()``
    is called with, so BatchNorm statistics stand still. Gradients still flow
    *through* it to its input: this is how an interpreter learns.

    Arguments
    ---------
    embedding_model : torch.nn.Module
        Maps log-mel (B, t, mel) to (embedding (B, emb_dim), representations).
    classifier : torch.nn.Module
        Maps (B, emb_dim) to logits (B, C); SpeechBrain's heads return (B, 1, C),
        which is accepted as well.

    Example
    -------
    >>> net = Cnn14(mel_bins=32, emb_dim=8, channels=(4, 4, 4, 4, 4))
    >>> frozen = FrozenClassifier(net, nn.Linear(8, 10)).train()
    >>> frozen.training, any(p.requires_grad for p in frozen.parameters())
    (False, False)
    >>> decision = frozen(torch.rand(2, 64, 32))
    >>> decision.logits.shape, decision.predicted.shape
    (torch.Size([2, 10]), torch.Size([2]))
    """

    def __init__(self, embedding_model, classifier):
        super().__init__()
        self.embedding_model = embedding_model
        self.classifier = classifier
        self.requires_grad_(False)
        self.eval()

    def train(self, mode=True):
        """Stay in evaluation mode: the mode asked for is ignored on purpose."""
        return super().train(False)

    def _logits(self, log_mel):
        embedding, representations = self.embedding_model(log_mel)
        return self.classifier(embedding).flatten(start_dim=1), representations

    def forward(self, log_mel):
        """Decide.

        Arguments
        ---------
        log_mel : torch.Tensor
            (B, t, mel) log-mel spectrograms.

        Returns
        -------
        Decision
            Logits, decided classes and representations.
        """
        logits, representations = self._logits(log_mel)
        return Decision(logits, logits.argmax(dim=1), representations)

    def classify(self, *log_mels):
        """Classify several batches in one pass.

        Arguments
        ---------
        *log_mels : torch.Tensor
            Each (B_i, t, mel); the batch sizes may differ, t and mel may not.

        Returns
        -------
        tuple of torch.Tensor
            The logits (B_i, C) of each.
        """
        logits, _ = self._logits(torch.cat(log_mels))
        return logits.split([len(log_mel) for log_mel in log_mels])


def load_classifier(embedding_model, classifier, source, savedir):
    """Load the two checkpoints of a trained classifier and freeze it.

    Arguments
    ---------
    embedding_model : torch.nn.Module
        Takes the weights of ``embedding_model.ckpt``.
    classifier : torch.nn.Module
        Takes the weights of ``classifier.ckpt``.
    source : str or Path
        A folder that holds both files, an ``http(s)://`` address below which they
        stand, or a Hugging Face hub id. A folder that exists wins over a hub id.
    savedir : str or Path
        Where downloads are kept, one folder a source; a local source is read in
        place.

    Returns
    -------
    FrozenClassifier

    Raises
    ------
    CheckpointError
        If a file is missing, cannot be fetched, is corrupt or belongs to a model
        of other widths.
    """
    for name, module in (
        ("embedding_model", embedding_model),
        ("classifier", classifier),
    ):
        path = _locate(f"{name}.ckpt", source, savedir)
        _load_weights(module, path, source)
    return FrozenClassifier(embedding_model, classifier)


def _locate(filename, source, savedir):
    """Return the local path of one checkpoint, downloading it if needed."""
    source = str(source)
    if Path(source).is_dir():
        path = Path(source) / filename
        if not path.is_file():
            raise _no_classifier(path)
        return path
    if not source.startswith(("http://", "https://")) and source.count("/") > 1:
        raise _no_classifier(source)  # a hub id has one slash at most
    # One folder a source: a file kept for another source is never mistaken for it.
    folder = Path(savedir) / re.sub(r"[^\w.-]+", "_", source.rstrip("/"))
    path = folder / filename
    if not path.is_file():
        run_on_main(_download, args=[filename, source.rstrip("/"), path])
    return path


def _no_classifier(path):
    return CheckpointError(
        f"{path} does not exist: give pretrained_classifier a folder that holds "
        "embedding_model.ckpt and classifier.ckpt, or train one with `python "
        "recipes/ESC50/train_classifier.py hparams/cnn14.yaml` (or cnn14_small.yaml)"
    )


def _download(filename, source, path):
    """Fetch a checkpoint under another name, and give it its own once it is whole."""
    partial = path.with_name(f"{filename}.partial")
    partial.unlink(missing_ok=True)
    try:
        fetch(filename, source, path.parent, save_filename=partial.name)
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
        huggingface_hub.errors.HTTPError,
    ) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"pretrained_classifier: {filename} could not be fetched from {source} "
            f"({type(error.__cause__ or error).__name__}); check the name and the "
            "network, or give a local folder that holds it"
        ) from error
    os.replace(partial, path)


def _load_weights(module, path, source):
    """Load one state dict strictly, by the safe loader."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, ValueError) as e:
        if not Path(source).is_dir():
            path.unlink(missing_ok=True)  # so that the next run fetches it again
        raise CheckpointError(
            f"{path} is corrupt or no checkpoint of weights: fetch or train the "
            "pretrained_classifier again"
        ) from e
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, no state dict")
    difference = _first_difference(module.state_dict(), state)
    if difference:
        raise CheckpointError(
            f"{path} belongs to another model: {difference}; set cnn14_channels, "
            "emb_dim, n_mels and out_n_neurons as when pretrained_classifier was "
            "trained"
        )
    module.load_state_dict(state)


def _first_difference(expected, found):
    """Say where two state dicts part, or return None."""
    for key, tensor in expected.items():
        if key not in found:
            return f"it has no {key}"
        if found[key].shape != tensor.shape:
            return (
                f"its {key} is {tuple(found[key].shape)}, the settings ask for "
                f"{tuple(tensor.shape)}"
            )
    extra = next((key for key in found if key not in expected), None)
    return extra and f"it has {extra}, which the settings do not ask for"
