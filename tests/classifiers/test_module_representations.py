"""Representations of any module: their positions are measured or given."""

import copy

import pytest
import torch
from torch import nn

from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.errors import SettingError
from lmac_td.features import LogMel
from tests.classifiers.module_helpers import Sequence, classify
from tests.networks import (
    SAMPLE_RATE,
    WaveformCnn,
    noise,
    spectrogram_classifier,
    square_root_features,
    waveform_classifier,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class TestFrequency:
    def test_entries_over_mel_share_the_bands_and_so_the_bins(self):
        features, mel = square_root_features(), LogMel(SAMPLE_RATE, 512, 40)
        network = nn.Sequential(
            nn.Unflatten(1, (1, -1)), nn.AvgPool2d((4, 8)), nn.Conv2d(1, 2, 1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3),
        )  # fmt: skip
        classifier = classify(
            network, representations=["2"], front_end=mel, features=features
        )
        (geometry,) = classifier.geometry
        assert (geometry.frequencies, geometry.hop_samples) == (5, 4 * 256)
        for entry in range(5):
            bands = [1.0 if band // 8 == entry else 0.0 for band in range(40)]
            assert geometry.bands[entry].tolist() == bands
        spread = classifier.spread_over_bins(torch.eye(5), geometry, features)
        torch.testing.assert_close(spread.sum(dim=0), torch.ones(257))
        # Low bands are narrow: the first entry has fewer bins than the last.
        widths = spread.sum(dim=1)
        assert widths[0] < 0.2 * widths[-1]

    def test_entries_over_anything_else_share_the_bins(self):
        assert spectrogram_classifier().mel is None
        classifier = spectrogram_classifier()
        for geometry in classifier.geometry:
            assert geometry.bands is None
            entries = torch.eye(geometry.frequencies)
            features = classifier.spectrogram
            spread = classifier.spread_over_bins(entries, geometry, features)
            assert torch.equal(spread.sum(dim=0), torch.ones(features.n_bins))
            # The entries have as many bins as each other, but for one.
            assert spread.sum(dim=1).max() - spread.sum(dim=1).min() <= 1


class TestGeometry:
    def test_hops_are_the_products_of_strides(self):
        deep, shallow = waveform_classifier().geometry
        assert (deep.name, deep.channels, deep.frequencies) == ("relu3", 8, 1)
        assert (shallow.name, shallow.channels, shallow.frequencies) == ("relu2", 6, 1)
        assert (deep.hop_samples, shallow.hop_samples) == (16 * 4 * 5, 16 * 4)
        assert (deep.offset_samples, shallow.offset_samples) == (159.5, 31.5)

    def test_hops_over_a_spectrogram_are_whole_frames(self):
        deep, shallow = spectrogram_classifier().geometry
        assert (deep.channels, deep.frequencies) == (8, 33)
        assert (shallow.channels, shallow.frequencies) == (6, 65)
        assert (deep.hop_samples, shallow.hop_samples) == (8 * 256, 4 * 256)
        assert (deep.offset_samples, shallow.offset_samples) == (3.5 * 256, 1.5 * 256)

    def test_an_entry_that_is_one_centred_frame_has_no_offset(self):
        network = nn.Sequential(
            nn.Conv1d(257, 4, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)
        )
        classifier = classify(
            network,
            representations=["0"],
            front_end=lambda magnitude: magnitude.mT,
            features=square_root_features(),
        )
        (geometry,) = classifier.geometry
        assert (geometry.hop_samples, geometry.offset_samples) == (256, 0)

    @pytest.mark.parametrize("hop", [1, 2, 161, 186, 441, 5952])
    def test_a_hop_is_exact_whatever_its_factors(self, hop):
        network = nn.Sequential(
            nn.Unflatten(1, (1, -1)), nn.AvgPool1d(hop), nn.Conv1d(1, 2, 1),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 3),
        )  # fmt: skip
        assert classify(network, representations=["2"]).geometry[0].hop_samples == hop

    def test_events_are_at_the_positions_of_the_geometry(self):
        classifier = waveform_classifier()
        silence = torch.zeros(1, SAMPLE_RATE)
        click = silence.clone()
        click[:, 8000:8010] = 1
        for before, after, geometry in zip(
            classifier.decide(silence).representations,
            classifier.decide(click).representations,
            classifier.geometry,
            strict=True,
        ):
            change = (after.values - before.values).abs().sum(dim=(1, 3))[0]
            place = geometry.offset_samples + geometry.hop_samples * change.argmax()
            assert abs(place - 8005) < 1.5 * geometry.hop_samples

    def test_sequences_with_features_last_are_recognised(self):
        classifier = classify(Sequence(), representations=["embed"])
        (geometry,) = classifier.geometry
        assert (geometry.channels, geometry.hop_samples) == (8, 160)
        (representation,) = classifier.decide(noise()).representations
        assert representation.values.shape == (2, 8, 98, 1)

    @pytest.mark.parametrize("representations", [None, (), [], {}])
    def test_there_may_be_none(self, representations):
        classifier = waveform_classifier(representations=representations)
        assert classifier.geometry == ()
        assert classifier.decide(noise()).representations == ()

    def test_what_is_given_is_not_measured(self):
        given = {"hop_samples": 100, "offset_samples": 7, "layout": "channels time"}
        classifier = waveform_classifier(representations={"relu3": given})
        (geometry,) = classifier.geometry
        assert (geometry.hop_samples, geometry.offset_samples) == (100, 7)

    def test_clips_of_one_length_need_the_hop(self):
        network = nn.Sequential(
            nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 80, 40), nn.Flatten(),
            nn.Linear(4 * 99, 3),
        )  # fmt: skip
        given = {"1": {"layout": "channels time"}}
        with pytest.raises(
            SettingError, match=r"1 can be measured .* give its hop_samples"
        ):
            classify(network, clip_samples=4000, representations=given)
        given["1"]["hop_samples"] = 40
        classifier = classify(network, clip_samples=4000, representations=given)
        assert classifier.geometry[0].hop_samples == 40

    def test_a_network_that_cannot_take_noise_is_pointed_to_clip_samples(self):
        network = nn.Sequential(nn.Identity(), nn.Linear(4000, 3))
        with pytest.raises(SettingError, match=r"16000 samples .* clip_samples"):
            classify(network, representations=["0"])

    def test_the_measurement_changes_nothing(self):
        class Noisy(WaveformCnn):
            def forward(self, wavs):
                torch.rand(1)
                return super().forward(wavs)

        network = Noisy(3)
        network.norm = nn.BatchNorm1d(3)
        network.head = nn.Sequential(network.head, network.norm)
        network.conv2.eval()
        before = copy.deepcopy(network.state_dict())
        random_state = torch.random.get_rng_state()
        ModuleClassifier(network, SAMPLE_RATE, 3, ["relu3"])
        assert torch.equal(torch.random.get_rng_state(), random_state)
        after = network.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())
        assert network.training
        assert not network.conv2.training


