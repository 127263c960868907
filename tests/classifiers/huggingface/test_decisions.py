"""Features, logits and gradients equal those of transformers."""

import numpy as np
import pytest
import soundfile
import torch
import transformers

from lmac_td.classifiers.huggingface import HuggingFaceClassifier
from lmac_td.classifiers.huggingface_families import (
    SpectrogramPatches,
    WaveformSequence,
)
from tests.classifiers.huggingface.models import (
    AST,
    KINDS,
    clips,
    config_of,
    extractor_of,
    network_of,
)


def extracted(extractor, wavs):
    """The extractor's features of each clip."""
    rows = [
        extractor(
            wav.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt"
        )["input_values"][0]
        for wav in wavs
    ]
    return torch.stack(rows)


@pytest.mark.parametrize(
    "n_samples",
    # One frame is 400 samples, 1024 frames are 164080.
    [400, 401, 559, 560, 1600, 7777, 16000, *range(164079, 164082), 164240, 200000],
)
def test_ast_features_equal_those_of_its_extractor(n_samples):
    extractor = transformers.ASTFeatureExtractor()
    front_end = SpectrogramPatches(transformers.ASTConfig(), extractor)
    wavs = clips(2, n_samples)
    features = front_end.network_inputs(front_end(wavs))
    expected = extracted(extractor, wavs)
    assert features.shape == expected.shape == (2, 1024, 128)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": -3.0, "std": 2.5},
        {"do_normalize": False},
        {"num_mel_bins": 80},
        {"max_length": 300},
        {"sampling_rate": 32000},
    ],
)
def test_ast_features_follow_the_saved_extractor(tmp_path, settings):
    transformers.ASTFeatureExtractor(**settings).save_pretrained(tmp_path)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    config = transformers.ASTConfig(
        max_length=extractor.max_length, num_mel_bins=extractor.num_mel_bins
    )
    front_end = SpectrogramPatches(config, extractor)
    wavs = clips(2, 50000)
    features = front_end.network_inputs(front_end(wavs))
    torch.testing.assert_close(
        features, extracted(extractor, wavs), rtol=0, atol=1e-5 * 9
    )


def test_ast_inputs_end_where_the_clip_ends(folders):
    classifier = HuggingFaceClassifier(folders(AST))
    assert classifier.inputs_of(clips(2, 8000)).shape == (2, 48, 64)
    assert classifier.inputs_of(clips(2, 40000)).shape == (2, 128, 64)


