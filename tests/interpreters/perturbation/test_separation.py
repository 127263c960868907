"""A SpeechBrain separator as the segments of audioLIME, without a download."""

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.separation import SepformerSeparation

from lmac_td.errors import CheckpointError
from lmac_td.interpreters.perturbation import AudioLime, Separator, build_parts
from lmac_td.interpreters.perturbation.segments import HarmonicPercussive, Parts
from tests.interpreters.perturbation.helpers import STFT, black_box, decided
from tests.networks import noise

# As the yaml of a model on the hub.
SEPFORMER = """
pretrained_path: owner/of-the-original
sample_rate: {rate}
num_spks: 2
encoder: !new:speechbrain.lobes.models.dual_path.Encoder
    kernel_size: 16
    out_channels: 8
masknet: !new:speechbrain.lobes.models.dual_path.Dual_Path_Model
    in_channels: 8
    out_channels: 8
    num_layers: 1
    K: 50
    num_spks: 2
    intra_model: &block !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
        num_layers: 1
        d_model: 8
        nhead: 2
        d_ffn: 8
        norm_before: True
    inter_model: *block
decoder: !new:speechbrain.lobes.models.dual_path.Decoder
    in_channels: 8
    out_channels: 1
    kernel_size: 16
    stride: 8
    bias: False
modules:
    encoder: !ref <encoder>
    masknet: !ref <masknet>
    decoder: !ref <decoder>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        encoder: !ref <encoder>
        masknet: !ref <masknet>
        decoder: !ref <decoder>
"""


def save_separator(folder, rate):
    """A folder as the hub has it: the yaml, and the weights of three modules."""
    folder.mkdir()
    text = SEPFORMER.format(rate=rate)
    (folder / "hyperparams.yaml").write_text(text)
    for name, module in load_hyperpyyaml(text)["modules"].items():
        torch.save(module.state_dict(), folder / f"{name}.ckpt")
    return folder


@pytest.fixture
def source(tmp_path):
    return save_separator(tmp_path / "sepformer", 16000)


def test_it_separates_as_speechbrain_does(source):
    wav = noise(1)[0]
    separator = Separator(source, 16000)
    found = separator(wav)
    model = SepformerSeparation.from_hparams(
        source=str(source), run_opts={"device": "cpu"}
    )
    with torch.no_grad():
        expected = model.separate_batch(wav[None])[0].T
    assert found.shape == (2, len(wav))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(separator(wav), found)


def test_clips_are_resampled_to_the_rate_of_the_model(tmp_path):
    separator = Separator(save_separator(tmp_path / "slow", 8000), 16000)
    parts = separator(noise(1, n_samples=16001)[0])
    assert parts.shape == (2, 16001)
    power = torch.fft.rfft(parts).abs().square().sum(dim=0)
    above = power[int(0.55 * len(power)) :].sum() / power.sum()
    assert above < 1e-3  # nothing above 4 kHz


def test_its_parts_are_the_segments_of_audiolime(source):
    parts = build_parts(str(source), STFT, segment_ms=250)
    assert isinstance(parts, Parts)
    batch = decided(black_box("window"), noise(1))
    numbers = parts(batch[0][0], batch[1].magnitude[0])
    assert 2 <= numbers.unique().numel() <= 2 * 4
    relevance = AudioLime(STFT, parts, n_calls=30).relevance(*batch)[0]
    assert relevance.isfinite().all()
    assert relevance.std() > 0
    for number in numbers.unique():
        assert relevance[numbers == number].unique().numel() == 1


def test_loading_leaves_the_random_state_alone(source):
    state = torch.get_rng_state()
    Separator(source, 16000)(noise(1)[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_median_filters_need_no_model():
    parts = build_parts(None, STFT, segment_ms=None)
    assert isinstance(parts, HarmonicPercussive)
    assert parts.segment_ms is None


@pytest.mark.parametrize("name", ["missing", "/no/such/folder", "./owner/name"])
def test_a_source_that_does_not_exist_is_refused(name):
    with pytest.raises(CheckpointError, match="give --separator a folder") as refused:
        build_parts(name, STFT)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="has no hyperparams"):
        build_parts(tmp_path, STFT)


def test_a_model_that_cannot_be_loaded_is_one_sentence(source):
    (source / "masknet.ckpt").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="--separator null") as refused:
        Separator(source, 16000)(noise(1)[0])
    assert "\n" not in str(refused.value)
