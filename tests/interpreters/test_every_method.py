"""Every method explains every kind of classifier that it can serve."""

import copy
import functools

import pytest
import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from torch.utils.data import DataLoader

from lmac_td.classifiers.check import check_classifier
from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.classifiers.huggingface import HuggingFaceClassifier
from lmac_td.contracts import Explanation
from lmac_td.data.mixing import make_mixtures
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import choose_targets, decide_batch
from lmac_td.evaluation.columns import rows_of
from lmac_td.evaluation.explaining import explain
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.attribution import METHODS, build_attributions
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.interpreters.flint import FLINT
from lmac_td.interpreters.l2i import L2I
from lmac_td.interpreters.lmac import LMAC
from lmac_td.interpreters.lmac_td import LMACTD
from lmac_td.interpreters.vibi import VIBI
from lmac_td.nn.attributes import (
    AttributeDecoder,
    build_attribute_head,
    build_attribute_maps,
)
from lmac_td.nn.chunks import ChunkExplainer, build_approximator
from lmac_td.nn.decoders import build_mask_unet, build_unet
from lmac_td.nn.filterbank import Filterbank
from lmac_td.nn.psi import build_psi, build_theta
from lmac_td.nn.sepformer import MaskNet
from lmac_td.targets import TargetChoice
from lmac_td.training.brain import InterpreterBrain
from lmac_td.training.objectives import FLINTLoss, L2ILoss, MaskingLoss, VIBILoss
from tests.classifiers.huggingface.models import AST, config_of, save
from tests.networks import (
    SAMPLE_RATE,
    noise,
    spectrogram_classifier,
    square_root_features,
    waveform_classifier,
)

