"""Classifier training: averaged weights, augmentation, and an exact resume."""

import shutil

import pytest
import torch
from torch import nn

from lmac_td.training.augmentation import Augmentation
from lmac_td.training.averaging import AveragedClassifier
from tests.commands import CLASSIFIER, refused, run


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def walk(net, averaged=None, steps=30):
    """Change weights and statistics for some steps; return the states after each."""
    states = []
    for _ in range(steps):
        net(torch.randn(3, 1, 5, 5))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        states.append({k: v.clone() for k, v in net.state_dict().items()})
        if averaged is not None:
            averaged.update_parameters(net)
    return states


@pytest.mark.parametrize("decay", [0, 0.5, 0.9])
def test_the_average_equals_its_definition(decay):
    net = network()
    averaged = AveragedClassifier(net, decay)
    states = walk(net, averaged)
    twin = {k: v.double() for k, v in states[0].items()}
    for n, state in enumerate(states[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        for key, value in state.items():
            twin[key] = d * twin[key] + (1 - d) * value.double()
            if not value.is_floating_point():  # the number of batches
                twin[key] = twin[key].floor()
    for key, value in averaged.module.state_dict().items():
        torch.testing.assert_close(value.double(), twin[key], rtol=1e-5, atol=1e-5)
    assert int(averaged.n_averaged) == len(states)


def test_the_average_resumes_from_its_state_dict():
    net = network()
    averaged = AveragedClassifier(net, 0.9)
    walk(net, averaged, 3)
    resumed = AveragedClassifier(network(), 0.9)
    resumed.load_state_dict(averaged.state_dict())
    for _ in range(3):
        walk(net, None, 1)
        averaged.update_parameters(net)
        resumed.update_parameters(net)
    for key, value in averaged.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])


def test_the_average_is_not_trained_and_is_copied_to_the_classifier():
    net = network()
    averaged = AveragedClassifier(net, 0.9)
    walk(net, averaged)
    assert not any(p.requires_grad for p in averaged.parameters())
    averaged.finish(net)
    for key, value in averaged.module.state_dict().items():
        assert torch.equal(value, net.state_dict()[key])
    assert all(p.requires_grad for p in net.parameters())


def test_half_precision_rounds_matrices_and_no_vectors():
    net = network()
    averaged = AveragedClassifier(net, 0.9)
    walk(net, averaged)
    before = {k: v.clone() for k, v in averaged.module.state_dict().items()}
    averaged.finish(net, half_precision=True)
    for key, value in net.state_dict().items():
        expected = before[key].half().float() if value.ndim > 1 else before[key]
        assert torch.equal(value, expected)
        assert torch.equal(value, averaged.module.state_dict()[key])


EVERYTHING = {
    "time_shift": True, "level_range_db": 6, "mixup": 0.3,
    "masked_frames": 8, "masked_bands": 4,
}  # fmt: skip


def augmented(seed, **settings):
    wavs = torch.randn(6, 400, generator=torch.Generator().manual_seed(0))
    inputs = torch.rand(6, 30, 20, generator=torch.Generator().manual_seed(1)) + 1
    change = Augmentation(**settings)
    torch.manual_seed(seed)
    wavs, targets = change.mixtures(wavs, torch.eye(6))
    return wavs, targets, change.spectrograms(inputs)


def test_augmentation_is_drawn_from_the_seed():
    first, again, other = (augmented(seed, **EVERYTHING) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_no_augmentation_changes_nothing():
    wavs, targets, inputs = augmented(1)
    assert torch.equal(wavs, augmented(2)[0])
    assert torch.equal(targets, torch.eye(6))
    assert (inputs >= 1).all()


def test_each_clip_is_shifted_by_its_own_time():
    original, (shifted, *_) = augmented(0)[0], augmented(0, time_shift=True)
    shifts = set()
    for before, after in zip(original, shifted, strict=True):
        (shift,) = (n for n in range(400) if torch.equal(before.roll(n), after))
        shifts.add(shift)
    assert len(shifts) > 1


def test_levels_stay_in_their_range_and_differ():
    original, (scaled, *_) = augmented(0)[0], augmented(0, level_range_db=6)
    levels_db = 20 * (scaled / original).median(dim=1).values.log10()
    assert levels_db.abs().max() <= 6
    assert levels_db.max() - levels_db.min() > 1


def test_mixup_mixes_labels_as_it_mixes_waveforms():
    original, (mixed, targets, _) = augmented(0)[0], augmented(0, mixup=0.5)
    torch.testing.assert_close(targets @ original, mixed)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
    assert (targets.diagonal() >= 0.5).all()
    assert (targets.diagonal() < 1).any()


def test_masks_are_intervals_of_frames_and_of_bands():
    for axis, setting, longest in ((2, "masked_frames", 8), (1, "masked_bands", 4)):
        masked = (augmented(0, **{setting: longest})[2] == 0).all(dim=axis)
        assert masked.any()
        # Two intervals at most, each shorter than the longest.
        assert masked.sum(dim=1).max() <= 2 * (longest - 1)


def weights(folder):
    """The last checkpoint's weights, of the classifier and of its average."""
    last = max((folder / "save").glob("CKPT*"), key=lambda path: path.name)
    names = ("embedding_model", "classifier", "averaged", "optimizer")
    return {
        name: torch.load(last / f"{name}.ckpt", weights_only=True) for name in names
    }


def assert_same_to_the_bit(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same_to_the_bit(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        for x, y in zip(a, b, strict=True):
            assert_same_to_the_bit(x, y)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def interrupted(monkeypatch, at_epoch, at_step=None):
    """Interrupt the training before an epoch, or in it, as a kill would."""
    from lmac_td.training.classifier import ClassifierBrain

    original = ClassifierBrain.on_fit_batch_start

    def interrupting(brain, batch, should_step):
        if brain.epoch == at_epoch and brain.step >= (at_step or 1):
            raise KeyboardInterrupt
        original(brain, batch, should_step)

    monkeypatch.setattr(ClassifierBrain, "on_fit_batch_start", interrupting)


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [None, 3])
def test_a_resumed_training_gives_the_same_weights(tiny_recipes, monkeypatch, at_step):
    recipe = tiny_recipes / "cnn14.yaml"
    settings = {"batch_size": 4, "number_of_epochs": 3, "mixup": 0.3}
    if at_step:  # checkpoints in the middle of an epoch, too
        settings["ckpt_interval_steps"] = 1
    whole, cut = (tiny_recipes / name for name in ("whole", "cut"))
    run(CLASSIFIER, recipe, **settings, output_folder=whole)
    with monkeypatch.context() as patch:
        interrupted(patch, at_epoch=2, at_step=at_step)
        run(CLASSIFIER, recipe, check=False, **settings, output_folder=cut)
    assert not (cut / "classifier").exists()
    said = run(CLASSIFIER, recipe, **settings, output_folder=cut).stdout
    assert "Resuming" in said
    assert_same_to_the_bit(weights(whole), weights(cut))
    shutil.rmtree(cut)


@pytest.mark.slow
def test_the_number_of_epochs_is_kept_since_the_schedule_depends_on_it(with_trained):
    folder = with_trained("cnn14")
    sentence = refused(CLASSIFIER, folder / "cnn14.yaml", number_of_epochs=3)
    assert "number_of_epochs 2, not 3" in sentence
