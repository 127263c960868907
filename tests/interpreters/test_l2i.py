"""L2I equals the equations and Algorithm 2 of its paper; and its edge cases."""

import cmath
import copy
import dataclasses
import itertools
import math
from types import SimpleNamespace

import pytest
import soundfile
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.utils.epoch_loop import EpochCounter

from lmac_td.contracts import Explanation
from lmac_td.data.prepare import prepare
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.evaluation.explaining import with_resynthesised_sound
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.interpreters.l2i import L2I, soft_mask
from lmac_td.nn.psi import Psi, Theta
from lmac_td.report.samples import save_samples
from lmac_td.targets import TargetChoice
from lmac_td.training.brain import InterpreterBrain
from lmac_td.training.checkpoints import WholeCheckpointer
from lmac_td.training.objectives import L2ILoss
from lmac_td.training.sparse_nmf import sparse_nmf
from tests.batches import decided_batch, explained_batch
from tests.conftest import N_CLASSES, SAMPLE_RATE

K = 6


def random_dictionary(n_components=K):
    w = torch.rand(513, n_components)
    return w / w.norm(dim=0)


def build_l2i(spectral, classifier, dictionary=None, pooling="att", **settings):
    """A very narrow L2I for the ``frozen`` classifier."""
    w = random_dictionary() if dictionary is None else dictionary
    psi = Psi(classifier.geometry, spectral.hop_samples, w.shape[1], width=8)
    theta = Theta(w.shape[1], N_CLASSES, pooling)
    with torch.no_grad():  # every pattern is active and relevant for every class
        for skip in psi.skips:  # untrained representations are close to 0
            skip.weight *= 100
        psi.out.bias += 0.1
        theta.linear.weight[:, ::2].abs_()
    return L2I(spectral, w, psi, theta, **settings)


@pytest.fixture
def make_l2i(spectral, frozen):
    def make(**settings):
        return build_l2i(spectral, frozen, **settings)

    return make


@pytest.fixture
def batch(wavs, spectral, frozen):
    return decided_batch(wavs, spectral, frozen)


@pytest.fixture
def decided(batch):
    return batch.wavs, batch.features, batch.decision


def select(model, everything):
    """Make every pattern relevant, or none."""
    value = 1.0 if everything else -1.0
    model.relevance = lambda pooled, decided: torch.full_like(pooled, value)
    return model


def literal_relevance(z, theta, c):
    """r_k = z_k theta_ck / max_l |z_l theta_cl| (section 3.2)."""
    share = [a * b for a, b in zip(z, theta[c], strict=True)]
    largest = max(abs(s) for s in share)
    return [s / largest if largest > 0 else 0.0 for s in share]


def literal_algorithm_2(stft, w, h, selected, domain):
    """X_k and X_int of a clip, bin by bin, as complex spectra of their own phase.

    ``stft`` (frames, bins), ``w`` (bins, K) and ``h`` (K, frames) as lists.
    """

    def spectrum(share):
        out = []
        for t, frame in enumerate(stft):
            row = []
            for f, x in enumerate(frame):
                magnitude, phase = abs(x), cmath.phase(x)
                if domain == "log1p":
                    magnitude = math.exp(share(f, t) * math.log(1 + magnitude)) - 1
                else:
                    magnitude = share(f, t) * magnitude
                row.append(cmath.rect(magnitude, phase))
            out.append(row)
        return torch.tensor(out, dtype=torch.complex64)

    def share_of(components):
        def share(f, t):
            total = sum(w[f][k] * h[k][t] for k in range(len(h)))
            kept = sum(w[f][k] * h[k][t] for k in components)
            return kept / total if total > 0 else 0.0

        return share

    return spectrum(share_of(selected)), [spectrum(share_of([k])) for k in selected]


