"""Geometry, layers and stages of Hugging Face classifiers."""

import pytest
import torch
import transformers
from torch import nn

from lmac_td.classifiers.huggingface import HuggingFaceClassifier
from lmac_td.classifiers.huggingface_families import (
    SpectrogramPatches,
    WaveformSequence,
)
from lmac_td.errors import DataError, SettingError
from tests.classifiers.huggingface.models import (
    AST,
    KINDS,
    clips,
    config_of,
    extractor_of,
    network_of,
    save,
)


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
def test_clips_shorter_than_one_entry_are_refused(folders, kind):
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
def test_layers_are_chosen_by_number_or_name_and_sorted_deepest_first(folders, asked):
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
