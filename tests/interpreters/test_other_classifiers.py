"""Every method explains classifiers of waveforms and of other spectrograms, too."""

from dataclasses import replace

import pytest
import torch

from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.errors import SettingError
from lmac_td.evaluation.columns import rows_of
from lmac_td.evaluation.equal_size import at_equal_size
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import score
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.features import LogMel
from lmac_td.interpreters.attribution import build_attributions
from lmac_td.interpreters.attribution.gradcam import GradCAM
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.interpreters.l2i import L2I
from lmac_td.interpreters.lmac import LMAC
from lmac_td.interpreters.lmac_td import LMACTD
from lmac_td.metrics import completeness_db
from lmac_td.metrics.curves import SIZES
from lmac_td.nn.decoders import build_mask_unet, build_unet
from lmac_td.nn.filterbank import Filterbank
from lmac_td.nn.psi import build_psi, build_theta
from lmac_td.nn.sepformer import MaskNet
from lmac_td.training.objectives import L2ILoss, MaskingLoss
from tests.batches import decided_batch, explained_batch
from tests.networks import (
    SAMPLE_RATE,
    noise,
    spectrogram_classifier,
    square_root_features,
    waveform_classifier,
)

BUILDERS = {"waveform": waveform_classifier, "spectrogram": spectrogram_classifier}
CHANNELS = (4, 4, 4)


@pytest.fixture(params=list(BUILDERS))
def kind(request):
    return request.param


@pytest.fixture
def classifier(kind):
    return BUILDERS[kind]()


@pytest.fixture
def features(classifier, spectral):
    """The classifier's own STFT where it has one."""
    return classifier.spectrogram or spectral


def build(name, classifier, features):
    """A narrow interpreter by its name."""
    if name == "lmac_td":
        masknet = MaskNet(
            16, 8, num_layers=1, chunk_size=20, intra_layers=1, inter_layers=1,
            nhead=2, d_ffn=8,
        )  # fmt: skip
        unet = build_unet("aligned", classifier, features, 16, CHANNELS)
        filterbank = Filterbank(kernel_size=8, out_channels=16)
        return LMACTD(features, filterbank, unet, masknet).eval()
    if name == "l2i":
        w = torch.rand(features.n_bins, 6)
        psi = build_psi(classifier, features, w, width=4)
        theta = build_theta(w, classifier, "att")
        return L2I(features, w, psi, theta, mask_domain="magnitude")
    decoder = build_mask_unet("aligned", "stft", classifier, features, CHANNELS)
    return LMAC(features, decoder, classifier_input=name.removeprefix("lmac "))


@pytest.fixture
def learned(kind, classifier, features):
    """The methods that are trained, by name."""
    names = ["lmac_td", "l2i", "lmac audio"]
    if kind == "spectrogram":
        names.append("lmac spectrogram")
    return {name: build(name, classifier, features) for name in names}


@pytest.fixture
def decided(classifier, features):
    wavs = noise(3)
    return decided_batch(wavs, features, classifier, (0.6 * wavs, 0.4 * wavs))


@pytest.fixture
def explained(decided, learned, features):
    methods = {**learned, **reference_interpreters(features)}
    for interpreter in methods.values():
        interpreter.check(decided.decision.classifier)
    oracle = methods.pop("oracle")
    sources = {"sources": decided.sources}
    batches = {n: explained_batch(i, decided) for n, i in methods.items()}
    explanation = oracle(decided.wavs, decided.features, decided.decision, **sources)
    return batches | {"oracle": replace(batches["identity"], explanation=explanation)}


