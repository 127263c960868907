"""Noisy speech: which mixtures there are, and that they stay the same."""

from collections import Counter

import torch

from lmac_td.data.mixing import make_mixtures
from lmac_td.enhancement.mixtures import draw_mixtures, mixture_dataset


def test_each_utterance_has_several_mixtures(noisy_speech):
    dataset = mixture_dataset(noisy_speech, "test", "in_domain", (-5, 10), 3)
    first, second = dataset[0], dataset[len(dataset) // 3]
    assert torch.equal(first["clip"], second["clip"])
    assert not torch.equal(first["interference"], second["interference"])
    assert first["snr_db"] != second["snr_db"]
    again = mixture_dataset(noisy_speech, "test", "in_domain", (-5, 10), 3)[0]
    assert torch.equal(first["interference"], again["interference"])


def test_training_has_new_mixtures_in_each_epoch(noisy_speech):
    dataset = mixture_dataset(noisy_speech, "train", "effects", (-5, 10))
    one, other = (dataset[0, (1, epoch)]["interference"] for epoch in (1, 2))
    assert not torch.equal(one, other)


def test_ratios_are_those_of_one_distribution(noisy_speech):
    """The same mixture has the same ratio in every noise."""
    drawn = [
        draw_mixtures(noisy_speech, "test", noise, (-5, 10), 20, "explained")
        for noise in ("in_domain", "speech_shaped", "effects")
    ]
    ratios = [[noisy.snr_db for noisy in mixtures] for mixtures in drawn]
    assert ratios[0] == ratios[1] == ratios[2]
    assert len(set(ratios[0])) == 20
    assert -5 <= min(ratios[0]) < 0 < 5 < max(ratios[0]) <= 10


def test_utterances_are_drawn_equally_often(noisy_speech):
    mixtures = draw_mixtures(noisy_speech, "test", "effects", (0, 0), 7, "explained")
    counts = Counter(noisy.utterance for noisy in mixtures)
    assert len(counts) == 4
    assert set(counts.values()) == {1, 2}
    background = draw_mixtures(noisy_speech, "test", "effects", (0, 0), 7, "background")
    assert not {a.name for a in mixtures} & {b.name for b in background}


def test_batches_can_be_mixed(noisy_speech):
    from speechbrain.dataio.dataloader import make_dataloader

    dataset = mixture_dataset(noisy_speech, "valid", "speech_shaped", (-5, 10), 2)
    batch = next(iter(make_dataloader(dataset, batch_size=3)))
    assert make_mixtures(batch, "cpu").mixture.shape == (3, 16000)
