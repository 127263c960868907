"""Networks that others trained, as recipes/real_networks wraps them.

They come with the wheels of the extra ``real``.
"""

import copy
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from lmac_td.data.demo.noise import NOISES, make_noise
from lmac_td.data.demo.signals import harmonics
from lmac_td.data.demo.speech import make_speech
from tests.networks import noise
from tests.pages import ROOT, importable

RATE = 16000
# torchcrepe imports them for what a network does not need.
NOT_NEEDED = ("librosa", "resampy", "tqdm")


def installed(package):
    return importlib.util.find_spec(package) is not None


def needs(package):
    reason = f"{package} is not installed: pip install 'lmac-td[real]'"
    return pytest.mark.skipif(not installed(package), reason=reason)


@pytest.fixture
def adapters():
    """The folder of the adapters, from which modules can be imported."""
    folder = ROOT / "recipes" / "real_networks"
    with importable(folder):
        yield folder


@pytest.fixture
def silero(adapters):
    return importlib.import_module("silero").silero_classifier()


@pytest.fixture
def crepe(adapters, monkeypatch):
    for package in NOT_NEEDED:
        if not installed(package):
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    return importlib.import_module("crepe").crepe_classifier()


def sound(samples):
    """At a peak of 0.5, float32."""
    return torch.tensor(0.5 * samples / np.abs(samples).max(), dtype=torch.float32)


def speech(seed, seconds=2):
    rng = np.random.default_rng(seed)
    return sound(make_speech(rng, seconds * RATE, RATE))


def note(hz, seconds=1):
    return sound(harmonics(np.full(seconds * RATE, hz), [1, 0.5, 0.3, 0.2], RATE))


@needs("silero_vad")
class TestSilero:
    def test_babble_is_more_of_speech_than_any_noise(self, silero):
        babble = torch.stack([speech(seed) for seed in range(6)])
        noises = torch.stack(
            [
                sound(make_noise(kind, np.random.default_rng(0), 2 * RATE, RATE))
                for kind in NOISES
            ]
        )
        with torch.no_grad():
            lowest = silero.decide(babble).logits.min()
            assert lowest > silero.decide(noises).logits.max()
            assert lowest > silero.decide(noise(4, 2 * RATE)).logits.max()

    def test_no_state_is_left_from_the_batch_before(self, silero):
        wavs = torch.stack([speech(0), speech(1)])
        with torch.no_grad():
            first = silero.decide(wavs).logits
            silero.decide(speech(2)[None])
            for _ in range(3):
                assert torch.equal(silero.decide(wavs).logits, first)

    def test_each_clip_is_decided_for_itself(self, silero):
        wavs = torch.stack([speech(0), speech(1)])
        with torch.no_grad():
            together = silero.decide(wavs).logits
            alone = torch.cat([silero.decide(clip[None]).logits for clip in wavs])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)

    def test_digital_silence_needs_dither_for_its_gradient(self, silero):
        wavs = speech(0)[None].clone()
        wavs[:, :RATE] = 0

        def gradient(dither_db):
            silero.dither_db = dither_db
            leaf = wavs.clone().requires_grad_()
            silero.decide(leaf).logits.sum().backward()
            return leaf.grad

        assert gradient(None).isnan().any()
        assert gradient(-100).isfinite().all()
        assert (gradient(-100) != 0).any()

    def test_dither_hardly_moves_a_decision(self, silero):
        wavs = torch.stack([speech(0), speech(3)])
        with torch.no_grad():
            with_dither = silero.decide(wavs).logits
            silero.dither_db = None
            without = silero.decide(wavs).logits
        torch.testing.assert_close(with_dither, without, rtol=0, atol=0.1)

    def test_it_is_explained_where_it_fires(self, silero):
        """Speech in the second of four seconds of noise: there are its gradients."""
        wavs = 0.05 * noise(1, 4 * RATE)
        wavs[:, RATE : 2 * RATE] += speech(3, seconds=1)
        wavs.requires_grad_()
        silero.decide(wavs).logits.sum().backward()
        evidence = (wavs.grad * wavs).detach().abs().reshape(4, RATE).sum(dim=1)
        assert evidence.argmax() == 1
        assert evidence[1] > 0.5 * evidence.sum()

    def test_a_copy_is_a_network_of_its_own(self, silero):
        duplicate, wavs = copy.deepcopy(silero), speech(0)[None]
        with torch.no_grad():
            assert torch.equal(
                duplicate.decide(wavs).logits, silero.decide(wavs).logits
            )


def hz_of(label):
    """The pitch of a label such as "A4" or "C#5 -40 cents"."""
    name, _, difference = label.partition(" ")
    notes = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
    semitones = notes.index(name[:-1]) + 12 * int(name[-1]) - 57  # above A4
    cents = int(difference.removesuffix(" cents") or 0)
    return 440 * 2 ** (semitones / 12 + cents / 1200)


@needs("torchcrepe")
class TestCrepe:
    @pytest.mark.parametrize("hz", [110.0, 220.0, 330.0, 523.25])
    def test_it_names_the_pitch_of_a_tone(self, crepe, hz):
        with torch.no_grad():
            decision = crepe.decide(note(hz)[None])
        named = hz_of(crepe.labels[decision.target[0]])
        assert abs(1200 * np.log2(named / hz)) < 50  # cents: half of a semitone
        assert decision.probabilities[0, decision.target[0]] > 0.5

    def test_both_notes_of_a_chord_are_likelier_than_others(self, crepe):
        with torch.no_grad():
            logits = crepe.decide((note(220) + note(466.2))[None]).logits[0]
        hz = np.array([hz_of(label) for label in crepe.labels])
        peak = {
            f: logits[np.abs(1200 * np.log2(hz / f)) < 50].max()
            for f in (147, 220, 311, 466.2)
        }
        assert min(peak[220], peak[466.2]) > max(peak[147], peak[311])

    def test_gradients_reach_the_waveform_through_silence(self, crepe):
        wavs = note(220)[None].clone()
        wavs[:, : RATE // 2] = 0
        wavs.requires_grad_()
        crepe.decide(wavs).logits[:, 0].sum().backward()
        assert wavs.grad.isfinite().all()
        assert (wavs.grad != 0).any()

    def test_loudness_does_not_matter(self, crepe):
        wavs = note(220)[None]
        with torch.no_grad():
            torch.testing.assert_close(
                crepe.decide(wavs).logits, crepe.decide(wavs / 8).logits,
                rtol=0, atol=1e-3,
            )  # fmt: skip