@pytest.mark.parametrize("pooling", ["att", "max"])
@pytest.mark.parametrize("mask_domain", ["log1p", "magnitude"])
def test_equals_its_literal_twin(
    wavs, spectral, frozen, make_l2i, mask_domain, pooling
):
    wavs = wavs[:2, :6000]
    batch = decided_batch(wavs, spectral, frozen)
    features, decision = batch.features, batch.decision
    model = make_l2i(
        pooling=pooling, mask_domain=mask_domain, relevance_threshold=0.1,
        export_components=True,
    )  # fmt: skip
    explained = explained_batch(model, batch)
    explanation = explained.explanation
    assert 0 < explanation.selected.float().mean() < 1
    for clip in range(len(wavs)):
        h, w = explanation.activations[clip], model.dictionary
        torch.testing.assert_close(explanation.reconstruction[clip], (w @ h).T)
        z = model.theta.pool(h[None])[0].tolist()
        c = int(decision.target[clip])
        relevance = literal_relevance(z, model.theta.linear.weight.tolist(), c)
        assert explanation.relevance[clip].tolist() == pytest.approx(
            relevance, abs=1e-6
        )
        chosen = [k for k in range(K) if relevance[k] > 0.1]
        assert explanation.selected[clip].nonzero().flatten().tolist() == chosen
        x_int, x_k = literal_algorithm_2(
            features.stft[clip].tolist(), w.tolist(), h.tolist(), chosen, mask_domain
        )
        expected = spectral.istft(x_int[None], 6000)[0]
        torch.testing.assert_close(
            explanation.interpretation[clip], expected, atol=1e-5, rtol=1e-4
        )
        by_relevance = sorted(
            zip(chosen, x_k, strict=True), key=lambda kx: -relevance[kx[0]]
        )
        parts = model.parts(explained, clip)
        assert list(parts) == [
            f"component_{k:03d}_r{relevance[k]:.2f}" for k, _ in by_relevance
        ]
        for (_, x), sound in zip(by_relevance, parts.values(), strict=True):
            expected = spectral.istft(x[None], 6000)[0]
            torch.testing.assert_close(sound, expected, atol=1e-5, rtol=1e-4)


def test_the_removed_part_is_the_input_minus_the_patterns(decided, spectral, make_l2i):
    """Eq. 6's X_2 = X - sum of X_l on log-magnitudes: the table's FF removes it too."""
    wavs, features, _ = decided
    explanation = make_l2i(relevance_threshold=0.1)(*decided)
    x = torch.log1p(features.magnitude)
    left = (x - explanation.mask * x).expm1()
    expected = torch.polar(left, features.stft.angle())
    expected = spectral.istft(expected, wavs.shape[1])
    torch.testing.assert_close(explanation.residual, expected, atol=1e-5, rtol=1e-4)


def test_keeps_the_contract(decided, spectral, frozen, make_l2i):
    wavs, features, _ = decided
    for settings in ({}, {"pooling": "max"}, {"mask_domain": "magnitude"}):
        explanation = make_l2i(**settings)(*decided)
        assert isinstance(explanation, Explanation)
        assert explanation.interpretation.shape == wavs.shape
        assert explanation.residual.shape == wavs.shape
        assert explanation.mask.shape == features.magnitude.shape
        assert explanation.mask.min() >= 0
        assert explanation.mask.max() <= 1
        assert explanation.mask.std() > 1e-3
        assert (explanation.activations >= 0).all()
        kept = frozen.inputs_of(explanation.interpretation)
        torch.testing.assert_close(explanation.kept_input, kept)
        magnitude = spectral(explanation.interpretation).magnitude
        torch.testing.assert_close(explanation.attribution, torch.log1p(magnitude))
        removed = frozen.inputs_of(explanation.residual)
        torch.testing.assert_close(explanation.removed_input, removed)
        if "mask_domain" in settings:
            both = explanation.interpretation + explanation.residual
            torch.testing.assert_close(both, wavs, atol=1e-5, rtol=0)


def test_the_classifier_may_take_spectrograms(batch, spectral, frozen, make_l2i):
    model = make_l2i(classifier_input="spectrogram")
    explained = explained_batch(model, batch)
    explanation, features = explained.explanation, batch.features
    magnitude = (explanation.mask * features.magnitude.log1p()).expm1()
    torch.testing.assert_close(
        explanation.kept_input, frozen.mel(magnitude), atol=1e-5, rtol=1e-4
    )
    sounds = with_resynthesised_sound(explained, spectral).explanation
    model.classifier_input = "audio"
    expected = model(batch.wavs, features, batch.decision).kept_input
    torch.testing.assert_close(sounds.kept_input, expected)


