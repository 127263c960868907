"""Segments: windows, bands, tiles, and the parts of a separation."""

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.interpreters.perturbation import (
    Bands,
    FeatureAblation,
    HarmonicPercussive,
    Parts,
    Tiles,
    Windows,
    build_segments,
)
from tests.interpreters.perturbation.helpers import STFT, black_box, decided
from tests.networks import noise

RATE, HOP_MS, BIN_HZ = 16000, 16, 31.25


@pytest.fixture
def clip():
    wav = noise(1)
    return wav[0], STFT(wav).magnitude[0]


def test_tiles_are_windows_times_bands(clip):
    windows, bands, tiles = (
        segments(*clip)
        for segments in (Windows(STFT, 100), Bands(STFT, 1000), Tiles(STFT, 1000, 100))
    )
    for frame in range(clip[1].shape[0]):
        for bin in range(0, clip[1].shape[1], 7):
            window = min(int(frame * HOP_MS / 100), 9)  # one second
            band = min(int(bin * BIN_HZ / 1000), 7)  # 8000 Hz is in the eighth
            assert windows[frame, bin] == window
            assert bands[frame, bin] == band
            assert tiles[frame, bin] == window * 8 + band


def test_a_segment_has_at_least_a_frame_and_a_bin(clip):
    # The last frame and the last bin are with those before them.
    assert Windows(STFT, 1)(*clip).unique().numel() == clip[1].shape[0] - 1
    assert Bands(STFT, 1)(*clip).unique().numel() == clip[1].shape[1] - 1


def test_tones_are_harmonic_and_clicks_are_percussive():
    time = torch.arange(RATE) / RATE
    wav = 0.1 * torch.sin(2 * torch.pi * 1000 * time)
    wav[RATE // 2] += 5
    magnitude = STFT(wav.unsqueeze(0)).magnitude[0]
    parts = HarmonicPercussive(STFT)(wav, magnitude)
    tone, click = round(1000 / BIN_HZ), round(500 / HOP_MS)
    assert (parts[:, tone].float().mean()) < 0.1
    assert (parts[click, 100:].float().mean()) > 0.9


def test_each_part_has_its_windows(clip):
    wav, magnitude = clip
    low = torch.cat([wav[: RATE // 2], torch.zeros(RATE // 2)])
    parts = Parts(STFT, lambda wav: torch.stack([low, wav - low]), segment_ms=250)
    numbers = parts(wav, magnitude)
    window = (torch.arange(len(numbers)) * HOP_MS / 250).int()
    assert torch.equal((numbers // 2)[:, 0].int(), window)
    assert (numbers % 2)[2:28].float().mean() < 0.1  # the first half
    assert (numbers % 2)[35:].float().mean() > 0.9


def test_the_part_that_decides_is_found():
    """A separator that knows the band of the event."""

    def separate(wav):
        spectrum = torch.fft.rfft(wav)
        hz = torch.fft.rfftfreq(len(wav), 1 / RATE)
        event = torch.fft.irfft(spectrum * ((hz >= 2000) & (hz < 3000)), len(wav))
        return torch.stack([wav - event, event])

    source = FeatureAblation(STFT, Parts(STFT, separate))
    wavs, features, decision = decided(black_box("band"), noise(1))
    relevance = source.relevance(wavs, features, decision)[0]
    bins = torch.arange(relevance.shape[1]) * BIN_HZ
    inside = (bins > 2050) & (bins < 2950)
    assert relevance[:, inside].mean() > 10 * relevance[:, ~inside].mean().abs()


def test_a_recipe_names_segments_or_builds_them():
    kinds = {
        "windows": Windows,
        "bands": Bands,
        "tiles": Tiles,
        "harmonic_percussive": HarmonicPercussive,
    }
    for name, kind in kinds.items():
        assert type(build_segments(name, STFT)) is kind

    def own(wav, magnitude):
        return torch.zeros(magnitude.shape, dtype=torch.int64)

    assert build_segments(own, STFT) is own


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        (lambda wav, magnitude: torch.zeros(3), "return one integer for each bin"),
        (lambda wav, magnitude: magnitude, "return one integer for each bin"),
        (Parts(STFT, lambda wav: wav), r"return its parts \(P, T\)"),
        (Parts(STFT, lambda wav: wav[None, :5]), r"return its parts \(P, T\)"),
        (Parts(STFT, lambda wav: 1 / 0), "separate cannot separate a clip"),
    ],
)
def test_segments_that_cannot_work_are_refused(segments, words):
    batch = decided(black_box("band"), noise(1))
    with pytest.raises(SettingError, match=words) as refused:
        FeatureAblation(STFT, segments).relevance(*batch)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: build_segments("words", STFT), "--segments windows, bands"),
        (lambda: Windows(STFT, 0), "--segment_ms a number above 0"),
        (lambda: Tiles(STFT, -1, 100), "--segment_hz a number above 0"),
        (lambda: HarmonicPercussive(STFT, "long"), "--segment_ms"),
    ],
)
def test_a_size_that_cannot_work_is_refused(build, words):
    with pytest.raises(SettingError, match=words):
        build()
