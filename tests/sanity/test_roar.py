"""RemOve And Retrain: what is removed, what is retrained, which cells are kept."""

import csv
import json
import math

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.data.mixing import CLEAN_DB, make_mixtures
from lmac_td.data.prepare import prepare
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation import loop
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import RandomMask
from lmac_td.report.figures import grid_figure, lines_figure
from lmac_td.sanity.command import read_options, require_count
from lmac_td.sanity.rankings import random_importance, rankings_of
from lmac_td.sanity.removal import (
    Removal,
    fixed_batches,
    mean_magnitude,
    remains,
    removed_bins,
)
from lmac_td.sanity.retraining import (
    Clips,
    NewClassifier,
    hits_of,
    require_classes,
    retrain,
)
from lmac_td.sanity.roar import NOTHING, Cells, curves_to_csv, curves_to_markdown
from tests.networks import spectrogram_classifier, waveform_classifier


def literal_removal(importance, magnitude, level, fill):
    """Hooker et al., section 3: the t % most important inputs, one after the other."""
    left = magnitude.clone()
    places = [
        (importance[f, k].item(), f, k)
        for f in range(importance.shape[0])
        for k in range(importance.shape[1])
    ]
    places.sort(reverse=True)
    for _, f, k in places[: math.ceil(level * len(places))]:
        left[f, k] = fill[k]
    return left


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 1.0])
def test_the_most_important_bins_are_replaced(frozen, level):
    importance, magnitude = torch.rand(2, 2, 10, 513)
    fill = torch.rand(513)
    (removed,) = removed_bins(importance, [level])
    found = remains(magnitude, removed, fill, frozen)
    for i in range(2):
        left = literal_removal(importance[i], magnitude[i], level, fill)
        assert torch.allclose(found[i], (left @ frozen.mel.matrix).log1p(), atol=1e-6)


def test_levels_are_shares_of_the_bins_and_nested():
    importance = torch.rand(3, 20, 10).square()
    some, more = removed_bins(importance, [0.3, 0.7])
    assert some.sum(dim=(1, 2)).tolist() == [60] * 3
    assert more.sum(dim=(1, 2)).tolist() == [140] * 3
    assert (more | ~some).all()


def test_nothing_is_removed_at_zero_whatever_stands_beside_it():
    importance = torch.rand(2, 4, 5)
    some, nothing, more = removed_bins(importance, [0.5, 0, 0.8])
    assert (some.sum(), nothing.sum(), more.sum()) == (20, 0, 32)
    assert nothing.dtype == torch.bool
    (alone,) = removed_bins(importance, [0.0])
    assert torch.equal(alone, nothing)


def test_equal_bins_are_not_removed_by_position():
    (removed,) = removed_bins(torch.full((2, 40, 40), 0.5), [0.5])
    assert torch.equal(removed[0], removed[1])
    for half in (removed[0, :20], removed[0, :, :20]):
        assert 0.4 < half.float().mean() < 0.6


def test_random_maps_differ_by_clip_and_not_by_batch():
    magnitude = torch.ones(2, 5, 6)
    first = random_importance(magnitude, ["a", "b"], seed=1)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first[1], random_importance(magnitude[:1], ["b"], seed=1)[0])
    assert not torch.equal(first, random_importance(magnitude, ["a", "b"], seed=2))