def test_the_contract_is_kept(decided, classifier, features, explained):
    for name, batch in explained.items():
        explanation = batch.explanation
        assert explanation.interpretation.shape == decided.wavs.shape, name
        assert explanation.residual.shape == decided.wavs.shape, name
        assert explanation.kept_input.shape == decided.decision.inputs.shape, name
        assert explanation.removed_input.shape == decided.decision.inputs.shape, name
        assert explanation.magnitude.shape == decided.features.magnitude.shape, name
        assert explanation.mask.min() >= 0, name
        assert explanation.mask.max() <= 1, name
        magnitude = features(explanation.interpretation).magnitude
        torch.testing.assert_close(explanation.magnitude, magnitude)
        completeness = completeness_db(
            decided.wavs, explanation.interpretation, explanation.residual
        )
        assert (completeness > 80).all(), (name, completeness)
        if name == "lmac spectrogram":
            mask, x = explanation.mask, decided.features.magnitude
            kept = classifier.inputs_of(magnitude=mask * x)
            removed = classifier.inputs_of(magnitude=(1 - mask) * x)
        else:
            kept = classifier.inputs_of(explanation.interpretation)
            removed = classifier.inputs_of(explanation.residual)
        for ours, expected in (
            (explanation.kept_input, kept),
            (explanation.removed_input, removed),
        ):
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_identity_and_zeros_return_the_input_bit_by_bit(decided, explained):
    identity, zeros = explained["identity"], explained["zeros"]
    assert identity.explanation.kept_input is decided.decision.inputs
    assert zeros.explanation.removed_input is decided.decision.inputs
    torch.testing.assert_close(identity.kept_logits, decided.decision.logits)
    torch.testing.assert_close(zeros.kept_logits, identity.removed_logits)


def test_the_result_for_a_clip_does_not_depend_on_its_batch(
    decided, classifier, features, learned
):
    for name, interpreter in learned.items():
        batch = explained_batch(interpreter, decided)
        for clip in range(len(decided)):
            wav = decided.wavs[clip : clip + 1]
            single = explained_batch(
                interpreter, decided_batch(wav, features, classifier)
            )
            for field in ("interpretation", "residual", "mask"):
                torch.testing.assert_close(
                    getattr(single.explanation, field)[0],
                    getattr(batch.explanation, field)[clip],
                    atol=1e-5,
                    rtol=1e-5,
                    msg=lambda text, name=name: f"{name}: {text}",
                )


def test_every_method_can_be_trained_on_them(decided, learned):
    for name, interpreter in learned.items():
        objective = L2ILoss() if name == "l2i" else MaskingLoss(regulariser="mask")
        terms = objective(explained_batch(interpreter, decided), None)
        assert terms.loss.isfinite().all(), name
        terms.loss.mean().backward()
        gradients = [p.grad for p in interpreter.parameters() if p.requires_grad]
        assert all(g is not None and g.isfinite().all() for g in gradients), name
        assert any(g.abs().sum() > 0 for g in gradients), name
        assert all(p.grad is None for p in decided.decision.classifier.parameters())


def test_equal_size_scores_equal_a_literal_computation(
    kind, decided, classifier, features, explained
):
    result = explained["lmac audio"]
    with torch.no_grad():
        ours = at_equal_size(result, features)
    x = decided.features
    for clip in range(len(decided)):
        c = int(decided.decision.target[clip])
        rank = result.explanation.magnitude[clip].detach().flatten()
        energy = x.magnitude[clip].double().square().flatten()
        order = rank.argsort(descending=True, stable=True)
        for i, size in enumerate(SIZES):
            n = int((energy[order].cumsum(0) < size * energy.sum()).sum()) + 1
            top = torch.zeros_like(rank)
            top[order[:n]] = 1
            top = top.view_as(x.magnitude[clip])
            for name, part in (("p_kept", top), ("p_removed", 1 - top)):
                if kind == "waveform":
                    sound = features.istft((x.stft[clip] * part)[None], SAMPLE_RATE)
                    inputs = classifier.inputs_of(sound)
                else:
                    masked = (x.magnitude[clip] * part)[None]
                    inputs = classifier.inputs_of(magnitude=masked)
                expected = classifier(inputs).logits.softmax(-1)[0, c]
                torch.testing.assert_close(
                    ours[name][clip, i], expected, atol=2e-5, rtol=0
                )


def test_scores_keep_their_invariants(decided, explained, features):
    table = FaithfulnessTable(n_resamples=20)
    for name, batch in explained.items():
        with torch.no_grad():
            sizes = at_equal_size(batch, features)
            score(table, "x", name, decided, batch, sizes)
    check_invariants(table)
    identity = table.means("x", "identity")
    assert identity["AI"] == identity["AD"] == identity["AG"] == 0
    assert identity["Fid-In"] == 1
    assert table.means("x", "zeros")["FF"] == 0


def test_only_classifiers_of_spectrograms_take_masked_spectrograms(spectral):
    waveform = waveform_classifier()
    model = build("lmac spectrogram", waveform, spectral)
    with pytest.raises(SettingError, match="--classifier_input audio"):
        model.check(waveform)
    features = square_root_features()
    spectrogram = spectrogram_classifier()
    model = build("lmac spectrogram", spectrogram, features)
    model.check(spectrogram)
    assert rows_of({"lmac": model}) == ["lmac", "lmac, as audio"]
    with pytest.raises(SettingError, match="--domain stft"):
        build_mask_unet("aligned", "mel", spectrogram, features, CHANNELS)
    of_bands = LMAC(features, model.decoder, domain="mel")
    with pytest.raises(SettingError, match="--domain stft"):
        of_bands.check(spectrogram)


