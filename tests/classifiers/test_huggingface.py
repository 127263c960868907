"""Classifiers of transformers: tiny models, saved and loaded as a user would."""

import fnmatch
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from hyperpyyaml import load_hyperpyyaml
from torch import nn

from lmac_td.classifiers import huggingface_files
from lmac_td.classifiers.huggingface import HuggingFaceClassifier
from lmac_td.classifiers.huggingface_families import (
    FAMILIES,
    REFUSED,
    SpectrogramPatches,
    WaveformSequence,
)
from lmac_td.errors import CheckpointError, DataError, SettingError

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


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("a test asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Saved models by kind, each built once."""
    root = tmp_path_factory.mktemp("saved")

    def folder_of(kind):
        folder = root / kind
        return folder if folder.exists() else save(folder, config_of(kind))

    return folder_of


@pytest.fixture
def copied(folders, tmp_path):
    """A saved wav2vec2 that a test may spoil."""
    return shutil.copytree(folders("wav2vec2"), tmp_path / "wav2vec2")


def clips(n_clips=2, n_samples=8000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-2, -0.5, n_clips).unsqueeze(1)
    return scale * torch.randn(n_clips, n_samples, generator=generator)


def extracted(extractor, wavs):
    """What the extractor makes of each clip alone."""
    rows = [
        extractor(
            wav.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt"
        )["input_values"][0]
        for wav in wavs
    ]
    return torch.stack(rows)


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# What the network takes.


@pytest.mark.parametrize(
    "n_samples",
    # One frame is 400 samples, 1024 frames are 164080.
    [400, 401, 559, 560, 1600, 7777, 16000, *range(164079, 164082), 164240, 200000],
)
def test_ast_features_equal_those_of_its_extractor(n_samples):
    extractor = transformers.ASTFeatureExtractor()
    front_end = SpectrogramPatches(transformers.ASTConfig(), extractor)
    wavs = clips(2, n_samples)
    features = front_end.network_inputs(front_end(wavs))
    expected = extracted(extractor, wavs)
    assert features.shape == expected.shape == (2, 1024, 128)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": -3.0, "std": 2.5},
        {"do_normalize": False},
        {"num_mel_bins": 80},
        {"max_length": 300},
        {"sampling_rate": 32000},
    ],
)
def test_ast_features_follow_the_saved_extractor(tmp_path, settings):
    transformers.ASTFeatureExtractor(**settings).save_pretrained(tmp_path)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    config = transformers.ASTConfig(
        max_length=extractor.max_length, num_mel_bins=extractor.num_mel_bins
    )
    front_end = SpectrogramPatches(config, extractor)
    wavs = clips(2, 50000)
    features = front_end.network_inputs(front_end(wavs))
    torch.testing.assert_close(
        features, extracted(extractor, wavs), rtol=0, atol=1e-5 * 9
    )


def test_ast_inputs_end_where_the_clip_ends(folders):
    classifier = HuggingFaceClassifier(folders(AST))
    assert classifier.inputs_of(clips(2, 8000)).shape == (2, 48, 64)
    assert classifier.inputs_of(clips(2, 40000)).shape == (2, 128, 64)


@pytest.mark.parametrize("n_samples", [400, 8000, 100001])
@pytest.mark.parametrize("normalise", [True, False])
def test_waveforms_equal_those_of_the_extractor(n_samples, normalise):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    front_end = WaveformSequence(config_of("wav2vec2"), extractor)
    wavs = clips(3, n_samples) + 0.1
    expected = extracted(extractor, wavs)
    torch.testing.assert_close(front_end(wavs), expected, rtol=0, atol=1e-5)


