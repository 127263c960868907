"""The families of audio classifiers in ``transformers``: AST and wav2vec2.

A family computes the inputs of its network by a differentiable function of waveforms
that equals its feature extractor. It also knows the positions of the hidden states in
time and frequency. Families whose feature extractor is not implemented here are
refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lmac_td.contracts import Geometry
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.nn.kaldi import KaldiFilterbank


class SpectrogramPatches(nn.Module):
    """AST: patches of a normalised Kaldi filterbank, as in ``ASTFeatureExtractor``.

    The network takes ``max_length`` frames. The inputs do not contain the extractor's
    padding, which :meth:`network_inputs` adds. So the length of the clip can be read
    from the inputs, and the grid of patches ends where the clip ends.

    Arguments
    ---------
    config : transformers.ASTConfig
    extractor : transformers.ASTFeatureExtractor

    Raises
    ------
    CheckpointError
        If model and extractor contradict each other.
    """

    extractor = "ASTFeatureExtractor"
    special_tokens = 2  # class and distillation

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__()
        for name in ("max_length", "num_mel_bins"):
            expected, found = getattr(config, name), getattr(extractor, name)
            if expected != found:
                raise CheckpointError(
                    f"pretrained_classifier: {name} is {expected} in its model and "
                    f"{found} in its feature extractor: save both of the same model"
                )
        self.filterbank = KaldiFilterbank(
            extractor.sampling_rate, extractor.num_mel_bins
        )
        self.max_frames = extractor.max_length
        self.clip_samples = self.filterbank.n_samples(self.max_frames)
        normalise = extractor.do_normalize
        self.mean = extractor.mean if normalise else 0.0
        self.scale = 2 * extractor.std if normalise else 1.0
        self.channels = config.hidden_size
        self.patch = config.patch_size
        self.time_stride = config.time_stride
        self.frequency_stride = config.frequency_stride
        self.n_mels = extractor.num_mel_bins
        self.frequencies = (self.n_mels - self.patch) // self.frequency_stride + 1
        self.minimum_samples = self.filterbank.frame_samples

    def forward(self, wavs: Tensor) -> Tensor:
        """Compute normalised log-mel (B, frames, n_mels) of waveforms (B, T).

        There are at most ``max_length`` frames.
        """
        wavs = wavs[:, : self.clip_samples]
        return (self.filterbank(wavs) - self.mean) / self.scale

    def network_inputs(self, inputs: Tensor) -> Tensor:
        """Pad inputs (B, frames, n_mels) to (B, max_length, n_mels).

        As in the extractor, the padding is 0 before the normalisation.
        """
        missing = self.max_frames - inputs.shape[1]
        silence = (0.0 - self.mean) / self.scale
        return nn.functional.pad(inputs, (0, 0, 0, missing), value=silence)

    def geometry(self, name: str) -> Geometry:
        """Compute the geometry of a layer's patches of ``patch`` frames and bands.

        Frame f covers ``frame_samples`` samples from sample f * hop on.
        """
        hop, frame = self.filterbank.hop_samples, self.filterbank.frame_samples
        return Geometry(
            name,
            self.channels,
            self.frequencies,
            self.time_stride * hop,
            (self.patch - 1) / 2 * hop + (frame - 1) / 2,
            bands=self._bands(),
        )

    def _bands(self) -> Tensor:
        """Share each band evenly among the patches that cover it: (F, n_mels)."""
        entries = torch.arange(self.frequencies).unsqueeze(1)
        centres = entries * self.frequency_stride + (self.patch - 1) / 2
        distance = (torch.arange(self.n_mels) - centres).abs()
        covered = distance <= (self.patch - 1) / 2
        # Bands that no patch covers belong to the nearest patch.
        nearest = distance == distance.min(dim=0, keepdim=True).values
        bands = torch.where(covered.any(dim=0), covered, nearest).float()
        return bands / bands.sum(dim=0)

    def grid(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Rearrange hidden states (B, tokens, channels) to (B, channels, time, F).

        Patches are ordered by frequency, then by time. Patches whose frames lie within
        the clip are kept, and at least the first.
        """
        patches = hidden[:, self.special_tokens :].unflatten(1, (self.frequencies, -1))
        time = max(1, (inputs.shape[1] - self.patch) // self.time_stride + 1)
        return patches.permute(0, 3, 2, 1)[:, :, :time]  # (B, C, time, frequencies)

    def layers(self, network: nn.Module) -> nn.ModuleList:
        """Return the layers whose outputs are the hidden states, first one first."""
        return network.base_model.layers

    def after_layers(self, network: nn.Module) -> list[nn.Module]:
        """Return the modules of the base model between the last layer and the head."""
        return [network.base_model.layernorm]


class WaveformSequence(nn.Module):
    """The wav2vec2 family: waveforms, as in ``Wav2Vec2FeatureExtractor``.

    Arguments
    ---------
    config : transformers.PretrainedConfig
    extractor : transformers.Wav2Vec2FeatureExtractor
    """

    extractor = "Wav2Vec2FeatureExtractor"
    frequencies = 1
    clip_samples = None  # any length

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__()
        self.normalise = extractor.do_normalize
        self.channels = config.hidden_size
        hop, field = 1, 1  # of the convolutions, in samples
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        # SEW averages some entries before its layers.
        squeeze = getattr(config, "squeeze_factor", 1)
        self.minimum_samples = field + (squeeze - 1) * hop
        self.hop_samples = squeeze * hop

    def forward(self, wavs: Tensor) -> Tensor:
        """Normalise clips (B, T) to mean 0 and variance 1, if the extractor does."""
        if not self.normalise:
            return wavs
        variance = wavs.var(dim=1, correction=0, keepdim=True)
        return (wavs - wavs.mean(dim=1, keepdim=True)) / (variance + 1e-7).sqrt()

    def network_inputs(self, inputs: Tensor) -> Tensor:
        """Return the inputs: the network takes clips of any length."""
        return inputs

    def geometry(self, name: str) -> Geometry:
        """Compute the geometry of a layer's sequence, centred on receptive fields."""
        return Geometry(
            name, self.channels, 1, self.hop_samples, (self.minimum_samples - 1) / 2
        )

    def grid(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Rearrange hidden states (B, time, channels) to (B, channels, time, 1)."""
        return hidden.transpose(1, 2).unsqueeze(3)

    def layers(self, network: nn.Module) -> nn.ModuleList:
        """Return the layers whose outputs are the hidden states, first one first."""
        encoder = network.base_model.encoder
        # SEW-D has an encoder within its encoder.
        return encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layer

    def after_layers(self, network: nn.Module) -> list[nn.Module]:
        """Return the modules of the base model between the last layer and the head."""
        encoder, config = network.base_model.encoder, network.config
        names = ["upsample"]
        if getattr(config, "do_stable_layer_norm", config.model_type in NORM_LAST):
            names.append("layer_norm")
        return [part for name, part in encoder.named_children() if name in names]


# Models with a last normalisation although their configuration does not say so.
NORM_LAST = ("wav2vec2-conformer",)
FAMILIES = {
    "audio-spectrogram-transformer": SpectrogramPatches,
    "data2vec-audio": WaveformSequence,
    "hubert": WaveformSequence,
    "sew": WaveformSequence,
    "sew-d": WaveformSequence,
    "unispeech": WaveformSequence,
    "unispeech-sat": WaveformSequence,
    "wav2vec2": WaveformSequence,
    "wav2vec2-conformer": WaveformSequence,
    "wavlm": WaveformSequence,
}
REFUSED = {
    "wav2vec2-bert": "it takes the stacked filterbanks of SeamlessM4TFeatureExtractor",
    "whisper": "it takes the log-mel spectrograms of WhisperFeatureExtractor",
}


def require_family(
    model_type: str, source: str
) -> type[SpectrogramPatches] | type[WaveformSequence]:
    """Return the family of a model.

    Arguments
    ---------
    model_type : str
        The ``model_type`` of its configuration.
    source : str
        Folder or hub id, for the message.

    Returns
    -------
    type
        One of ``FAMILIES``.

    Raises
    ------
    SettingError
        If the model belongs to no family.

    Example
    -------
    >>> require_family("whisper", "some/model")
    Traceback (most recent call last):
    lmac_td.errors.SettingError: pretrained_classifier: some/model is of the family \
whisper, which is not supported: it takes the log-mel spectrograms of \
WhisperFeatureExtractor, which is not implemented as a differentiable function; give \
a model of audio-spectrogram-transformer, data2vec-audio, hubert, sew, sew-d, \
unispeech, unispeech-sat, wav2vec2, wav2vec2-conformer, wavlm
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    reason = "it is not an audio classifier of transformers"
    if model_type in REFUSED:
        reason = (
            f"{REFUSED[model_type]}, which is not implemented as a differentiable "
            "function"
        )
    raise SettingError(
        f"pretrained_classifier: {source} is of the family {model_type}, which is not "
        f"supported: {reason}; give a model of {', '.join(FAMILIES)}"
    )


def front_end(
    config: Any, extractor: Any, source: str
) -> SpectrogramPatches | WaveformSequence:
    """Build the front end of one model.

    Arguments
    ---------
    config : transformers.PretrainedConfig
    extractor : transformers.FeatureExtractionMixin
        The feature extractor that was saved beside the model.
    source : str
        Folder or hub id, for the message.

    Raises
    ------
    SettingError
        If the family, or its extractor, is not supported.
    """
    family = require_family(config.model_type, source)
    found = type(extractor).__name__
    if found != family.extractor:
        raise SettingError(
            f"pretrained_classifier: {source} has the feature extractor {found}, which "
            f"is not supported: save a {family.extractor} beside the "
            f"{config.model_type}"
        )
    return family(config, extractor)
