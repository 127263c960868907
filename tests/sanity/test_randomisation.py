"""Cascading randomisation: what is randomised, when, what returns, what is compared."""

import contextlib
import csv

import pytest
import torch
from scipy import stats
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.classifiers.cnn14 import Cnn14Classifier, ConvBlock
from lmac_td.data.mixing import CLEAN_DB, make_mixtures
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide_batch
from lmac_td.evaluation.explaining import explain
from lmac_td.interpreters.attribution.saliency import Saliency
from lmac_td.interpreters.baselines import HalfGain, Identity
from lmac_td.interpreters.lmac import LMAC
from lmac_td.nn.decoders import build_mask_unet
from lmac_td.sanity.cascade import cascade, measure_statistics, reinitialise
from lmac_td.sanity.comparison import (
    ANOTHER_CLIP,
    INTACT,
    RANDOM_MASK,
    clips_to_csv,
    stages_to_markdown,
    summarise_stages,
)
from lmac_td.sanity.randomisation import Comparison
from lmac_td.sanity.similarity import (
    MEASURES,
    comparable_maps,
    compare_maps,
    rank_correlation,
    structural_similarity,
)
from tests.networks import waveform_classifier

STAGES = (
    "logits", "conv_block6", "conv_block5", "conv_block4", "conv_block3",
    "conv_block2", "conv_block1",
)  # fmt: skip
ROWS = (INTACT, *STAGES, ANOTHER_CLIP, RANDOM_MASK)


def make_trained(spectral):
    """A narrow classifier with nothing in it as a constructor would leave it."""
    torch.manual_seed(0)
    classifier = Cnn14Classifier(spectral, 80, (2, 4, 4, 8, 8), 8, 10).freeze()
    state = {
        name: value + 0.1 + 0.5 * torch.rand_like(value)
        if value.is_floating_point()
        else value + 7
        for name, value in classifier.state_dict().items()
    }
    classifier.load_state_dict(state)
    return classifier


@pytest.fixture
def trained(spectral):
    return make_trained(spectral)


@pytest.fixture
def log_mel():
    return 3 * torch.rand(3, 64, 80)


def copy_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, module):
    """Names of the parameters and statistics that are no longer what they were."""
    now = module.state_dict()
    return {name for name in before if not torch.equal(before[name], now[name])}


def batches_of(n_batches=2, size=2, n_samples=8000):
    items = [
        {
            "id": f"clip{i}",
            "clip": torch.randn(n_samples) / 6,
            "interference": torch.zeros(n_samples),
            "snr_db": CLEAN_DB,
            "class_index": i,
        }
        for i in range(n_batches * size)
    ]
    return [PaddedBatch(items[i : i + size]) for i in range(0, len(items), size)]


def records(comparison):
    """The scores of all clips, a dictionary each."""
    lines = comparison.scores.frame.rename(columns={"condition": "stage"})
    return lines.to_dict(orient="records")


def test_every_block_is_a_stage_once_the_logits_first(trained):
    stages = trained.stages()
    assert tuple(stages) == STAGES
    randomised = [module for modules in stages.values() for module in modules]
    held = [p for module in randomised for p in module.parameters()]
    assert len(held) == len({id(p) for p in held}) == len(list(trained.parameters()))


def test_stages_cascade_and_everything_returns(trained, log_mel):
    before, logits = copy_of(trained), [trained(log_mel).logits]
    so_far = set()
    prefix = {
        "logits": ("classifier.",),
        "conv_block1": ("embedding_model.conv_block1.", "embedding_model.norm0."),
    }
    for stage in cascade(trained):
        starts = prefix.get(stage, (f"embedding_model.{stage}.",))
        so_far |= {name for name in before if name.startswith(starts)}
        assert changed(before, trained) == so_far, stage
        logits.append(trained(log_mel).logits)
        assert (logits[-1] - logits[-2]).abs().max() > 1e-6, stage
    assert not changed(before, trained)
    assert torch.equal(trained(log_mel).logits, logits[0])


def test_weights_return_when_a_stage_fails(trained, log_mel):
    before = copy_of(trained)

    def fail():
        with contextlib.closing(cascade(trained)) as stages:
            for _ in stages:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not changed(before, trained)


def test_a_seed_gives_its_weights_and_leaves_the_global_one_alone(trained):
    def last(seed):
        for stage in cascade(trained, seed):
            if stage == STAGES[-1]:
                return copy_of(trained)

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = last(0), last(0), last(1)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], same[name]) for name in first)
    for name in first:
        if name.endswith(("conv1.weight", "conv2.weight", "classifier.bias")):
            assert not torch.equal(first[name], other[name]), name


def test_a_block_is_initialised_as_its_constructor_does():
    block = ConvBlock(2, 4)
    with torch.no_grad():
        for tensor in block.state_dict().values():
            tensor.add_(3)
    torch.manual_seed(1)
    new = ConvBlock(2, 4)
    torch.manual_seed(1)
    reinitialise(block)
    for name, value in new.state_dict().items():
        assert torch.equal(block.state_dict()[name], value), name