def test_the_result_for_a_clip_does_not_depend_on_its_batch(
    decided, spectral, frozen, make_l2i
):
    wavs = decided[0]
    for pooling in ("att", "max"):
        model = make_l2i(pooling=pooling)
        batch = vars(model(*decided))
        for clip in range(len(wavs)):
            alone = wavs[clip : clip + 1]
            single = vars(model(alone, *decide(alone, spectral, frozen)))
            assert single.keys() == batch.keys()
            for name, value in single.items():
                torch.testing.assert_close(
                    value[0], batch[name][clip], atol=1e-5, rtol=1e-5
                )


def test_soft_masks_are_exact_at_their_ends():
    w, h = random_dictionary(), torch.rand(2, K, 9).square()
    h[:, :, 4] = 0  # a frame in which no pattern is active
    for everything, expected in ((True, 1.0), (False, 0.0)):
        selected = torch.full((2, K), everything)
        assert (soft_mask(w, h, selected) == expected).all()
    some = torch.tensor([[True, False] * 3, [False, False, True] * 2])
    mask = soft_mask(w, h, some)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert (mask[:, 4] == 0).all()  # no pattern is active, so it is removed


@pytest.mark.parametrize("condition", ["clean", "in_domain"])
def test_all_and_no_patterns_equal_the_reference_rows(
    data_settings, spectral, frozen, make_l2i, condition
):
    references = reference_interpreters(spectral)
    methods = {row: references[row] for row in ("identity", "zeros")}
    expected_row = {}
    for everything, row in ((True, "identity"), (False, "zeros")):
        for settings in itertools.product(
            ("log1p", "magnitude"), ("audio", "spectrogram")
        ):
            name = f"{row} by {' '.join(settings)}"
            mask_domain, classifier_input = settings
            model = make_l2i(mask_domain=mask_domain, classifier_input=classifier_input)
            methods[name] = select(model, everything)
            expected_row |= {name: row}
            if classifier_input == "spectrogram":
                expected_row[f"{name}, as audio"] = row
    dataset = prepare(["test"], **data_settings).dataset("test", condition)
    dataset.data_ids = dataset.data_ids[:3]
    loader = make_dataloader(dataset, batch_size=3)
    table = FaithfulnessTable(n_resamples=20)
    evaluate(table, condition, methods, loader, spectral, frozen, progress=False)
    check_invariants(table)
    assert len(table.rows) == 2 + len(expected_row)
    for name, row in expected_row.items():
        ours = table.means(condition, name)
        for metric, expected in table.means(condition, row).items():
            if metric == "completeness (dB)":  # by resynthesis: not bit-identical
                assert ours[metric] > 100
                continue
            exact = metric in ("AI", "AD", "AG", "Fid-In")
            assert ours[metric] == pytest.approx(
                expected,
                abs=0 if exact else 1e-5,
                rel=0 if exact else 1e-5,
                nan_ok=True,
            ), (name, metric)


def test_a_threshold_of_minus_1_selects_all_patterns_above_it(decided, make_l2i):
    model = make_l2i(relevance_threshold=-1)
    torch.nn.init.uniform_(model.theta.linear.weight, 0.1, 1.0)
    explanation = model(*decided)
    assert explanation.selected.all()
    assert (explanation.mask == 1).all()


def test_silence_is_explained_by_silence(spectral, frozen, make_l2i):
    wavs = torch.zeros(2, SAMPLE_RATE)
    explained = explained_batch(make_l2i(), decided_batch(wavs, spectral, frozen))
    assert not explained.explanation.interpretation.any()
    assert not explained.explanation.residual.any()
    assert not explained.explanation.attribution.any()
    terms = L2ILoss()(explained, None)
    terms.loss.mean().backward()
    for name, value in vars(explained.explanation).items():
        assert value.isfinite().all(), name


