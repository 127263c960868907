"""RemOve And Retrain: a new classifier on what remains."""

import pytest
import torch

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.sanity.removal import (
    most_important_bins,
    remaining_inputs,
)
from lmac_td.sanity.retraining import (
    Clips,
    NewClassifier,
    recognised_clips,
    require_classes,
    retrain,
)
from tests.networks import spectrogram_classifier

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
    return recognised_clips(model, test).float().mean().item()


def test_a_ranking_that_knows_the_class_costs_more_than_a_random_one(
    known_bins, narrow
):
    magnitude, telling, _ = known_bins
    generator = torch.Generator().manual_seed(1)
    random = torch.rand(magnitude.shape, generator=generator)
    nothing = torch.zeros_like(magnitude, dtype=torch.bool)
    # The telling bins and some of the others: what is missing does not tell, too.
    (by_oracle,) = most_important_bins(8 * telling.amax(dim=0) + random, [0.3])
    (by_chance,) = most_important_bins(random, [0.3])
    whole, oracle, chance = (
        accuracy_without(removed, known_bins, narrow)
        for removed in (nothing, by_oracle, by_chance)
    )
    assert whole > 0.9
    assert chance > 0.8
    assert oracle < 0.6


def test_retraining_starts_from_new_weights_and_repeats(known_bins, narrow):
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


def test_another_architecture_is_retrained(spectral):
    """Whatever takes spectrograms: here images of |STFT|^0.5."""
    classifier = spectrogram_classifier(n_classes=2)
    features = classifier.spectrogram
    label = torch.arange(16) % 2
    wavs = 0.1 * torch.randn(16, 8000) * (1 + 9 * label).unsqueeze(1)
    inputs = classifier.inputs_of(wavs)
    (nothing,) = most_important_bins(features(wavs).magnitude, [0.0])
    fill = torch.zeros(257)
    same = remaining_inputs(features(wavs).magnitude, nothing, fill, classifier)
    torch.testing.assert_close(same, inputs)
    clips = Clips(inputs, label)
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    model = retrain(classifier, clips, clips, seed=0, epochs=4, lr=0.01)
    assert recognised_clips(model, clips).float().mean() > 0.8
    assert all(torch.equal(before[k], v) for k, v in classifier.state_dict().items())


def test_a_classifier_of_other_classes_is_not_trained_again():
    classifier = spectrogram_classifier(n_classes=3)
    require_classes(classifier, ["a", "b", "c"])
    with pytest.raises(SettingError, match="2 classes of the data set, and it has 3"):
        require_classes(classifier, ["a", "b"])
    classifier.activation = "sigmoid"
    with pytest.raises(SettingError, match="decides on tags"):
        require_classes(classifier, ["a", "b", "c"])
