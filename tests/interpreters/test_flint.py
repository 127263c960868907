"""FLINT: attributes, their relevance and their mask equal literal twins."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.contracts import Geometry
from lmac_td.errors import SettingError
from lmac_td.interpreters.flint import FLINT
from lmac_td.nn.attributes import AttributeDecoder, build_attribute_maps
from lmac_td.nn.unet import resample
from tests.batches import decided_batch
from tests.conftest import N_CLASSES

J = 6


def build_flint(spectral, classifier, **settings):
    """A very narrow FLINT for the ``frozen`` classifier."""
    psi = build_attribute_maps(classifier, n_attributes=J, width=4)
    nn.init.uniform_(psi.out.bias, 0.1, 0.5)  # attributes are active
    head = nn.Linear(J, N_CLASSES)
    return FLINT(spectral, psi, head, AttributeDecoder(J, width=4), **settings)


@pytest.fixture
def decided(wavs, spectral, frozen):
    batch = decided_batch(wavs, spectral, frozen)
    return batch.wavs, batch.features, batch.decision


@pytest.fixture
def model(spectral, frozen):
    return build_flint(spectral, frozen)


def test_an_attribute_is_the_maximum_of_its_map(decided, model):
    explanation = model(*decided)
    maps = model.psi(decided[2].representations)
    for clip in range(len(maps)):
        for j in range(J):
            expected = max(maps[clip, j].flatten().tolist())
            assert explanation.attributes[clip, j].item() == pytest.approx(expected)
    assert (explanation.attributes >= 0).all()
    weight, bias = model.head.weight.tolist(), model.head.bias.tolist()
    for clip, phi in enumerate(explanation.attributes.tolist()):
        for c in range(N_CLASSES):
            logit = bias[c] + sum(p * w for p, w in zip(phi, weight[c], strict=True))
            found = explanation.class_logits[clip, c].item()
            assert found == pytest.approx(logit, abs=1e-5)


def test_relevance_is_the_share_of_the_largest_contribution(decided, model):
    explanation = model(*decided)
    weight = model.head.weight.tolist()
    for clip, phi in enumerate(explanation.attributes.tolist()):
        w = weight[int(decided[2].target[clip])]
        alpha = [p * q for p, q in zip(phi, w, strict=True)]
        largest = max(map(abs, alpha))
        expected = [a / largest for a in alpha]
        assert explanation.relevance[clip].tolist() == pytest.approx(expected, abs=1e-5)
        selected = [r > 0.2 for r in expected]
        assert explanation.selected[clip].tolist() == selected


def test_the_mask_shows_where_the_selected_attributes_are_active(decided, model):
    """Entry by entry: the nearest two entries in time, and the mel bands of a bin."""
    _, features, decision = decided
    explanation = model(*decided)
    grid, hop = model.psi.grid, model.features.hop_samples
    maps = model.psi(decision.representations)
    spread = grid.bands @ decision.classifier.mel.bands_of_bins  # (frequencies, bins)
    for clip in range(2):
        w = model.head.weight[decision.target[clip]]
        total = sum(
            w[j] * maps[clip, j] for j in range(J) if explanation.selected[clip, j]
        )
        total = (total / total.max()).tolist()
        for frame in (0, 7, 40, features.magnitude.shape[1] - 1):
            at = (frame * hop - grid.offset_samples) / grid.hop_samples
            at = min(max(at, 0), len(total) - 1)
            left = math.floor(at)
            right = min(left + 1, len(total) - 1)
            row = torch.tensor(
                [
                    (1 - at + left) * a + (at - left) * b
                    for a, b in zip(total[left], total[right], strict=True)
                ]
            )
            expected = (row @ spread).clamp(0, 1)
            torch.testing.assert_close(
                explanation.mask[clip, frame], expected, atol=1e-5, rtol=1e-4
            )


def test_no_relevant_attribute_keeps_nothing(decided, model):
    assert "A trained network: it finds the attributes" in model.about()
    nn.init.constant_(model.head.weight, -1.0)
    explanation = model(*decided)
    assert not explanation.selected.any()
    assert not explanation.mask.any()
    assert not explanation.interpretation.any()


def test_a_higher_threshold_selects_less(decided, spectral, frozen):
    model = build_flint(spectral, frozen)
    few = model(*decided).selected
    model.relevance_threshold = 0.9
    fewer = model(*decided).selected
    assert (fewer <= few).all()
    assert fewer.sum() < few.sum()


def test_the_surrogate_alone_gives_the_same_logits(decided, model):
    torch.testing.assert_close(
        model.class_logits(*decided), model(*decided).class_logits
    )


def test_a_clip_does_not_depend_on_its_batch(decided, model):
    wavs, features, decision = decided
    rows = torch.tensor([2])
    alone = model(wavs[rows], features.select(rows), decision.select(rows))
    together = model(*decided)
    torch.testing.assert_close(alone.class_logits[0], together.class_logits[2])
    torch.testing.assert_close(alone.mask[0], together.mask[2], atol=1e-5, rtol=1e-4)


def test_the_decoder_gives_the_size_of_the_stft(decided, model):
    _, features, _ = decided
    found = model(*decided).reconstruction
    assert found.shape == features.magnitude.shape
    assert found.requires_grad


def test_maps_are_on_the_grid_of_the_third_representation(frozen):
    psi = build_attribute_maps(frozen, n_attributes=3, width=4)
    assert psi.grid == frozen.geometry[2]
    one = replace(frozen.geometry[0], bands=None)
    frozen.geometry = (one,)
    assert build_attribute_maps(frozen, 3, 4).grid == one


def test_maps_are_aligned_in_time():
    """What is in the second half of a representation is in that half of the map."""
    geometry = [
        Geometry("deep", 2, 1, hop_samples=640, offset_samples=240),
        Geometry("shallow", 2, 1, hop_samples=160, offset_samples=0),
    ]
    deep = torch.zeros(1, 2, 10, 1)
    deep[:, :, 6] = 1  # centred on sample 6 * 640 + 240 = 4080
    moved = resample(deep, geometry[0], (40, 1), 160, 0)[0, 0, :, 0]
    centre = (moved * torch.arange(40) * 160).sum() / moved.sum()
    assert centre.item() == pytest.approx(4080, abs=1)


def test_what_it_cannot_explain_or_do_is_refused(spectral, frozen):
    box = BlackBoxClassifier(lambda wavs: wavs[:, :2], 16000, ["a", "b"])
    with pytest.raises(SettingError, match="FLINT decodes representations"):
        build_flint(spectral, frozen).check(box)
    with pytest.raises(SettingError, match="--relevance_threshold"):
        build_flint(spectral, frozen, relevance_threshold=-0.1)