@pytest.mark.parametrize("n_samples", [400, 8000, 100001])
@pytest.mark.parametrize("normalise", [True, False])
def test_waveforms_equal_those_of_the_extractor(n_samples, normalise):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    front_end = WaveformSequence(config_of("wav2vec2"), extractor)
    wavs = clips(3, n_samples) + 0.1
    expected = extracted(extractor, wavs)
    torch.testing.assert_close(front_end(wavs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_the_model_on_the_extractors_output(folders, kind):
    folder = folders(kind)
    network = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    wavs = clips()
    with torch.no_grad():
        expected = network(extracted(extractor, wavs)).logits
        decision = HuggingFaceClassifier(folder).decide(wavs)
    torch.testing.assert_close(decision.logits, expected, rtol=1e-4, atol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


@pytest.mark.parametrize("activation", ["auto", "softmax", "sigmoid"])
@pytest.mark.parametrize("kind", [AST, "ast-tags", "wav2vec2-layer", "hubert-tags"])
def test_probabilities_equal_the_pipeline_on_a_file(
    folders, tmp_path, kind, activation
):
    folder, path = folders(kind), tmp_path / "clip.wav"
    soundfile.write(path, clips(1, 12345)[0].numpy(), 16000, subtype="PCM_16")
    wav, sample_rate = soundfile.read(path, dtype="float32")
    pipeline = transformers.pipeline("audio-classification", str(folder))
    function = None if activation == "auto" else activation
    answers = pipeline(
        {"raw": wav, "sampling_rate": sample_rate},
        top_k=None,
        function_to_apply=function,
    )
    expected = {answer["label"]: answer["score"] for answer in answers}
    classifier = HuggingFaceClassifier(folder, activation=activation)
    assert classifier.sample_rate == sample_rate
    with torch.no_grad():
        decision = classifier.decide(torch.from_numpy(wav).unsqueeze(0))
    for label, p in zip(classifier.labels, decision.probabilities[0], strict=True):
        assert float(p) == pytest.approx(expected[label], abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_for_a_clip_does_not_depend_on_its_batch(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips(3)
    with torch.no_grad():
        together = classifier.decide(wavs)
        alone = [classifier.decide(wav.unsqueeze(0)) for wav in wavs]
    logits = torch.cat([decision.logits for decision in alone])
    torch.testing.assert_close(together.logits, logits, rtol=1e-4, atol=1e-4)
    for place, representation in enumerate(together.representations):
        values = [decision.representations[place].values for decision in alone]
        torch.testing.assert_close(
            representation.values, torch.cat(values), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_waveform(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips().requires_grad_()
    decision = classifier.decide(wavs)
    decision.logits[:, 0].sum().backward()
    assert wavs.grad.isfinite().all()
    assert (wavs.grad.abs().sum(dim=1) > 0).all()
    for parameter in classifier.parameters():
        assert parameter.grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_at_digital_silence(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = torch.zeros(2, 8000)
    wavs[1, :3000] = clips(1, 3000)[0]
    wavs.requires_grad_()
    classifier.decide(wavs).logits.square().sum().backward()
    assert wavs.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_calls_agree_bit_by_bit_even_after_train(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips()
    first = classifier.decide(wavs)
    second = classifier.train().decide(wavs)
    assert not any(part.training for part in classifier.network.modules())
    assert torch.equal(first.logits, second.logits)
    for one, other in zip(first.representations, second.representations, strict=True):
        assert torch.equal(one.values, other.values)


@pytest.mark.parametrize("kind", [AST, "wav2vec2", "wavlm"])
def test_autocast_leaves_the_front_end_in_float32(folders, kind):
    classifier = HuggingFaceClassifier(folders(kind))
    wavs = clips().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decision = classifier.decide(wavs)
        decision.logits[:, 0].float().sum().backward()
    expected = classifier.decide(wavs)
    assert torch.equal(decision.inputs, expected.inputs)
    torch.testing.assert_close(
        decision.probabilities, expected.probabilities, rtol=0, atol=0.03
    )
    assert wavs.grad.isfinite().all()


def test_weights_in_half_precision_are_computed_in_float32(tmp_path):
    config = config_of("wav2vec2")
    network_of(config).half().save_pretrained(tmp_path)
    extractor_of(config).save_pretrained(tmp_path)
    classifier = HuggingFaceClassifier(tmp_path)
    assert {p.dtype for p in classifier.parameters()} == {torch.float32}


def test_weights_saved_by_torch_load_too(copied):
    expected = HuggingFaceClassifier(copied).decide(clips()).logits
    network = transformers.AutoModelForAudioClassification.from_pretrained(copied)
    (copied / "model.safetensors").unlink()
    torch.save(network.state_dict(), copied / "pytorch_model.bin")
    assert torch.equal(HuggingFaceClassifier(copied).decide(clips()).logits, expected)


def test_weights_in_several_files_load_too(copied):
    expected = HuggingFaceClassifier(copied).decide(clips()).logits
    network = transformers.AutoModelForAudioClassification.from_pretrained(copied)
    (copied / "model.safetensors").unlink()
    network.save_pretrained(copied, max_shard_size="50KB")
    assert not (copied / "model.safetensors").exists()
    assert torch.equal(HuggingFaceClassifier(copied).decide(clips()).logits, expected)


@pytest.mark.parametrize("kind", [AST, "unispeech-sat"])
def test_loading_and_deciding_leave_the_global_generators_alone(folders, kind):
    folder = folders(kind)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    HuggingFaceClassifier(folder).decide(clips())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_loading_prints_nothing_and_leaves_the_settings_of_transformers(folders, capfd):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    HuggingFaceClassifier(folders(AST))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_labels_are_in_the_order_of_the_logits(folders):
    classifier = HuggingFaceClassifier(folders("wav2vec2"))
    assert classifier.labels == ("dog", "rain", "sea", "baby", "clock")
    assert classifier.n_classes == 5


@pytest.mark.parametrize(
    ("kind", "asked", "given"),
    [
        ("wav2vec2", "auto", "softmax"),
        ("hubert-tags", "auto", "sigmoid"),
        ("wav2vec2", "sigmoid", "sigmoid"),
        ("hubert-tags", "softmax", "softmax"),
    ],
)
def test_activation_is_the_models_unless_it_is_set(folders, kind, asked, given):
    classifier = HuggingFaceClassifier(folders(kind), activation=asked, threshold=0.3)
    assert (classifier.activation, classifier.threshold) == (given, 0.3)
    decision = classifier.decide(clips())
    apply = {"softmax": lambda x: x.softmax(dim=1), "sigmoid": torch.sigmoid}[given]
    assert torch.equal(decision.probabilities, apply(decision.logits))