def test_measured_statistics_are_those_of_training(trained, log_mel):
    """Literal: the output of a batch in training, once its statistics are measured."""
    net = trained.embedding_model
    reinitialise(net)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    measure_statistics(norms, trained, [log_mel])
    x = log_mel.transpose(1, 2)  # (B, mel, t)
    mean, var = x.mean(dim=(0, 2)), x.var(dim=(0, 2))
    assert torch.allclose(net.norm0.running_mean, mean, atol=1e-5)
    assert torch.allclose(net.norm0.running_var, var, atol=1e-4)
    assert not any(norm.training for norm in norms)
    assert {norm.momentum for norm in norms} == {0.1}


def test_measured_statistics_keep_a_signal_at_its_level(trained, log_mel):
    def level(**settings):
        with contextlib.closing(cascade(trained, **settings)) as stages:
            for stage in stages:
                if stage == STAGES[-1]:
                    return (
                        trained(log_mel)
                        .representations[0]
                        .values.square()
                        .mean()
                        .sqrt()
                    )

    assert level(inputs=[log_mel[:1], log_mel[1:]]) > 0.2
    assert level() < 0.1


def literal_ssim(x, y, width):
    """Wang et al. (2004), eq. 13, over 7 x 7 windows with sample covariances."""
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    values = []
    for i in range(x.shape[0] - 6):
        for j in range(x.shape[1] - 6):
            a, b = x[i : i + 7, j : j + 7], y[i : i + 7, j : j + 7]
            covariance = ((a - a.mean()) * (b - b.mean())).sum() / 48
            values.append(
                (2 * a.mean() * b.mean() + c1)
                * (2 * covariance + c2)
                / (a.mean() ** 2 + b.mean() ** 2 + c1)
                / (a.var() + b.var() + c2)
            )
    return sum(values) / len(values)


def test_structural_similarity_is_its_definition():
    x, y = torch.rand(2, 2, 12, 11, dtype=torch.float64)
    found = structural_similarity(x, y, torch.tensor([1.0, 2.5]))
    for i, width in enumerate((1.0, 2.5)):
        assert found[i].item() == pytest.approx(
            literal_ssim(x[i], y[i], width).item(), abs=1e-9
        )


def test_rank_correlation_is_that_of_ranks():
    x, y = (torch.rand(2, 2, 6, 5) * 8).round()  # with ties
    found = rank_correlation(x, y)
    for i in range(2):
        a, b = (stats.rankdata(z[i].flatten()) for z in (x, y))
        a, b = a - a.mean(), b - b.mean()
        expected = (a * b).sum() / ((a * a).sum() * (b * b).sum()) ** 0.5
        assert found[i].item() == pytest.approx(expected, abs=1e-12)


def test_the_same_order_is_1_to_the_last_digit():
    maps = torch.rand(20, 1, 257)
    assert (rank_correlation(maps, maps / 2) == 1).all()
    tied = (maps * 8).round()
    assert (rank_correlation(tied, tied + 1) == 1).all()


def test_constant_maps_have_no_order():
    constant, other = torch.full((1, 8, 8), 0.5), torch.rand(1, 8, 8)
    assert rank_correlation(constant, constant).item() == 1
    assert rank_correlation(constant, 0.2 * constant).item() == 1
    assert rank_correlation(constant, other).item() == 0
    assert structural_similarity(constant, constant, 1.0).item() == pytest.approx(1)


@pytest.fixture(scope="module")
def explained(spectral):
    """The records of a random L-MAC and of maps that depend on no classifier."""
    trained = make_trained(spectral)
    decoder = build_mask_unet("aligned", "stft", trained, spectral, (4, 4, 4, 4))
    interpreters = {
        "lmac": LMAC(spectral, decoder).eval(),
        "half gain": HalfGain(spectral),
        "identity": Identity(spectral),
    }
    comparison = Comparison(interpreters, batches_of(), spectral, trained)
    for stage in cascade(trained, inputs=comparison.inputs):
        comparison.add(stage)
    return comparison


def test_what_runs_no_classifier_stays_one(explained):
    for record in records(explained):
        if record["method"] != "lmac" and record["stage"] in (INTACT, *STAGES):
            for measure in MEASURES:
                assert record[measure] == pytest.approx(1, abs=1e-9), record


def test_what_decodes_the_classifier_changes(explained):
    """L-MAC decodes representations: not before a block that it reads is random."""
    values = {
        stage: [
            record["rank correlation"]
            for record in records(explained)
            if record["method"] == "lmac" and record["stage"] == stage
        ]
        for stage in ROWS
    }
    assert values["logits"] == values[INTACT] == [1] * 4
    assert max(values["conv_block1"]) < 0.999
    assert max(values[RANDOM_MASK]) < 0.1
    assert max(values[ANOTHER_CLIP]) < 1