N_CLASSES = 5
CLASSIFIERS = ["cnn14", "spectrogram_cnn", "waveform_cnn", "ast", "wav2vec2"]
ACTIVATIONS = ["softmax", "sigmoid"]
LEARNED = ["lmac_td", "lmac", "l2i", "flint", "vibi"]
# Attributions that replace the gradients of modules and would miss steps: the ReLU
# of ImageCnn works in place and is used twice, transformers call functions.
REFUSED = {
    "cnn14": set(),
    "spectrogram_cnn": {"guided_backprop", "guided_gradcam", "deeplift_shap"},
    "waveform_cnn": set(),
    "ast": {"guided_backprop", "guided_gradcam", "deeplift_shap"},
    "wav2vec2": {"guided_backprop", "guided_gradcam", "deeplift_shap"},
}
# Those of one method are trained; LMAC-TD's filterbank is not.
TRAINED = {
    "lmac_td": {"unet", "masknet"},
    "lmac": {"decoder"},
    "l2i": {"psi", "theta"},
    "flint": {"psi", "head", "decoder"},
    "vibi": {"explainer", "approximator"},
}
OBJECTIVES = {"l2i": L2ILoss, "flint": FLINTLoss, "vibi": VIBILoss}
QUICK = {
    "smoothgrad": {"n_samples": 2},
    "integrated_gradients": {"n_steps": 2},
    "gradient_shap": {"n_samples": 2},
    "occlusion": {"time_segments": 2, "frequency_segments": 2},
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Folders with a tiny AST and a tiny wav2vec2 of random weights."""
    folder = tmp_path_factory.mktemp("huggingface")
    return {
        "ast": save(folder / "ast", config_of(AST)),
        "wav2vec2": save(folder / "wav2vec2", config_of("wav2vec2")),
    }


@pytest.fixture(scope="session")
def classifier_of(saved):
    """Frozen classifiers by kind and activation, each built once."""

    @functools.cache
    def build(kind, activation):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if kind in saved:
                return HuggingFaceClassifier(saved[kind], activation=activation)
            if kind == "spectrogram_cnn":
                return spectrogram_classifier(N_CLASSES, activation=activation)
            if kind == "waveform_cnn":
                return waveform_classifier(N_CLASSES, activation=activation)
            stft = SpectralFeatures(SAMPLE_RATE, 1024, 23.2199, 11.6099)
            cnn14 = Cnn14Classifier(stft, 80, (2, 4, 4, 8, 8), 8, N_CLASSES)
            torch.nn.init.normal_(cnn14.classifier.weight, std=3.0)
            cnn14.activation = activation
            return cnn14.freeze()

    return build


@pytest.fixture(params=[f"{c}-{a}" for c in CLASSIFIERS for a in ACTIVATIONS])
def kind(request):
    """One kind of classifier and its activation."""
    return tuple(request.param.split("-"))


@pytest.fixture
def classifier(kind, classifier_of):
    return classifier_of(*kind)


@pytest.fixture
def features(classifier):
    """The classifier's own STFT, or any STFT for a classifier of waveforms."""
    return classifier.spectrogram or square_root_features()


@pytest.fixture(scope="session")
def loader():
    """Three one-second clips in noise, of different sounds and levels."""
    seconds = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    clips = torch.stack(
        [
            (6.2832 * 440 * seconds).sin() * (seconds < 0.5),
            noise(1, seed=1)[0],
            (6.2832 * (300 + 2000 * seconds) * seconds).sin() * 0.1,
        ]
    )
    entries = [
        {
            "id": f"clip{number}",
            "clip": clip,
            "interference": interference,
            "snr_db": 5.0,
            "class_index": number,
        }
        for number, (clip, interference) in enumerate(
            zip(clips, noise(len(clips), seed=2), strict=True)
        )
    ]
    return DataLoader(entries, batch_size=3, collate_fn=PaddedBatch)


def input_of(classifier):
    """What masks are given as: audio where there is no spectrogram front end."""
    return "spectrogram" if classifier.takes_spectrograms else "audio"


def learned(method, classifier, features):
    """A narrow interpreter that is planned from the classifier's representations."""
    if method == "lmac_td":
        return LMACTD(
            features,
            Filterbank(kernel_size=8, out_channels=16),
            build_unet("aligned", classifier, features, 16, (4, 4, 4, 4)),
            MaskNet(
                16, 8, num_layers=1, chunk_size=20, intra_layers=1, inter_layers=1,
                nhead=2, d_ffn=8,
            ),
        )  # fmt: skip
    if method == "lmac":
        decoder = build_mask_unet("aligned", "stft", classifier, features, (4, 4, 4, 4))
        return LMAC(features, decoder, classifier_input=input_of(classifier))
    if method == "flint":
        psi = build_attribute_maps(classifier, n_attributes=6, width=4)
        head = build_attribute_head(classifier, n_attributes=6)
        return FLINT(features, psi, head, AttributeDecoder(6, width=4))
    if method == "vibi":
        approximator = build_approximator(classifier, features, width=2)
        return VIBI(features, ChunkExplainer(width=2), approximator)
    dictionary = torch.rand(features.n_bins, 6)
    psi = build_psi(classifier, features, dictionary, width=4)
    return L2I(features, dictionary, psi, build_theta(dictionary, classifier, "att"))


def attributions(classifier, features, domain="stft"):
    """All attributions, by name."""
    return build_attributions(
        list(METHODS),
        QUICK,
        domain=domain,
        features=features,
        classifier_input=input_of(classifier),
    )


def served(interpreters, classifier):
    """The methods that accept the classifier, and the messages of the others."""
    able, refusals = {}, {}
    for name, interpreter in interpreters.items():
        try:
            interpreter.check(classifier)
            able[name] = interpreter
        except SettingError as error:
            refusals[name] = str(error)
    return able, refusals


def test_the_check_at_loading_accepts_all(classifier, features):
    assert check_classifier(classifier, features, SAMPLE_RATE) == []


def test_every_method_is_evaluated(kind, classifier, features, loader):
    """All methods in one table, which keeps the invariants of every table."""
    able, refusals = served(attributions(classifier, features), classifier)
    assert set(refusals) == REFUSED[kind[0]]
    for name, sentence in refusals.items():
        assert classifier.name in sentence
        assert f"leave {name} out of --methods" in sentence
        assert "\n" not in sentence
    methods = {name: learned(name, classifier, features).eval() for name in LEARNED}
    methods |= reference_interpreters(features)
    assert served(methods, classifier) == (methods, {})
    if kind == ("cnn14", "softmax"):
        able |= attributions(classifier, features, domain="mel")
    methods |= able
    table, explained_as = FaithfulnessTable(n_resamples=10), {}

    def keep(condition, method, decided, explained):
        explained_as[method] = explained

    evaluate(
        table, "in_domain", methods, loader, features, classifier,
        on_batch=keep, progress=False, targets=TargetChoice("decided"),
    )  # fmt: skip
    check_invariants(table)
    assert [method for _, method in table.rows] == rows_of(methods)
    for (_, method), scores in table.rows.items():
        assert scores["clip_id"].tolist() == ["clip0", "clip1", "clip2"], method
    for method, explained in explained_as.items():
        explanation = explained.explanation
        for value in vars(explanation).values():
            assert torch.isfinite(value.double()).all(), method
        shape = explained.wavs.shape
        assert explanation.interpretation.shape == explanation.residual.shape == shape
        assert explanation.magnitude.shape == explained.features.magnitude.shape
        assert 0 <= explanation.mask.min() <= explanation.mask.max() <= 1, method
    for method in ("lmac_td", "identity", "half gain", "random mask", "oracle"):
        found = explained_as[method].explanation
        torch.testing.assert_close(
            found.interpretation + found.residual,
            explained_as[method].wavs,
            atol=1e-4,
            rtol=0,
        )


@pytest.mark.parametrize("method", LEARNED)
def test_a_training_step_changes_only_the_interpreter(
    method, classifier, features, loader, tmp_path
):
    interpreter = learned(method, classifier, features)
    objective = OBJECTIVES.get(method, MaskingLoss)()
    frozen = copy.deepcopy(classifier.state_dict())
    before = copy.deepcopy(interpreter.state_dict())
    brain = InterpreterBrain(
        modules={
            "features": features,
            "classifier": classifier,
            "interpreter": interpreter,
        },
        opt_class=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        hparams={"objective": objective, "targets": TargetChoice(), "seed": 0},
        run_opts={"device": "cpu"},
    )
    brain.init_optimizers()
    brain.on_stage_start(Stage.TRAIN, epoch=1)
    brain.modules.train()
    (batch,) = loader
    assert brain.fit_batch(batch).isfinite()

    changed = {
        name.split(".")[0]
        for name, value in interpreter.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == TRAINED[method]
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, frozen[name]), name
    assert all(parameter.grad is None for parameter in classifier.parameters())
    # The STFT, which has no modes, is shared with the recipe.
    parts = [module for module in classifier.modules() if module is not features]
    assert not any(module.training for module in parts)
    # Checkpoints hold no part of the classifier, nor does a count of parameters.
    own = {value.data_ptr() for value in interpreter.state_dict().values()}
    own |= {parameter.data_ptr() for parameter in interpreter.parameters()}
    assert own.isdisjoint(
        value.data_ptr() for value in classifier.state_dict().values()
    )


@pytest.mark.parametrize("kind", [("waveform_cnn", "softmax"), ("ast", "sigmoid")])
def test_classifiers_of_waveforms_refuse_masked_spectrograms(classifier, features):
    decoder = build_mask_unet("aligned", "stft", classifier, features, (4, 4, 4, 4))
    for interpreter in (LMAC(features, decoder), METHODS["occlusion"](features)):
        with pytest.raises(SettingError, match=r"give --classifier_input audio"):
            interpreter.check(classifier)
    with pytest.raises(SettingError, match=r"no mel bands .* give --domain stft"):
        METHODS["saliency"](features, domain="mel").check(classifier)


@pytest.mark.parametrize("kind", [("waveform_cnn", "sigmoid"), ("ast", "sigmoid")])
def test_an_explanation_follows_the_tag_that_is_explained(classifier, features, loader):
    """Two tags of one clip have two explanations of the same sound."""
    (batch,) = loader
    decided = decide_batch(batch, make_mixtures(batch, "cpu"), features, classifier)
    methods = served(attributions(classifier, features), classifier)[0]
    maps = []
    for tag in (0, 1):
        chosen, _ = choose_targets(decided, TargetChoice(tag))
        assert chosen.decision.target.tolist() == [tag] * 3
        with torch.no_grad():
            found = explain(chosen, methods["saliency"])
        assert isinstance(found.explanation, Explanation)
        maps.append(found.explanation.mask)
    assert (maps[0] - maps[1]).abs().amax(dim=(1, 2)).min() > 1e-3


def gradcam(classifier, features, loader, layer=None):
    """A decided batch and the masks that GradCAM makes of it."""
    (batch,) = loader
    decided = decide_batch(batch, make_mixtures(batch, "cpu"), features, classifier)
    method = METHODS["gradcam"](
        features, classifier_input=input_of(classifier), layer=layer
    )
    with torch.no_grad():
        return decided, explain(decided, method).explanation.mask


@pytest.mark.parametrize("kind", [("waveform_cnn", "softmax")])
def test_gradcam_uses_the_output_of_a_hooked_layer(classifier, features, loader):
    decided, masks = gradcam(classifier, features, loader)
    network, outputs = classifier.network, []
    hook = network.relu3.register_forward_hook(lambda *args: outputs.append(args[2]))
    for wav, target, mask in zip(
        decided.wavs, decided.decision.target, masks, strict=True
    ):
        (logits,) = network(wav.unsqueeze(0).requires_grad_())
        (gradient,) = torch.autograd.grad(logits[target], outputs[-1])
        cells = (gradient.mean(dim=2, keepdim=True) * outputs[-1]).sum(dim=1).relu()[0]
        hop, offset = classifier.geometry[0].hop_samples, 159.5
        assert hop == 320
        frames = torch.arange(len(mask)) * features.hop_samples
        nearest = ((frames - offset) / hop).round().long().clamp(0, len(cells) - 1)
        expected = cells[nearest]
        expected = expected / expected.max().clamp(min=1e-30)
        torch.testing.assert_close(mask, expected.unsqueeze(1).expand_as(mask))
    hook.remove()


@pytest.mark.parametrize("kind", [("ast", "softmax")])
def test_gradcam_skips_a_layer_on_which_the_score_does_not_depend(
    classifier, features, loader
):
    """AST's head reads only two tokens of the last layer, and no patch."""
    deepest, next_one = [geometry.name for geometry in classifier.geometry[:2]]
    decided, masks = gradcam(classifier, features, loader)
    with torch.enable_grad():
        decision = classifier.decide(decided.wavs.requires_grad_())
    score = decision.logits[0, 0]
    gradients = [rep.gradient(score) for rep in decision.representations]
    assert [bool(gradient.any()) for gradient in gradients] == [False, True, True]
    for gradient, rep in zip(gradients, decision.representations, strict=True):
        assert gradient.shape == rep.values.shape
    assert masks.any()
    assert torch.equal(masks, gradcam(classifier, features, loader, next_one)[1])
    assert not gradcam(classifier, features, loader, deepest)[1].any()