def test_zero_activations_have_zero_relevance(batch, make_l2i):
    model = make_l2i(export_components=True)
    torch.nn.init.constant_(model.psi.out.weight, 0.0)
    torch.nn.init.constant_(model.psi.out.bias, -1.0)
    explained = explained_batch(model, batch)
    assert not explained.explanation.relevance.any()
    assert not explained.explanation.selected.any()
    assert not explained.explanation.interpretation.any()
    assert model.parts(explained, 0) == {}


@pytest.mark.parametrize("n_samples", [300, 5000])
def test_a_short_clip_is_explained(spectral, frozen, make_l2i, n_samples):
    """300 samples are less than a window, 5000 give fewer frames than CNN14 pools."""
    wavs = 0.1 * torch.randn(2, n_samples)
    batch = decided_batch(wavs, spectral, frozen)
    model = make_l2i(export_components=True, relevance_threshold=0)
    explained = explained_batch(model, batch)
    assert explained.explanation.interpretation.shape == wavs.shape
    assert explained.explanation.activations.shape == (
        2,
        K,
        batch.features.magnitude.shape[1],
    )
    assert explained.kept_logits.isfinite().all()
    assert L2ILoss()(explained, None).loss.isfinite().all()
    for sound in model.parts(explained, 0).values():
        assert sound.shape == (n_samples,)


def test_a_sound_outside_the_dictionary(spectral, frozen, make_l2i):
    """The patterns are low tones, and the clip is a high tone."""
    seconds = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    low = torch.stack([torch.sin(2 * math.pi * f * seconds) for f in (200, 300, 450)])
    frames = torch.log1p(spectral(low).magnitude).flatten(0, 1).T
    w, _, _ = sparse_nmf(frames, 3, sparsity=0.1, n_iterations=30, seed=0)
    high = 0.5 * torch.sin(2 * math.pi * 5000 * seconds)[None]
    batch = decided_batch(high, spectral, frozen)
    explained = explained_batch(make_l2i(dictionary=w), batch)
    for name, value in vars(explained.explanation).items():
        assert value.isfinite().all(), name
    assert explained.explanation.mask.min() >= 0
    assert explained.explanation.mask.max() <= 1
    assert explained.kept_logits.isfinite().all()
    assert L2ILoss()(explained, None).loss.isfinite().all()


def test_parts_add_up_to_the_interpretation(batch, make_l2i):
    settings = {"mask_domain": "magnitude", "relevance_threshold": 0}
    model = make_l2i(export_components=True, **settings)
    explained = explained_batch(model, batch)
    several = 0
    for clip in range(4):
        parts = model.parts(explained, clip)
        assert len(parts) == explained.explanation.selected[clip].sum()
        several += len(parts) > 1
        if parts:
            torch.testing.assert_close(
                sum(parts.values()),
                explained.explanation.interpretation[clip],
                atol=1e-5,
                rtol=0,
            )
    assert several
    assert make_l2i(**settings).parts(explained, 0) == {}


def test_parts_are_saved_beside_the_interpretation(batch, spectral, make_l2i, tmp_path):
    model = make_l2i(export_components=True)
    explained = explained_batch(model, batch)
    names = [str(n) for n in range(N_CLASSES)]
    save = (tmp_path, batch, explained, spectral, names, {"b"})
    save_samples(*save)
    without = {path.name for path in tmp_path.iterdir()}
    assert without == {
        "b.png", "b_input.wav", "b_interpretation.wav", "b_mask.png", "b_residual.wav",
    }  # fmt: skip
    save_samples(*save, parts=model.parts)
    parts = model.parts(explained, 1)
    assert parts
    written = {path.name for path in tmp_path.iterdir()} - without
    assert written == {f"b_{name}.wav" for name in parts}
    for name, sound in parts.items():
        wav, rate = soundfile.read(tmp_path / f"b_{name}.wav", dtype="float32")
        assert rate == SAMPLE_RATE
        torch.testing.assert_close(torch.from_numpy(wav), sound, atol=1e-4, rtol=0)