def test_every_clip_stands_at_every_stage(explained):
    keys = [(r["method"], r["stage"], r["clip_id"]) for r in records(explained)]
    assert len(keys) == len(set(keys)) == 3 * len(ROWS) * 4
    assert list(explained.sounds["lmac"]) == [INTACT, *STAGES]
    summary = summarise_stages(explained.scores)
    assert list(summary["lmac"]) == list(ROWS)
    text = stages_to_markdown(summary)
    assert text.count("\n| conv_block6 ") == 3
    assert "1.000 [1.000, 1.000]" in text


def test_every_clip_is_written(explained, tmp_path):
    path = tmp_path / "folder" / "randomisation.csv"
    clips_to_csv(path, explained.scores)
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    columns = ["method", "stage", "clip_id", *MEASURES, "p of the class"]
    assert list(lines[0]) == columns
    expected = [{c: str(r[c]) for c in columns} for r in records(explained)]
    assert lines == expected


def test_the_class_stays_that_of_the_intact_classifier(trained, spectral):
    class Asked(Identity):
        seen = ()

        def forward(self, wavs, features, decision):
            self.seen = (*self.seen, decision)
            return super().forward(wavs, features, decision)

    asked = Asked(spectral)
    batches = batches_of(n_batches=1)
    comparison = Comparison({"asked": asked}, batches, spectral, trained)
    for stage in cascade(trained):
        comparison.add(stage)
    intact, *others = asked.seen
    assert len(others) == len(STAGES)
    for decision in others:
        assert torch.equal(decision.target, intact.target)
        assert not torch.equal(decision.logits, intact.logits)
    for record in records(comparison):
        if record["stage"] == INTACT:
            p = intact.probabilities[int(record["clip_id"][-1])].max().item()
            assert record["p of the class"] == pytest.approx(p)


def test_the_attribution_is_for_the_most_part_the_input(explained):
    """Why the mask is the main measure: random masks look alike on the attribution."""
    rows = [r for r in records(explained) if r["stage"] == RANDOM_MASK]
    half = [r for r in rows if r["method"] == "half gain"]
    assert max(r["SSIM"] for r in half) < 0.1
    assert min(r["SSIM (attribution)"] for r in half) > 0.5


def test_masks_and_attributions_are_compared_on_their_own_scales(trained, spectral):
    batch = batches_of(n_batches=1)[0]
    decided = decide_batch(
        batch, make_mixtures(batch, "cpu"), spectral, trained, with_sources=False
    )
    explained = explain(decided, HalfGain(spectral))
    mask, attribution, loudest = comparable_maps(explained)
    assert mask.unique().tolist() == [0.5]
    assert torch.equal(attribution, explained.explanation.attribution)
    magnitude = decided.features.magnitude
    assert torch.equal(loudest, magnitude.amax(dim=(1, 2)).log1p())
    other = (mask.flip(1), attribution.flip(1), loudest)
    scores = compare_maps((mask, attribution, loudest), other)
    assert scores["SSIM"].tolist() == pytest.approx([1, 1])
    assert scores["SSIM (attribution)"].max() < 0.99


def test_other_classifiers_cascade_in_stages_of_their_own(spectral):
    """Every parameter is randomised once, the last layers first, and returns."""
    torch.manual_seed(0)
    classifier = waveform_classifier(n_classes=4)
    stages = classifier.stages()
    assert list(stages) == ["head", "conv3", "conv2", "conv1"]
    wavs = torch.randn(2, 8000) / 6
    before, decision = copy_of(classifier), classifier.decide(wavs)
    so_far = set()
    for stage in cascade(classifier, inputs=[wavs]):
        so_far |= {name for name in before if f".{stage}." in name}
        assert changed(before, classifier) == so_far
        now = classifier.decide(wavs)
        assert not torch.equal(now.logits, decision.logits)
        moved = not torch.equal(
            now.representations[0].values, decision.representations[0].values
        )
        assert moved == (stage != "head")
    assert so_far == set(before)
    assert not changed(before, classifier)
    assert torch.equal(classifier.decide(wavs).logits, decision.logits)


def test_a_black_box_has_nothing_to_randomise():
    classifier = BlackBoxClassifier(lambda wavs: wavs[:, :2], 16000, 2).freeze()
    with pytest.raises(SettingError, match="no weights to randomise"):
        next(cascade(classifier))


def test_explanations_of_a_classifier_of_waveforms_are_compared(spectral):
    torch.manual_seed(0)
    classifier = waveform_classifier(n_classes=4)
    methods = {
        "saliency": Saliency(spectral, classifier_input="audio"),
        "half gain": HalfGain(spectral),
    }
    comparison = Comparison(methods, batches_of(), spectral, classifier)
    for stage in cascade(classifier, inputs=comparison.inputs):
        comparison.add(stage)
    stages = [INTACT, "head", "conv3", "conv2", "conv1"]
    assert list(comparison.sounds["saliency"]) == stages
    summary = summarise_stages(comparison.scores)
    assert list(summary["saliency"]) == [*stages, ANOTHER_CLIP, RANDOM_MASK]
    for record in records(comparison):
        if record["stage"] == INTACT:
            assert record["rank correlation"] == 1
        elif record["method"] == "saliency" and record["stage"] == "conv1":
            assert record["rank correlation"] < 0.9
