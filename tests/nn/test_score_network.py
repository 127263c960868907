"""ScoreNetwork: shapes, size, alignment in time, class conditioning."""

import pytest
import torch

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.contracts import Geometry
from lmac_td.nn.score_network import ScoreNetwork

HOP = 160


def make(n_classes=3, width=4, n_maps=0):
    geometry = [
        Geometry("deep", 6, 2, hop_samples=1280, offset_samples=560),
        Geometry("shallow", 4, 5, hop_samples=320, offset_samples=80),
    ]
    return ScoreNetwork(geometry, n_classes, HOP, width, n_maps).eval()


def representations(n_clips=2, n_samples=16000):
    return [
        torch.rand(n_clips, 6, n_samples // 1280, 2),
        torch.rand(n_clips, 4, n_samples // 320, 5),
    ]


@pytest.mark.parametrize(("frames", "bands"), [(101, 80), (1, 80), (8, 8), (37, 43)])
def test_scores_have_the_shape_of_the_spectrogram(frames, bands):
    net = make()
    reps = representations(n_samples=max(1280, frames * HOP))
    scores = net(torch.rand(2, frames, bands), reps, torch.tensor([0, 2]))
    assert scores.shape == (2, frames, bands)
    assert scores.isfinite().all()


def test_it_works_without_representations():
    net = ScoreNetwork([], 3, HOP, width=4)
    assert net(torch.rand(1, 50, 40), [], torch.tensor([1])).shape == (1, 50, 40)


def test_for_the_narrow_classifier_it_has_about_65_000_parameters(spectral):
    classifier = Cnn14Classifier(spectral, 80, (16, 32, 64, 64, 128), 128, 10)
    net = ScoreNetwork(classifier.geometry, 10, spectral.hop_samples, 16, n_maps=1)
    assert 55_000 < sum(p.numel() for p in net.parameters()) < 75_000


def test_a_clip_does_not_depend_on_its_batch():
    net, log_mel, reps = make(), torch.rand(3, 101, 80), representations(3)
    target = torch.tensor([0, 1, 2])
    together = net(log_mel, reps, target)
    alone = net(log_mel[1:2], [rep[1:2] for rep in reps], target[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_the_class_changes_the_scores_after_training():
    net, log_mel, reps = make(), torch.rand(2, 101, 80), representations()
    log_mel[1], reps = log_mel[0], [rep[:1].expand(2, -1, -1, -1) for rep in reps]
    target = torch.tensor([0, 2])
    scores = net(log_mel, reps, target)
    torch.testing.assert_close(scores[0], scores[1])  # FiLM starts at the identity
    torch.nn.init.normal_(net.film.weight)
    scores = net(log_mel, reps, target)
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_an_event_in_a_representation_changes_the_scores_at_its_time():
    """The change is centred on the event, within the reach of the convolutions."""
    net = make()
    n_samples, frames = 64000, 401
    log_mel = torch.rand(1, frames, 80)
    quiet = [torch.rand(1, 6, 50, 2), torch.rand(1, 4, 200, 5)]
    for entry in (40, 100, 160):
        event = [quiet[0], quiet[1].clone()]
        # The same values in another order, so that the normalisation does not change.
        event[1][:, :, entry] = quiet[1][:, :, entry].flip(1)
        change = net(log_mel, event, torch.tensor([0])) - net(
            log_mel, quiet, torch.tensor([0])
        )
        weight = change[0].abs().sum(dim=1).double()
        weight = weight * (weight > weight.max() / 100)
        centre = (weight * torch.arange(frames)).sum() / weight.sum()
        assert centre.item() * HOP == pytest.approx(80 + 320 * entry, abs=8 * HOP)
    assert n_samples == (frames - 1) * HOP


def test_maps_are_read():
    net, log_mel, reps = make(n_maps=1), torch.rand(1, 64, 80), representations(1)
    one, other = (
        net(log_mel, reps, torch.tensor([0]), torch.randn(1, 1, 64, 80))
        for _ in range(2)
    )
    assert not torch.allclose(one, other)