@pytest.mark.parametrize("name", ["lmac_td", "l2i", "lmac audio"])
def test_a_classifier_without_representations_is_refused(spectral, name):
    model = build(name, waveform_classifier(), spectral)
    bare = waveform_classifier(representations=[])
    with pytest.raises(SettingError, match="setting representations"):
        model.check(bare)
    if name == "lmac_td":  # which may do without
        model.alpha = 0
        model.check(bare)


@pytest.mark.parametrize("name", ["lmac_td", "lmac audio"])
def test_a_black_box_is_refused_where_gradients_are_needed(spectral, name):
    classifier = waveform_classifier()
    model = build(name, classifier, spectral)
    classifier.differentiable = False
    with pytest.raises(SettingError, match="is a black box"):
        model.check(classifier)
    build("l2i", classifier, spectral).check(classifier)


@pytest.mark.parametrize("clip_samples", [None, 2 * SAMPLE_RATE])
def test_mel_bands_are_masked_where_clips_are_followed_by_silence(clip_samples):
    """A network that takes clips of one length may be given shorter ones."""
    features, n_mels = square_root_features(), 40
    mel = LogMel(SAMPLE_RATE, features.n_fft, n_mels)
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, -1)),
        torch.nn.Conv2d(1, 3, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(3, 2),
    )
    place = {"hop_samples": features.hop_samples, "layout": "channels time frequency"}
    classifier = ModuleClassifier(
        network, SAMPLE_RATE, 2, representations={"1": place}, front_end=mel,
        features=features, clip_samples=clip_samples,
    ).freeze()  # fmt: skip
    decided = decided_batch(noise(2), features, classifier)
    decoder = build_mask_unet("aligned", "mel", classifier, features, CHANNELS)
    methods = build_attributions(
        ["saliency", "gradcam"], features=features, domain="mel"
    )
    methods["lmac"] = LMAC(features, decoder, domain="mel")
    n_frames = decided.features.magnitude.shape[1]
    for name, interpreter in methods.items():
        interpreter.check(classifier)
        explanation = explained_batch(interpreter, decided).explanation
        assert explanation.mask.shape == (2, n_frames, n_mels), name
        kept, removed = explanation.kept_input, explanation.removed_input
        mixture = decided.decision.inputs
        torch.testing.assert_close(kept.expm1() + removed.expm1(), mixture.expm1())
        expected = explanation.mask * mixture[:, :n_frames].expm1()
        torch.testing.assert_close(kept[:, :n_frames].expm1(), expected)


def test_gradcam_skips_a_layer_on_which_no_logit_depends(spectral):
    class Aside(torch.nn.Module):
        """A layer whose output is not used, and one on which the logits depend."""

        def __init__(self):
            super().__init__()
            self.aside = torch.nn.Conv1d(1, 3, 8, stride=4)
            self.conv = torch.nn.Conv1d(1, 3, 8, stride=4)
            self.head = torch.nn.Linear(3, 2)

        def forward(self, wavs):
            self.aside(wavs.unsqueeze(1))
            return self.head(self.conv(wavs.unsqueeze(1)).relu().mean(dim=2))

    layers = ["aside", "conv"]
    classifier = ModuleClassifier(Aside(), SAMPLE_RATE, 2, layers).freeze()
    decided = decided_batch(noise(2), spectral, classifier)
    masks = {
        layer: explained_batch(
            GradCAM(spectral, classifier_input="audio", layer=layer), decided
        ).explanation.mask
        for layer in (None, *layers)
    }
    torch.testing.assert_close(masks[None], masks["conv"])
    assert not masks["aside"].any()


def test_gradcam_finds_a_layer_whose_name_is_a_number(spectral):
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, -1)),
        torch.nn.Conv1d(1, 3, 64, stride=32),
        torch.nn.AdaptiveAvgPool1d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(3, 2),
    )
    classifier = ModuleClassifier(network, SAMPLE_RATE, 2, ["1"]).freeze()
    GradCAM(spectral, classifier_input="audio", layer=1).check(classifier)