def test_gradients_reach_psi_and_theta_and_nothing_else(batch, frozen, make_l2i):
    for pooling in ("att", "max"):
        model = make_l2i(pooling=pooling)
        explained = explained_batch(model, batch)
        L2ILoss()(explained, None).loss.mean().backward()
        for name, parameter in model.named_parameters():
            assert name.startswith(("psi.", "theta.")), name
            assert parameter.grad.abs().sum() > 0, name
        assert not model.dictionary.requires_grad
        assert all(parameter.grad is None for parameter in frozen.parameters())


def test_checkpoints_hold_the_dictionary(decided, make_l2i):
    model, other = make_l2i(), make_l2i()
    assert "dictionary" in model.state_dict()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(*decided).mask, model(*decided).mask)
    with pytest.raises(RuntimeError, match="dictionary"):
        make_l2i(dictionary=random_dictionary(4)).load_state_dict(model.state_dict())


@pytest.mark.parametrize("run_opts", [{}, {"precision": "bf16"}])
def test_training_changes_only_psi_and_theta(
    data_settings, tmp_path, spectral, frozen, make_l2i, run_opts
):
    data = prepare(["train", "valid"], **data_settings)
    model = make_l2i()
    untrained = copy.deepcopy(model.state_dict())
    classifier = copy.deepcopy(frozen.state_dict())
    counter, lines = EpochCounter(limit=2), []
    annealing = sb.nnet.schedulers.ReduceLROnPlateau()
    brain = InterpreterBrain(
        modules={"features": spectral, "classifier": frozen, "interpreter": model},
        opt_class=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        hparams={
            "objective": L2ILoss(),
            "targets": TargetChoice(),
            "lr_annealing": annealing,
            "train_logger": SimpleNamespace(log_stats=lambda *line: lines.append(line)),
            "interpret_period": 0,
            "valid_period": 1,
            "epoch_counter": counter,
            "seed": 0,
            "sample_ids": [],
            "output_folder": tmp_path,
            "class_names": data.class_names,
        },
        run_opts={"noprogressbar": True, "device": "cpu", **run_opts},
        checkpointer=WholeCheckpointer(
            tmp_path / "save",
            recoverables={
                "interpreter": model,
                "counter": counter,
                "lr_annealing": annealing,
            },
        ),
    )
    brain.fit(
        counter,
        data.dataset("train"),
        data.dataset("valid"),
        train_loader_kwargs={"batch_size": 4, "shuffle": True},
        valid_loader_kwargs={"batch_size": 4},
    )
    changed = {
        name.split(".")[0]
        for name, value in model.state_dict().items()
        if not torch.equal(value, untrained[name])
    }
    assert changed == {"psi", "theta"}
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, classifier[name]), name
    (_, first, _), (_, last, valid) = lines
    assert last["loss"] < first["loss"]
    assert {"fidelity", "nmf", "l1", "mask_mean", "AI", "FF"} <= valid.keys()


@pytest.mark.parametrize("value", [1, 1.5, -1.01, math.nan, "low", None, True])
def test_a_threshold_that_selects_nothing_is_refused(make_l2i, value):
    with pytest.raises(SettingError, match="give relevance_threshold a number"):
        make_l2i(relevance_threshold=value)


def test_other_settings_are_refused(make_l2i):
    with pytest.raises(SettingError, match="--mask_domain log1p or magnitude"):
        make_l2i(mask_domain="power")
    with pytest.raises(SettingError, match="--classifier_input audio or spectrogram"):
        make_l2i(classifier_input="both")
    with pytest.raises(SettingError, match="nmf_dictionary has patterns of 257 bins"):
        make_l2i(dictionary=torch.rand(257, K))


def test_an_l2i_explanation_can_be_replaced(decided, make_l2i):
    explanation = make_l2i()(*decided)
    other = dataclasses.replace(explanation, kept_input=explanation.removed_input)
    assert type(other) is type(explanation)
    assert other.relevance is explanation.relevance