def test_every_method_ranks_by_its_own_mask(spectral, frozen, wavs):
    """An STFT mask as it is; for the others what they leave of |X|, at most all."""
    mask = RandomMask(spectral)
    rankings = rankings_of({"mask": mask, "sound": FirstHalf(spectral)}, seed=1)
    assert list(rankings) == ["mask", "sound", "random", "loudest first"]
    features, decision = loop.decide(wavs, spectral, frozen)
    decided = loop.DecidedBatch(list("abcd"), torch.arange(4), wavs, features, decision)
    found = {name: rank(decided) for name, rank in rankings.items()}
    assert torch.equal(found["mask"], mask(wavs, features, decision).mask)
    frames = found["sound"].shape[1]
    assert (found["sound"][:, : frames // 2 - 3] > 0.99).all()
    assert (found["sound"][:, frames // 2 + 4 :] == 0).all()
    assert torch.equal(found["loudest first"], features.magnitude)
    expected = random_importance(features.magnitude, list("abcd"), seed=1)
    assert torch.equal(found["random"], expected)


class FirstHalf(Interpreter):
    """Keeps the first half of a sound, by a mask of its own that is no STFT's."""

    def forward(self, wavs, features, decision):
        mask = (torch.arange(wavs.shape[1]) < wavs.shape[1] // 2).float()
        return self.explain_audio(
            mask * wavs, (1 - mask) * wavs, mask.expand_as(wavs), decision
        )


def test_the_mean_is_over_frames_and_clips():
    magnitude = torch.rand(5, 4, 3)
    mean = mean_magnitude([magnitude[:2], magnitude[2:]])
    assert torch.allclose(mean, magnitude.mean(dim=(0, 1)))


@pytest.fixture
def batches():
    """A quarter of a second a clip; by split, of other noises and numbers."""
    clips = {"train": (3, 0.0), "valid": (2, 20.0), "test": (1, CLEAN_DB)}
    items = {
        split: [
            {
                "id": f"{split}{i}",
                "clip": torch.randn(4000),
                "interference": torch.randn(4000),
                "snr_db": snr_db,
                "class_index": 10 * len(split) + i,
            }
            for i in range(n_clips)
        ]
        for split, (n_clips, snr_db) in clips.items()
    }
    return {
        split: [PaddedBatch(some[i : i + 2]) for i in range(0, len(some), 2)]
        for split, some in items.items()
    }


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_of_every_split_a_level_leaves_what_a_ranking_puts_last(
    batches, spectral, frozen, fill
):
    """Literal: clip by clip, bin by bin."""
    mixtures = {
        split: torch.cat([make_mixtures(batch, "cpu").mixture for batch in some])
        for split, some in batches.items()
    }
    magnitude = {split: spectral(wavs).magnitude for split, wavs in mixtures.items()}
    importance = {
        split: torch.stack(
            [torch.randperm(clip.numel()).view_as(clip).float() for clip in m]
        )
        for split, m in magnitude.items()
    }

    def rank(decided):
        features, decision = loop.decide(decided.wavs, spectral, frozen)
        assert torch.equal(features.magnitude, decided.features.magnitude)
        assert torch.equal(decision.logits, decided.decision.logits)
        maps = []
        for wav, clip_id in zip(decided.wavs, decided.clip_ids, strict=True):
            split, place = clip_id[:-1], int(clip_id[-1])
            assert torch.equal(wav, mixtures[split][place])
            maps.append(importance[split][place])
        return torch.stack(maps)

    levels = [0.9, 0.0, 0.3]
    clips = Removal(batches.__getitem__, spectral, frozen, fill).clips(rank, levels)
    of_fill = torch.zeros(513)
    if fill == "mean":  # of training alone
        of_fill = magnitude["train"].mean(dim=(0, 1))
    assert list(clips) == levels
    for split, m in magnitude.items():
        labels = [10 * len(split) + i for i in range(len(m))]
        for level in levels:
            left = torch.stack(
                [
                    literal_removal(one, clip, level, of_fill)
                    for one, clip in zip(importance[split], m, strict=True)
                ]
            )
            found = clips[level][split]
            expected = (1 + left @ frozen.mel.matrix).log()
            torch.testing.assert_close(found.inputs, expected, atol=1e-5, rtol=1e-4)
            assert found.label.tolist() == labels
        whole = clips[0.0][split].inputs
        assert torch.equal(whole, frozen.inputs(mixtures[split]))
        for level in (0.3, 0.9):
            assert (clips[level][split].inputs - whole).abs().max() > 0.1


def test_mixtures_are_the_same_at_every_visit(data_settings):
    splits = ("train", "valid", "test")
    data = prepare(splits, **data_settings, conditions=["in_domain"])

    def visit(split):
        batches = fixed_batches(
            data, split, "in_domain", {"batch_size": 4, "num_workers": 1}
        )
        found = [
            (list(batch.id), make_mixtures(batch, "cpu").mixture) for batch in batches
        ]
        ids, wavs = zip(*found, strict=True)
        return ids, torch.cat(wavs)

    for split in splits:
        ids, first = visit(split)
        torch.manual_seed(3)  # as a training does in between
        again, second = visit(split)
        left_alone = torch.rand(1)
        torch.manual_seed(3)
        assert torch.equal(torch.rand(1), left_alone)
        assert ids == again
        assert [len(some) for some in ids] == [4, 4, 2]
        assert torch.equal(first, second)


SPLITS = (slice(0, 48), slice(48, 72), slice(72, 96))


@pytest.fixture(scope="module")
def known_bins():
    """Clips whose class is a tone among eight, in a noise; which bins tell it."""
    generator = torch.Generator().manual_seed(0)
    n_clips, n_frames, n_bins = 96, 32, 32
    label = torch.arange(n_clips) % 4
    magnitude = 0.2 * torch.rand(n_clips, n_frames, n_bins, generator=generator)
    telling = torch.zeros_like(magnitude)
    for i, c in enumerate(label.tolist()):
        telling[i, :, 4 + 8 * c : 6 + 8 * c] = 1
    return magnitude + 2 * telling, telling, label


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(0)
    features = SpectralFeatures(16000, 512, 32, 16)
    classifier = Cnn14Classifier(features, 32, (8, 8, 16, 16, 16), 16, 4)
    for module in classifier.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return classifier.freeze()


def accuracy_without(removed, known_bins, narrow):
    magnitude, _, label = known_bins
    left = torch.where(removed, 0, magnitude).log1p()
    train, valid, test = (Clips(left[s], label[s]) for s in SPLITS)
    model = retrain(narrow, train, valid, seed=0, epochs=10, lr=0.005, batch_size=8)
    return hits_of(model, test).float().mean().item()


def test_a_ranking_that_knows_the_class_costs_more_than_a_random_one(
    known_bins, narrow
):
    magnitude, telling, _ = known_bins
    generator = torch.Generator().manual_seed(1)
    random = torch.rand(magnitude.shape, generator=generator)
    nothing = torch.zeros_like(magnitude, dtype=torch.bool)
    # The telling bins and some of the others: what is missing does not tell, too.
    (by_oracle,) = removed_bins(8 * telling.amax(dim=0) + random, [0.3])
    (by_chance,) = removed_bins(random, [0.3])
    whole, oracle, chance = (
        accuracy_without(removed, known_bins, narrow)
        for removed in (nothing, by_oracle, by_chance)
    )
    assert whole > 0.9
    assert chance > 0.8
    assert oracle < 0.6


def test_retraining_begins_anew_and_repeats(known_bins, narrow):
    magnitude, _, label = known_bins
    clips = Clips(magnitude[:8].log1p(), label[:8])
    before = {name: value.clone() for name, value in narrow.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, same, other = (
        retrain(narrow, clips, clips, seed=seed, epochs=1).state_dict()
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], same[name]) for name in first)
    head = "network.classifier.weight"
    assert not torch.equal(first[head], other[head])
    for name, value in narrow.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(p.requires_grad for p in narrow.parameters())


def test_a_new_classifier_has_nothing_of_the_old(narrow):
    torch.manual_seed(1)
    new = NewClassifier(narrow)
    state = new.state_dict()
    for name, value in narrow.state_dict().items():
        if name.endswith(("conv1.weight", "conv2.weight", "classifier.weight")):
            assert not torch.equal(state[f"network.{name}"], value), name
    assert all(parameter.requires_grad for parameter in new.parameters())
    assert all(module.training for module in new.train().modules())
    assert not any(module.training for module in narrow.train().modules())


def test_the_epoch_of_the_lowest_validation_loss_is_kept(known_bins, narrow):
    """With labels that contradict the training's, every epoch makes it worse."""
    magnitude, _, label = known_bins
    x = magnitude.log1p()
    train, valid = Clips(x[:32], label[:32]), Clips(x[:32], (label[:32] + 1) % 4)

    def loss(epochs):
        model = retrain(narrow, train, valid, seed=0, epochs=epochs, lr=0.01)
        with torch.no_grad():
            logits = model(valid.inputs)
        return torch.nn.functional.cross_entropy(logits, valid.label).item()

    assert loss(5) <= loss(1) * 1.2


def test_a_classifier_of_waveforms_is_refused(spectral):
    """There is no spectrogram without some bins that it could be retrained on."""
    with pytest.raises(SettingError, match="takes waveforms"):
        Removal(dict, spectral, waveform_classifier())


def test_another_architecture_is_retrained(spectral):
    """Whatever takes spectrograms: here images of |STFT|^0.5."""
    classifier = spectrogram_classifier(n_classes=2)
    features = classifier.spectrogram
    label = torch.arange(16) % 2
    wavs = 0.1 * torch.randn(16, 8000) * (1 + 9 * label).unsqueeze(1)
    inputs = classifier.inputs_of(wavs)
    (nothing,) = removed_bins(features(wavs).magnitude, [0.0])
    fill = torch.zeros(257)
    same = remains(features(wavs).magnitude, nothing, fill, classifier)
    torch.testing.assert_close(same, inputs)
    clips = Clips(inputs, label)
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    model = retrain(classifier, clips, clips, seed=0, epochs=4, lr=0.01)
    assert hits_of(model, clips).float().mean() > 0.8
    assert all(torch.equal(before[k], v) for k, v in classifier.state_dict().items())


def test_cells_are_kept_and_summed_up(tmp_path):
    path = tmp_path / "sanity" / "roar.json"
    cells = Cells(path, {"roar_fill": "zero", "seed": 1})
    for repeat, hits in enumerate(([1, 1, 1, 0], [1, 1, 0, 0])):
        cells.put(NOTHING, 0.0, repeat, [True] * 4)
        cells.put("lmac", 0.5, repeat, hits)
    again = Cells(path, {"seed": 1, "roar_fill": "zero"})
    assert again.has("lmac", 0.5, 1)
    assert not again.has("lmac", 0.5, 2)
    assert not again.has("random", 0.5, 1)
    curves = again.curves(["lmac"], [0.5], range(2))
    assert curves["lmac"][0] == (1, 1, 1)
    value, low, high = curves["lmac"][1]
    assert value == pytest.approx(5 / 8)
    assert low < value < high
    assert "| lmac " in curves_to_markdown(curves, [0.5])
    assert "62.5 [" in curves_to_markdown(curves, [0.5])
    curves_to_csv(tmp_path / "roar.csv", curves, [0.5])
    with open(tmp_path / "roar.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["removed"], float(r["accuracy"])) for r in rows] == [
        ("0.0", 1.0), ("0.5", 0.625),
    ]  # fmt: skip


def test_a_classifier_of_other_classes_is_not_trained_again():
    classifier = spectrogram_classifier(n_classes=3)
    require_classes(classifier, ["a", "b", "c"])
    with pytest.raises(SettingError, match="2 classes of the data set, and it has 3"):
        require_classes(classifier, ["a", "b"])


def test_cells_of_before_a_setting_had_its_name_are_kept(tmp_path):
    path = tmp_path / "roar.json"
    Cells(path, {"heard": "audio"}).put("lmac", 0.5, 0, [True])
    assert Cells(path, {"classifier_input": "audio"}).has("lmac", 0.5, 0)
    with pytest.raises(SettingError, match="classifier_input 'audio'"):
        Cells(path, {"classifier_input": "spectrogram"})


def test_cells_of_other_settings_are_refused(tmp_path):
    path = tmp_path / "roar.json"
    Cells(path, {"roar_fill": "zero"}).put("lmac", 0.5, 0, [True])
    with pytest.raises(SettingError, match="roar_fill 'zero', not 'mean'"):
        Cells(path, {"roar_fill": "mean"})
    for content in ("{", "[]", json.dumps({"settings": {}, "cells": [{}]})):
        path.write_text(content)
        with pytest.raises(DataError, match="delete it"):
            Cells(path, {})


def test_options_are_read_and_the_rest_is_the_recipes():
    argv = ["a.yaml", "--levels", "[0.1, 0.5]", "--lr", "2", "--device", "cpu"]
    options, rest = read_options(argv, {"levels": [], "n_clips": 3})
    assert vars(options) == {"levels": [0.1, 0.5], "n_clips": 3}
    assert rest == ["a.yaml", "--lr", "2", "--device", "cpu"]
    for argv in (["a.yaml", "--levels"], ["a.yaml", "--levels", "[1"]):
        with pytest.raises(SettingError, match="levels"):
            read_options(argv, {"levels": []})
    for value in (0, 1.5, "many", True):
        with pytest.raises(SettingError, match="--repeats"):
            require_count("repeats", value)


def test_figures_are_drawn(tmp_path):
    points = [(1.0, 0.9, 1.0), (0.5, 0.4, 0.7)]
    lines = {"lmac": points, "random": points}
    for name, x in (("numbers", [0.0, 0.5]), ("names", ["intact", "logits"])):
        panels = {"SSIM": lines, "rank correlation": lines}
        lines_figure(tmp_path / f"{name}.png", panels, x, "x", "title", {"random"})
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    magnitude = torch.rand(20, 30).numpy()
    rows = {"lmac": {"input": magnitude, "intact": magnitude}}
    with open(tmp_path / "grid.png", "wb") as file:
        grid_figure(file, rows, 1.0, 16000, 1.0, "title")
    assert (tmp_path / "grid.png").stat().st_size > 3000
