"""Tiny Hugging Face models of random weights, and how to save them."""

import torch
import transformers

from lmac_td.classifiers.huggingface_families import (
    FAMILIES,
)

AST = "audio-spectrogram-transformer"


WIDTHS = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_labels": 5,
    "id2label": {0: "dog", 1: "rain", 2: "sea", 3: "baby", 4: "clock"},
}


CONVOLUTIONS = {
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}


OF_ONE_FAMILY = {
    AST: {"max_length": 128, "num_mel_bins": 64, "hidden_dropout_prob": 0.1},
    "data2vec-audio": {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
    "sew": {"conv_dim": [16] * 13, "feature_layer_norm_eps": 1e-5},
    "sew-d": {"conv_dim": [16] * 13, "feature_layer_norm_eps": 1e-5},
}


# Both kinds of normalisation, the weighted sum of layers, several tags.
VARIANTS = {
    "wav2vec2-large": ("wav2vec2", {"do_stable_layer_norm": True}),
    "wav2vec2-layer": ("wav2vec2", {"feat_extract_norm": "layer"}),
    "wavlm-weighted": ("wavlm", {"use_weighted_layer_sum": True}),
    "hubert-tags": ("hubert", {"problem_type": "multi_label_classification"}),
    "ast-tags": (AST, {"problem_type": "multi_label_classification"}),
}


KINDS = [*FAMILIES, *VARIANTS]


def config_of(kind, **more):
    family, special = VARIANTS.get(kind, (kind, {}))
    settings = WIDTHS | {"num_hidden_layers": 3}
    if family != AST:
        settings |= CONVOLUTIONS
    settings |= OF_ONE_FAMILY.get(family, {}) | special | more
    return transformers.AutoConfig.for_model(family, **settings)


def extractor_of(config, **more):
    if config.model_type == AST:
        return transformers.ASTFeatureExtractor(
            max_length=config.max_length, num_mel_bins=config.num_mel_bins, **more
        )
    # Those whose convolutions are normalised by layers have a mask of ones.
    mask = getattr(config, "feat_extract_norm", "group") == "layer"
    return transformers.Wav2Vec2FeatureExtractor(return_attention_mask=mask, **more)


def network_of(config, seed=0):
    """With weights that are large enough for logits that differ from clip to clip."""
    with torch.random.fork_rng(devices=[]):
        network = transformers.AutoModelForAudioClassification.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.1 * noise)
    return network.eval()


def save(folder, config, **of_extractor):
    network_of(config).save_pretrained(folder)
    extractor_of(config, **of_extractor).save_pretrained(folder)
    return folder


def clips(n_clips=2, n_samples=8000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-2, -0.5, n_clips).unsqueeze(1)
    return scale * torch.randn(n_clips, n_samples, generator=generator)