class TestRefusedRepresentations:
    @pytest.mark.parametrize(
        ("network", "name", "reason"),
        [
            (
                WaveformCnn(3),
                "conv9",
                r"conv9 .* is not one of its modules; .* named: conv",
            ),
            (WaveformCnn(3), "head", r"returns \(2, 3\): 3 or 4 axes are needed"),
            (Sequence(), "recur", "recur of Sequence returns a tuple, not a tensor"),
        ],
    )
    def test_a_layer_that_gives_no_map(self, network, name, reason):
        with pytest.raises(SettingError, match=reason):
            classify(network, representations=[name])

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("layer1.relu", "layer1.relu of ImageCnn is called 2 times in a pass"),
            ("layer1.bn1", "layer1.bn1 of ImageCnn is overwritten by a later layer"),
            ("avgpool", r"avgpool has 1 entries along time for 15872 samples and 1"),
        ],
    )
    def test_a_layer_of_a_resnet(self, name, reason):
        with pytest.raises(SettingError, match=reason):
            spectrogram_classifier(representations=[name])

    def test_a_module_that_is_never_called(self):
        network = WaveformCnn(3)
        network.spare = nn.Conv1d(1, 1, 1)
        with pytest.raises(SettingError, match=r"spare .* never called .* named: relu"):
            classify(network, representations=["spare"])

    def test_a_module_inside_torchscript(self):
        network = torch.jit.trace(WaveformCnn(3), noise())
        with pytest.raises(SettingError, match="do not work inside TorchScript"):
            classify(network, representations=["relu3"])

    def test_clips_folded_into_frames(self):
        class Folded(Sequence):
            def forward(self, wavs):
                x = wavs.unfold(1, 400, 160)
                y = self.embed(x.flatten(0, 1).unsqueeze(1))
                return y.unflatten(0, x.shape[:2]).mean(dim=(1, 2))[:, :3]

        with pytest.raises(SettingError, match=r"\(196, 1, 8\) for 2 clips"):
            classify(Folded(), representations=["embed"])

    def test_entries_that_are_not_evenly_spaced(self):
        class Stretched(WaveformCnn):
            def __init__(self):
                super().__init__(3)
                self.stretch = nn.Upsample(scale_factor=1.3)

            def forward(self, wavs):
                self.stretch(self.conv1(wavs.unsqueeze(1)))
                return super().forward(wavs)

        network = Stretched()
        with pytest.raises(SettingError, match="not evenly spaced: give its hop_sampl"):
            classify(network, representations=["stretch"])

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({"layout": "channels length"}, "relu3 has the layout 'channels length'"),
            ({"layout": "channels time frequency"}, r"\(1, 8, 50\), which is not a"),
            ({"layout": "time channels"}, "relu3 has 8 entries along time"),
            (320, "relu3 is 320: give it a dictionary of layout, hop_samples"),
            ({"hop": 3}, "relu3 has no 'hop': give layout, hop_samples, offset"),
            ({"hop_samples": 0}, "relu3 has hop_samples 0: give a number above 0"),
            ({"offset_samples": "a"}, "relu3 has offset_samples 'a': give a number"),
        ],
    )
    def test_what_is_given_does_not_fit(self, given, reason):
        with pytest.raises(SettingError, match=reason):
            waveform_classifier(representations={"relu3": given})