# What the network decides.


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_the_model_on_the_extractors_output(folders, kind):
    folder = folders(kind)
    network = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    wavs = clips()
    with torch.no_grad():
        expected = network(extracted(extractor, wavs)).logits
        decision = HuggingFaceClassifier(folder).decide(wavs)
    torch.testing.assert_close(decision.logits, expected, rtol=1e-4, atol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


@pytest.mark.parametrize("activation", ["auto", "softmax", "sigmoid"])
@pytest.mark.parametrize("kind", [AST, "ast-tags", "wav2vec2-layer", "hubert-tags"])
def test_probabilities_equal_the_pipeline_on_a_file(
    folders, tmp_path, kind, activation
):
    folder, path = folders(kind), tmp_path / "clip.wav"
    soundfile.write(path, clips(1, 12345)[0].numpy(), 16000, subtype="PCM_16")
    wav, sample_rate = soundfile.read(path, dtype="float32")
    pipeline = transformers.pipeline("audio-classification", str(folder))
    function = None if activation == "auto" else activation
    answers = pipeline(
        {"raw": wav, "sampling_rate": sample_rate},
        top_k=None,
        function_to_apply=function,
    )
    expected = {answer["label"]: answer["score"] for answer in answers}
    classifier = HuggingFaceClassifier(folder, activation=activation)
    assert classifier.sample_rate == sample_rate
    with torch.no_grad():
        decision = classifier.decide(torch.from_numpy(wav).unsqueeze(0))
    for label, p in zip(classifier.labels, decision.probabilities[0], strict=True):
        assert float(p) == pytest.approx(expected[label], abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_each_clip_alone_gives(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips(3)
    with torch.no_grad():
        together = classifier.decide(wavs)
        alone = [classifier.decide(wav.unsqueeze(0)) for wav in wavs]
    logits = torch.cat([decision.logits for decision in alone])
    torch.testing.assert_close(together.logits, logits, rtol=1e-4, atol=1e-4)
    for place, representation in enumerate(together.representations):
        values = [decision.representations[place].values for decision in alone]
        torch.testing.assert_close(
            representation.values, torch.cat(values), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_waveform(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips().requires_grad_()
    decision = classifier.decide(wavs)
    decision.logits[:, 0].sum().backward()
    assert wavs.grad.isfinite().all()
    assert (wavs.grad.abs().sum(dim=1) > 0).all()
    for parameter in classifier.parameters():
        assert parameter.grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_at_digital_silence(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = torch.zeros(2, 8000)
    wavs[1, :3000] = clips(1, 3000)[0]
    wavs.requires_grad_()
    classifier.decide(wavs).logits.square().sum().backward()
    assert wavs.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_calls_agree_bit_by_bit_even_after_train(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips()
    first = classifier.decide(wavs)
    second = classifier.train().decide(wavs)
    assert not any(part.training for part in classifier.network.modules())
    assert torch.equal(first.logits, second.logits)
    for one, other in zip(first.representations, second.representations, strict=True):
        assert torch.equal(one.values, other.values)


@pytest.mark.parametrize("kind", [AST, "wav2vec2", "wavlm"])
def test_autocast_leaves_the_front_end_in_float32(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decision = classifier.decide(wavs)
        decision.logits[:, 0].float().sum().backward()
    expected = classifier.decide(wavs)
    assert torch.equal(decision.inputs, expected.inputs)
    torch.testing.assert_close(
        decision.probabilities, expected.probabilities, rtol=0, atol=0.03
    )
    assert wavs.grad.isfinite().all()


def test_weights_in_half_precision_are_computed_in_float32(tmp_path):
    config = config_of("wav2vec2")
    network_of(config).half().save_pretrained(tmp_path)
    extractor_of(config).save_pretrained(tmp_path)
    classifier = HuggingFaceClassifier(tmp_path)
    assert {p.dtype for p in classifier.parameters()} == {torch.float32}


def test_weights_saved_by_torch_load_too(copied):
    expected = HuggingFaceClassifier(copied).decide(clips()).logits
    network = transformers.AutoModelForAudioClassification.from_pretrained(copied)
    (copied / "model.safetensors").unlink()
    torch.save(network.state_dict(), copied / "pytorch_model.bin")
    assert torch.equal(HuggingFaceClassifier(copied).decide(clips()).logits, expected)


def test_weights_in_several_files_load_too(copied):
    expected = HuggingFaceClassifier(copied).decide(clips()).logits
    network = transformers.AutoModelForAudioClassification.from_pretrained(copied)
    (copied / "model.safetensors").unlink()
    network.save_pretrained(copied, max_shard_size="50KB")
    assert not (copied / "model.safetensors").exists()
    assert torch.equal(HuggingFaceClassifier(copied).decide(clips()).logits, expected)


@pytest.mark.parametrize("kind", [AST, "unispeech-sat"])
def test_loading_and_deciding_leave_the_global_generators_alone(folders, kind):
    folder = folders(kind)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    HuggingFaceClassifier(folder).decide(clips())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_loading_prints_nothing_and_leaves_the_settings_of_transformers(folders, capfd):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    HuggingFaceClassifier(folders(AST))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# Labels and activation.


def test_labels_stand_in_the_order_of_the_logits(folders):
    classifier = HuggingFaceClassifier(folders("wav2vec2"))
    assert classifier.labels == ("dog", "rain", "sea", "baby", "clock")
    assert classifier.n_classes == 5


@pytest.mark.parametrize(
    ("kind", "asked", "given"),
    [
        ("wav2vec2", "auto", "softmax"),
        ("hubert-tags", "auto", "sigmoid"),
        ("wav2vec2", "sigmoid", "sigmoid"),
        ("hubert-tags", "softmax", "softmax"),
    ],
)
def test_activation_is_the_models_unless_it_is_set(folders, kind, asked, given):
    classifier = HuggingFaceClassifier(folders(kind), activation=asked, threshold=0.3)
    assert (classifier.activation, classifier.threshold) == (given, 0.3)
    decision = classifier.decide(clips())
    apply = {"softmax": lambda x: x.softmax(dim=1), "sigmoid": torch.sigmoid}[given]
    assert torch.equal(decision.probabilities, apply(decision.logits))


# Representations and their geometry.


@pytest.mark.parametrize("kind", KINDS)
def test_geometry_is_known_at_construction(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips()
    inputs = classifier.inputs_of(wavs)
    decision = classifier(inputs)
    assert len(classifier.geometry) == 3
    for geometry, representation in zip(
        classifier.geometry, decision.representations, strict=True
    ):
        b, c, time, frequencies = representation.values.shape
        assert (b, c, frequencies) == (2, geometry.channels, geometry.frequencies)
        last = geometry.offset_samples + (time - 1) * geometry.hop_samples
        assert last < wavs.shape[1] <= last + 2 * geometry.hop_samples


@pytest.mark.parametrize("kind", [AST, "wav2vec2", "sew", "sew-d", "wavlm"])
def test_representations_are_the_hidden_states_deepest_first(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    assert [g.name for g in classifier.geometry] == ["layers.2", "layers.1", "layers.0"]
    outputs = []
    for layer in classifier.front_end.layers(classifier.network):
        layer.register_forward_hook(
            lambda _, __, out: outputs.append(out[0] if type(out) is tuple else out)
        )
    decision = classifier.decide(clips())
    for representation, hidden in zip(
        decision.representations, reversed(outputs), strict=True
    ):
        _, _, time, frequencies = representation.values.shape
        for t in (0, time - 1):
            for f in (0, frequencies - 1):
                # AST: two special tokens, then all times of the lowest frequency...
                place = 2 + f * 12 + t if kind == AST else t
                assert torch.equal(representation.values[:, :, t, f], hidden[:, place])


def test_patches_are_where_the_geometry_says():
    """A patch changes with its own frames and bands and with no others."""
    config = config_of(AST)
    front_end = SpectrogramPatches(config, extractor_of(config))
    embed = network_of(config).base_model.embeddings
    geometry = front_end.geometry("layers.0")
    assert (geometry.hop_samples, geometry.offset_samples) == (1600, 1399.5)
    assert (geometry.channels, geometry.frequencies) == (32, 5)
    wavs = clips(1, 16000).requires_grad_()
    inputs = front_end(wavs)
    inputs.retain_grad()
    grid = front_end.grid(embed(front_end.network_inputs(inputs)), inputs)
    assert grid.shape == (1, 32, 9, 5)
    grid[0, :, 3, 2].square().sum().backward()
    samples = wavs.grad[0].nonzero()[:, 0]
    centre = geometry.offset_samples + 3 * geometry.hop_samples
    assert abs((samples.min() + samples.max()) / 2 - centre) <= 1
    frames, bands = inputs.grad[0].nonzero().unbind(1)
    assert (frames.min(), frames.max()) == (30, 45)
    assert (bands.min(), bands.max()) == (20, 35)
    assert geometry.bands[2].nonzero()[:, 0].tolist() == list(range(20, 36))


def test_the_published_ast_has_patches_of_101_times_and_12_frequencies():
    front_end = SpectrogramPatches(
        transformers.ASTConfig(), transformers.ASTFeatureExtractor()
    )
    geometry = front_end.geometry("layers.11")
    assert (geometry.channels, geometry.frequencies) == (768, 12)
    hidden = torch.arange(2 + 12 * 101).expand(1, 768, -1).transpose(1, 2)
    grid = front_end.grid(hidden, torch.zeros(1, 1024, 128))
    assert torch.equal(grid[0, 0].T, 2 + torch.arange(12 * 101).view(12, 101))
    assert front_end.grid(hidden, torch.zeros(1, 498, 128)).shape == (1, 768, 49, 12)


@pytest.mark.parametrize("n_mels", [64, 128, 100])
def test_patches_share_each_band(n_mels):
    config = config_of(AST, num_mel_bins=n_mels)
    bands = SpectrogramPatches(config, extractor_of(config)).geometry("x").bands
    assert bands.shape == ((n_mels - 16) // 10 + 1, n_mels)
    torch.testing.assert_close(bands.sum(dim=0), torch.ones(n_mels))
    assert bands[0, :10].tolist() == [1.0] * 10  # of the first patch alone
    assert bands[:2, 10].tolist() == [0.5, 0.5]
    assert bands[-1, -1] == 1.0  # though the last patch ends before


@pytest.mark.parametrize("n_samples", [400, 2800, 4399, 4400, 8000, 16000, 30000])
def test_patches_are_cut_where_the_clip_ends(folders, n_samples):
    classifier = HuggingFaceClassifier(folders(AST))
    values = classifier.decide(clips(1, n_samples)).representations[0].values
    # A patch has 16 frames of 400 samples, 160 apart: 2800 samples, 1600 apart.
    whole = (min(n_samples, 20720) - 2800) // 1600 + 1
    assert values.shape == (1, 32, max(1, whole), 5)


@pytest.mark.parametrize("kind", ["wav2vec2", "data2vec-audio", "sew", "wavlm"])
def test_entries_of_a_sequence_are_where_the_geometry_says(kind):
    config = config_of(kind, feat_extract_norm="layer")
    network = network_of(config)
    front_end = WaveformSequence(config, extractor_of(config))
    geometry = front_end.geometry("layers.0")
    wavs = clips(1).requires_grad_()
    features = network.base_model.feature_extractor(wavs)  # (B, channels, time)
    squeeze = getattr(config, "squeeze_factor", 1)
    entries = nn.functional.avg_pool1d(features, squeeze)
    entries[0, :, 4].square().sum().backward()
    samples = wavs.grad[0].nonzero()[:, 0]
    centre = geometry.offset_samples + 4 * geometry.hop_samples
    assert (samples.min() + samples.max()) / 2 == centre
    assert samples.max() - samples.min() + 1 == front_end.minimum_samples


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortest_clip_gives_one_entry_and_a_shorter_one_a_sentence(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    n_samples = classifier.front_end.minimum_samples
    decision = classifier.decide(clips(2, n_samples))
    assert decision.representations[0].values.shape[2] == 1
    with pytest.raises(DataError, match=rf"{n_samples - 1} samples is too short for "):
        classifier.decide(clips(2, n_samples - 1))


@pytest.mark.parametrize(
    ("n_layers", "chosen"),
    [
        (1, [0]),
        (2, [1, 0]),
        (3, [2, 1, 0]),
        (4, [3, 2, 1, 0]),
        (6, [5, 4, 2, 1]),
        (12, [11, 8, 5, 2]),
        (24, [23, 17, 11, 5]),
    ],
)
def test_four_layers_are_spread_over_depth(tmp_path, n_layers, chosen):
    save(tmp_path, config_of("wav2vec2", num_hidden_layers=n_layers))
    classifier = HuggingFaceClassifier(tmp_path)
    names = [geometry.name for geometry in classifier.geometry]
    assert names == [f"layers.{layer}" for layer in chosen]


@pytest.mark.parametrize("asked", [[0, 2], [2, 0], ["layers.2", 0], ["layers.0", 2]])
def test_layers_are_chosen_by_number_or_name_and_stand_deepest_first(folders, asked):
    classifier = HuggingFaceClassifier(folders("wav2vec2"), representations=asked)
    assert [g.name for g in classifier.geometry] == ["layers.2", "layers.0"]
    by_default = HuggingFaceClassifier(folders("wav2vec2")).decide(clips())
    deepest, _, first = by_default.representations
    chosen = classifier.decide(clips()).representations
    assert torch.equal(chosen[0].values, deepest.values)
    assert torch.equal(chosen[1].values, first.values)


def test_one_layer_needs_no_list(folders):
    for asked in (1, "layers.1"):
        classifier = HuggingFaceClassifier(folders("wav2vec2"), representations=asked)
        assert [g.name for g in classifier.geometry] == ["layers.1"]


@pytest.mark.parametrize("asked", [[], [3], [-1], ["layer1"], [0, 0], [[0]], [True]])
def test_layers_that_are_not_there_are_refused(folders, asked):
    with pytest.raises(SettingError, match=r"representations is .* from 0 to 2"):
        HuggingFaceClassifier(folders("wav2vec2"), representations=asked)


# Stages of a cascading randomisation.


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_in_exactly_one_stage(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    stages = classifier.stages()
    assert list(stages) == ["head", "layers.2", "layers.1", "layers.0", "embeddings"]
    found = [
        id(parameter)
        for modules in stages.values()
        for module in modules
        for parameter in module.parameters()
    ]
    assert sorted(found) == sorted(id(p) for p in classifier.parameters())
    assert all(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_changes_no_representation_before_it(folders, kind):
    """After the head and the last layers were changed the first layer is the same."""
    classifier = HuggingFaceClassifier(folders(kind))
    before = classifier.decide(clips())
    stages = classifier.stages()
    for name, kept in (("head", (0, 1, 2)), ("layers.2", (1, 2)), ("layers.1", (2,))):
        with torch.no_grad():
            for module in stages[name]:
                for parameter in module.parameters():
                    parameter.mul_(1.5).add_(0.1)
        after = classifier.decide(clips())
        assert not torch.equal(after.logits, before.logits)
        for place in kept:
            assert torch.equal(
                after.representations[place].values,
                before.representations[place].values,
            )


# What is refused, each in one sentence.


def sentence(source, error=CheckpointError, **settings):
    with pytest.raises(error) as caught:
        HuggingFaceClassifier(source, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("family", REFUSED)
def test_families_with_another_front_end_are_refused_before_weights(tmp_path, family):
    transformers.AutoConfig.for_model(family).save_pretrained(tmp_path)
    message = sentence(tmp_path, SettingError)
    assert f"is of the family {family}, which is not supported: it takes" in message
    assert "wav2vec2" in message


def test_a_model_that_classifies_no_audio_is_refused(tmp_path):
    transformers.BertConfig().save_pretrained(tmp_path)
    message = sentence(tmp_path, SettingError)
    assert "bert, which is not supported: it is not an audio classifier" in message


def test_every_audio_classifier_of_transformers_is_supported_or_refused():
    mapping = transformers.models.auto.modeling_auto
    names = mapping.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES
    assert {*names} == {*FAMILIES, *REFUSED}


def test_another_feature_extractor_is_refused(copied):
    transformers.WhisperFeatureExtractor().save_pretrained(copied)
    message = sentence(copied, SettingError)
    assert "WhisperFeatureExtractor, which is not supported" in message
    assert "Wav2Vec2FeatureExtractor" in message


@pytest.mark.parametrize("source", [None, ""])
def test_no_source(source):
    assert "pretrained_classifier is not set" in sentence(source, SettingError)


def test_a_folder_without_a_model(tmp_path):
    assert "has no config.json" in sentence(tmp_path)


def test_a_folder_without_a_feature_extractor(copied):
    (copied / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json" in sentence(copied)


def test_a_folder_without_weights(copied):
    (copied / "model.safetensors").unlink()
    assert "has no weights (model.safetensors or pytorch_model.bin)" in sentence(copied)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5])
def test_damaged_weights(copied, share):
    path = copied / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    message = sentence(copied)
    assert "the file of its weights" in message
    assert "cannot be read (SafetensorError" in message


@pytest.mark.parametrize("content", [b"", b"garbage", "list", "code"])
def test_damaged_weights_of_torch(copied, content):
    (copied / "model.safetensors").unlink()
    path = copied / "pytorch_model.bin"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([1] if content == "list" else os.system, path)
    message = sentence(copied)
    assert "the file of its weights" in message
    assert "save or download the model again" in message


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "unheard-of"}'])
def test_a_damaged_configuration(copied, content):
    (copied / "config.json").write_text(content)
    message = sentence(copied)
    assert "config.json of" in message
    assert "cannot be read" in message


def test_a_configuration_with_a_wrong_value(copied):
    rewrite(copied / "config.json", hidden_size="wide")
    assert "config.json of" in sentence(copied)


def test_a_damaged_feature_extractor(copied):
    (copied / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json of" in sentence(copied)


def test_code_that_comes_with_a_model_is_not_run(copied):
    (copied / "own.py").write_text("raise SystemExit('this code must not run')")
    rewrite(
        copied / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.Config"},
    )
    assert "cannot be read" in sentence(copied)


def test_a_model_without_a_trained_head(copied):
    config = transformers.AutoConfig.from_pretrained(copied)
    transformers.AutoModel.from_config(config).save_pretrained(copied)
    message = sentence(copied)
    assert "have no classifier.bias" in message
    assert "Wav2Vec2ForSequenceClassification" in message


def test_weights_of_other_widths(copied):
    rewrite(copied / "config.json", hidden_size=48)
    assert "have another size of" in sentence(copied)


def test_weights_of_more_layers(copied):
    rewrite(copied / "config.json", num_hidden_layers=2)
    assert "have more than config.json describes: wav2vec2.encoder.layers.2" in (
        sentence(copied)
    )


def test_adapters_of_wav2vec2_are_refused_by_transformers(copied):
    rewrite(copied / "config.json", add_adapter=True)
    assert "does not support the use of Wav2Vec2 adapters" in sentence(copied)


def test_model_and_feature_extractor_of_different_models(folders, tmp_path):
    folder = shutil.copytree(folders(AST), tmp_path / "ast")
    transformers.ASTFeatureExtractor(num_mel_bins=64).save_pretrained(folder)
    message = sentence(folder)
    assert "max_length is 128 in its model and 1024 in its feature" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"problem_type": "regression"},
        {"id2label": {"0": "loudness"}, "label2id": {"loudness": 0}},
    ],
)
def test_a_regression_is_refused(copied, changes):
    rewrite(copied / "config.json", **changes)
    assert "does not choose a class" in sentence(copied, SettingError)


def test_classes_that_are_not_numbered_from_zero(copied):
    rewrite(copied / "config.json", id2label={"1": "a", "2": "b"})
    assert "numbers its classes [1, 2]: number them from 0" in sentence(copied)


def test_one_tag_is_a_decision(tmp_path):
    one = {"num_labels": 1, "id2label": {0: "speech"}, "label2id": {"speech": 0}}
    save(tmp_path, config_of("wav2vec2", **one))
    classifier = HuggingFaceClassifier(tmp_path, activation="sigmoid")
    assert classifier.labels == ("speech",)
    assert classifier.decide(clips()).probabilities.shape == (2, 1)


def test_settings_out_of_range(folders):
    message = sentence(folders("wav2vec2"), SettingError, activation="relu")
    assert "activation is 'relu'" in message
    message = sentence(folders("wav2vec2"), SettingError, threshold=1.5)
    assert "tag_threshold is 1.5" in message


def test_transformers_is_not_installed(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = sentence(folders("wav2vec2"), SettingError)
    assert 'pip install "lmac-td[huggingface]"' in message


def test_importing_the_adapter_does_not_import_transformers():
    code = (
        "import sys, lmac_td.classifiers.huggingface; print('transformers' in "
        "sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_it_takes_waveforms_and_no_spectrograms(folders):
    classifier = HuggingFaceClassifier(folders("wav2vec2"))
    assert not classifier.takes_spectrograms
    with pytest.raises(SettingError, match="takes waveforms, not spectrograms"):
        classifier.inputs_of_spectrogram(torch.zeros(1, 10, 513))


def test_the_recipes_overlay_builds_the_classifier(folders, tmp_path):
    overlay = Path(__file__).parents[2] / "hparams/classifiers/huggingface.yaml"
    recipe = f"cache_folder: {tmp_path}\n{overlay.read_text()}"
    settings = {
        "pretrained_classifier": str(folders("wav2vec2")),
        "activation": "sigmoid",
        "tag_threshold": 0.2,
        "representations": [2, 0],
    }
    classifier = load_hyperpyyaml(recipe, settings)["classifier"]
    assert (classifier.activation, classifier.threshold) == ("sigmoid", 0.2)
    assert [g.name for g in classifier.geometry] == ["layers.2", "layers.0"]
    del settings["representations"]
    assert len(load_hyperpyyaml(recipe, settings)["classifier"].geometry) == 3


# The hub.


def test_a_hub_that_cannot_be_reached(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "from lmac_td.errors import exit_on_user_error\n"
        "from lmac_td.classifiers.huggingface import HuggingFaceClassifier\n"
        "with exit_on_user_error():\n"
        f"    HuggingFaceClassifier('some/model', download_folder={str(tmp_path)!r})\n"
    )
    variables = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=variables
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: pretrained_classifier: some/model is not a folder and could not be "
        "downloaded from the Hugging Face hub (ConnectError); check the name and the "
        "network, or give a folder that save_pretrained wrote\n"
    )


@pytest.mark.parametrize("source", ["no/such/folder", "https://huggingface.co/a/b"])
def test_what_is_neither_a_folder_nor_an_id(source):
    message = sentence(source)
    assert f"{source} is not a folder and could not be downloaded" in message


@pytest.fixture
def hub(folders, tmp_path, monkeypatch):
    """A hub whose models are folders; returns the names of the files it has sent."""
    sent = []

    def snapshot(repo_id, revision, cache_dir, allow_patterns, local_files_only=False):
        folder = cache_dir / repo_id.replace("/", "--") / str(revision)
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folders(repo_id.split("/")[1]).iterdir()):
            wanted = any(fnmatch.fnmatch(path.name, p) for p in allow_patterns)
            if wanted and not local_files_only and not (folder / path.name).exists():
                shutil.copy(path, folder)
                sent.append(path.name)
        return str(folder)

    monkeypatch.setattr(
        huggingface_files.huggingface_hub, "snapshot_download", snapshot
    )
    return sent


def test_a_model_of_the_hub_is_kept_in_the_download_folder(hub, folders, tmp_path):
    classifier = HuggingFaceClassifier(
        "some/wav2vec2", download_folder=tmp_path, revision="v1"
    )
    assert hub == ["config.json", "preprocessor_config.json", "model.safetensors"]
    assert (tmp_path / "some--wav2vec2" / "v1" / "model.safetensors").is_file()
    expected = HuggingFaceClassifier(folders("wav2vec2")).decide(clips())
    assert torch.equal(classifier.decide(clips()).logits, expected.logits)


def test_weights_are_not_fetched_for_what_is_refused(hub, tmp_path):
    sentence(
        "some/wav2vec2", SettingError, download_folder=tmp_path, representations=[7]
    )
    assert hub == ["config.json", "preprocessor_config.json"]
