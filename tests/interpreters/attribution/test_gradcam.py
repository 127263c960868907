"""GradCAM equals its literal twin and Captum's, at any layer."""

from dataclasses import replace

import pytest
import torch
from captum.attr import LayerGradCam

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from tests.conftest import SAMPLE_RATE
from tests.interpreters.attribution.helpers import (
    DOMAINS,
    attributed,
    bursts,
    clip_logits,
    of_waveforms,
)
from tests.networks import waveform_classifier

# Captum warns of hooks, which it removes again.
pytestmark = pytest.mark.filterwarnings("ignore:Setting")


@pytest.mark.parametrize("layer", ["conv_block6", "conv_block3"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradcam_equals_its_literal_twin(build, classifier, decided, layer, domain):
    settings = {"gradcam": {"layer": layer}}
    method = build("gradcam", domain=domain, settings=settings)
    _, target, ours = attributed(method, decided, 0)
    log_mel = decided[2].inputs[:1].clone().requires_grad_()
    embedding, reps = classifier.embedding_model(log_mel)
    activation, span = {"conv_block6": (reps[0], 32), "conv_block3": (reps[3], 8)}[
        layer
    ]
    logit = classifier.classifier(embedding)[0, target]
    (gradient,) = torch.autograd.grad(logit, activation)
    activation = activation.detach()
    weights = [float(channel.mean()) for channel in gradient[0]]
    n_frames, n_cells, n_rows = 87, activation.shape[2], activation.shape[3]
    bands = torch.zeros(n_frames, 80)
    for frame in range(n_frames):
        for band in range(80):
            row, column = min(frame // span, n_cells - 1), min(band // span, n_rows - 1)
            value = sum(
                a_k * float(activation[0, channel, row, column])
                for channel, a_k in enumerate(weights)
            )
            bands[frame, band] = max(value, 0.0)
    assert bands.max() > 0
    if domain == "stft":
        shares = classifier.mel.bands_of_bins
        bands = torch.stack([bands @ shares[:, column] for column in range(513)], dim=1)
    torch.testing.assert_close(ours[0], bands, rtol=1e-4, atol=1e-6)


def upsample_nearest(cells, n_frames, n_columns, span):
    """Nearest upsampling of cells (1, time, frequency), each of span x span entries."""
    rows = (torch.arange(n_frames) // span).clamp(max=cells.shape[1] - 1)
    columns = (torch.arange(n_columns) // span).clamp(max=cells.shape[2] - 1)
    return cells[:, rows][:, :, columns]


@pytest.mark.parametrize(("layer", "span"), [("conv_block6", 32), ("conv_block3", 8)])
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradcam_equals_captums(build, classifier, decided, layer, span, domain):
    """Captum's entries, each repeated for the frames and bands that it pools."""
    method = build("gradcam", domain=domain, settings={"gradcam": {"layer": layer}})
    module = classifier.embedding_model.get_submodule(layer)
    positive = []
    for clip in range(3):
        x, target, ours = attributed(method, decided, clip)
        logits = clip_logits(method, decided, clip)
        theirs = LayerGradCam(logits, module).attribute(
            x.requires_grad_(), target, relu_attributions=True
        )
        expected = upsample_nearest(theirs[:, 0].detach(), x.shape[1], 80, span)
        if domain == "stft":
            expected = expected @ classifier.mel.bands_of_bins
        positive.append(bool(expected.max() > 0))
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    assert any(positive)


def test_gradcam_takes_the_deepest_layer_by_default(build, decided):
    deepest = build("gradcam", settings={"gradcam": {"layer": "conv_block6"}})
    for ours, expected in zip(
        attributed(build("gradcam"), decided, 0),
        attributed(deepest, decided, 0),
        strict=True,
    ):
        assert (
            ours == expected if isinstance(ours, int) else torch.equal(ours, expected)
        )


def test_gradcam_marks_the_time_and_the_band_of_an_event(build, spectral):
    """The classifier's entries are the loudness of their own frames and bands."""
    classifier = Cnn14Classifier(spectral, 80, (2, 2, 2, 2, 2), 4, 2).freeze()
    for kernel in (p for p in classifier.parameters() if p.dim() == 4):
        kernel.zero_()
        kernel[:, :, 1, 1] = 1 / kernel.shape[1]
    classifier.classifier.bias.zero_()
    classifier.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 4))
    # Frames 70 to 90 are in the third cell of six; 500 Hz is in the first of two.
    wavs = torch.zeros(1, 2 * SAMPLE_RATE)
    first, last = 70 * spectral.hop_samples, 90 * spectral.hop_samples
    time = torch.arange(first, last) / SAMPLE_RATE
    wavs[0, first:last] = torch.sin(2 * torch.pi * 500 * time)
    features, decision = decide(wavs, spectral, classifier)
    for domain, column in (("stft", 32), ("mel", 10)):  # both of 500 Hz
        method = build("gradcam", domain=domain)
        mask = method(wavs, features, decision).mask[0]
        assert (mask[64:96, column] > 0.999).all()
        assert (mask[64:96, -1] < 0.5).all()
        assert (mask[:64, column] < 0.01).all()
        assert (mask[96:, column] < 0.01).all()


def test_guided_gradcam_is_the_product(build, decided):
    _, _, gradcam = attributed(build("gradcam"), decided, 0)
    _, _, guided = attributed(build("guided_backprop"), decided, 0)
    _, _, product = attributed(build("guided_gradcam"), decided, 0)
    torch.testing.assert_close(product, gradcam * guided)


def test_an_entry_is_repeated_for_the_frames_nearest_to_its_centre(build, decided):
    """For the deepest layer of CNN14, and for a hop that is no multiple of a frame."""
    method, hop = build("gradcam"), 186
    rep = decided[2].representations[0]
    cells = method.nearest_entries(rep, 87).tolist()
    assert cells == [min(frame // 32, 1) for frame in range(87)]
    geometry = replace(rep.geometry, hop_samples=700.0, offset_samples=333.0)
    odd = replace(rep, values=torch.zeros(1, 2, 20, 3), geometry=geometry)
    for frame, cell in enumerate(method.nearest_entries(odd, 87).tolist()):
        distances = [abs(frame * hop - (333 + 700 * j)) for j in range(20)]
        assert distances[cell] == min(distances)


@pytest.mark.parametrize("layer", ["relu3", "relu2"])
def test_gradcam_of_a_hooked_layer_equals_captums(build, spectral, layer):
    """Each entry along time is repeated for the frames nearest to its centre."""
    classifier, wavs = of_waveforms(), bursts(2)
    settings = {"gradcam": {"layer": layer}}
    method = build("gradcam", classifier_input="audio", settings=settings)
    decided = wavs, *decide(wavs, spectral, classifier)
    hop, offset = next(
        (rep.hop_samples, rep.offset_samples)
        for rep in classifier.geometry
        if rep.name == layer
    )
    for clip in range(2):
        x, target, ours = attributed(method, decided, clip)
        logits = clip_logits(method, decided, clip)
        theirs = LayerGradCam(logits, classifier.network.get_submodule(layer))
        cells = theirs.attribute(x.requires_grad_(), target, relu_attributions=True)
        cells = cells[0, 0].detach()
        assert cells.max() > 0
        for frame in range(87):
            nearest = min(
                range(len(cells)),
                key=lambda j: abs(offset + j * hop - frame * spectral.hop_samples),
            )
            expected = cells[nearest].expand(513)
            torch.testing.assert_close(ours[0, frame], expected, rtol=1e-4, atol=1e-7)


def test_gradcam_needs_representations(build):
    classifier = waveform_classifier(representations=[])
    with pytest.raises(SettingError, match="representations"):
        build("gradcam", classifier_input="audio").check(classifier)


def test_a_layer_that_gives_no_representation_is_named(build, classifier):
    method = build("gradcam", settings={"gradcam": {"layer": "fc"}})
    with pytest.raises(SettingError, match="--gradcam_layer one of conv_block6"):
        method.check(classifier)
