"""L2I's method-specific table against literal twins of its formulas."""

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.data.mixing import CLEAN_DB, make_mixtures
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import choose_targets, decide
from lmac_td.evaluation.components import METHOD, ComponentTable
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.observers import method_table_filler, without_target_filler
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.evaluation.tag_fidelity import tag_fidelity
from lmac_td.metrics.fidelity import rank_of_class
from lmac_td.random import seeded_generator
from lmac_td.report.figures import bars_figure
from lmac_td.targets import TargetChoice
from tests.batches import decided_batch, explained_batch
from tests.commands import EVALUATE, run
from tests.conftest import SAMPLE_RATE
from tests.interpreters.test_l2i import build_l2i

THRESHOLDS = (-0.5, 0.1, 0.6)


@pytest.fixture
def clips():
    """Six clips of noise, and their names, as ``decided_batch`` gives them."""
    gain = torch.tensor([1.0, 0.3, 0.05, 0.8, 0.5, 0.1]).unsqueeze(1)
    return list("abcdef"), 0.25 * gain * torch.randn(6, SAMPLE_RATE // 2)


@pytest.fixture
def frozen(frozen):
    """The shared one, but sure of itself: its head amplifies faint embeddings."""
    frozen.classifier.weight *= 30000
    return frozen


@pytest.fixture(params=["log1p", "magnitude"])
def model(request, spectral, frozen):
    return build_l2i(spectral, frozen, mask_domain=request.param)


@pytest.fixture
def measure(clips, spectral, frozen, model):
    """Fill a table, some clips at a time, in any order."""
    whole = decided_batch(clips[1], spectral, frozen)

    def run(batches, **settings):
        table = ComponentTable(**{"thresholds": THRESHOLDS, "seed": 3, **settings})
        for rows in batches:
            decided = whole.select(torch.tensor(rows))
            table.add("clean", decided, explained_batch(model, decided), model)
        return table

    return run


def by_clip(table):
    """The scores of a condition, by clip id."""
    scores = table.scores.row("clean", METHOD).set_index("clip_id")
    return scores.to_dict(orient="index")


def literal_scores(name, wav, spectral, frozen, model, tau):
    """Eq. 6 for one clip and threshold, component by component, and its baseline."""
    features, decision = decide(wav[None], spectral, frozen)
    explanation = model(wav[None], features, decision)
    c = int(decision.target)
    x, phase = features.magnitude[0], features.stft[0].angle()
    if model.mask_domain == "log1p":
        x = x.log1p()
    h, w = explanation.activations[0], model.dictionary
    x_l = [
        torch.outer(h[k], w[:, k]) / (h.T @ w.T).clamp(min=1e-30) * x
        for k in range(len(h))
    ]
    order = torch.randperm(len(h), generator=seeded_generator(name, "clean", 3))
    relevant = [k for k in range(len(h)) if explanation.relevance[0, k] > tau]
    by_chance = [k for k in range(len(h)) if order[k] < len(relevant)]

    def probability(logits):
        p = (
            logits.sigmoid()
            if frozen.activation == "sigmoid"
            else logits.softmax(dim=1)
        )
        return p[0, c].item()

    def ff(removed):
        x_2 = (x - sum((x_l[k] for k in removed), torch.zeros_like(x))).clamp(min=0)
        x_2 = x_2.expm1() if model.mask_domain == "log1p" else x_2
        wav_2 = spectral.istft(torch.polar(x_2, phase)[None], len(wav))
        after = frozen.decide(wav_2).logits
        return probability(decision.logits) - probability(after)

    return len(relevant), ff(relevant), ff(by_chance)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_equals_its_literal_twin(measure, clips, spectral, frozen, model, activation):
    names, wavs = clips
    frozen.activation = activation
    table = measure([[0, 1, 2, 3, 4, 5]])
    scores, numbers = by_clip(table), table.summary()["clean"]
    n_removed, largest = set(), 0.0
    for tau, row in zip(THRESHOLDS, numbers["removal"], strict=True):
        expected = []
        with torch.no_grad():
            for name, wav in zip(names, wavs, strict=True):
                expected.append(literal_scores(name, wav, spectral, frozen, model, tau))
                n, ff, random_ff = expected[-1]
                assert scores[name][f"removed {tau}"] == n
                assert scores[name][f"FF {tau}"] == pytest.approx(ff, abs=1e-4)
                assert scores[name][f"random FF {tau}"] == pytest.approx(
                    random_ff, abs=1e-4
                )
        n, ff, random_ff = zip(*expected, strict=True)
        n_removed |= set(n)
        largest = max(largest, *map(abs, ff))
        assert row["tau"] == tau
        assert row["removed"]["mean"] == pytest.approx(sum(n) / len(n))
        assert row["FF"]["median"] == pytest.approx(statistics.median(ff), abs=1e-4)
        assert row["random FF"]["median"] == pytest.approx(
            statistics.median(random_ff), abs=1e-4
        )
    assert len(n_removed) > 2  # thresholds that differ in what they remove,
    assert largest > 0.1  # and a classifier that misses it


def test_top_k_fidelity_equals_its_literal_twin(
    measure, clips, spectral, frozen, model
):
    _, wavs = clips
    fidelity = measure([list(range(6))]).summary()["clean"]["fidelity (%)"]
    features, decision = decide(wavs, spectral, frozen)
    logits = model(wavs, features, decision).class_logits.tolist()
    for k in (1, 3, 5):
        hits = 0
        for row, c in zip(logits, decision.target.tolist(), strict=True):
            best = sorted(range(len(row)), key=lambda j, row=row: -row[j])[:k]
            hits += c in best
        assert fidelity[f"top-{k}"]["mean"] == pytest.approx(100 * hits / 6)


def test_of_equal_answers_the_first_counts():
    logits = torch.tensor([[1.0, 2.0, 2.0, 0.0]] * 4)
    assert rank_of_class(logits, torch.arange(4)).tolist() == [2, 0, 1, 3]


def test_batch_size_and_order_change_nothing(measure):
    whole = by_clip(measure([[0, 1, 2, 3, 4, 5]]))
    for batches in ([[5], [3], [1], [0], [2], [4]], [[4, 2, 0, 5], [3, 1]]):
        other = by_clip(measure(batches))
        for clip, scores in whole.items():
            assert other[clip] == pytest.approx(scores, abs=1e-5)


def test_the_baseline_removes_as_many_at_random(measure, model):
    like = torch.zeros(2, 40)
    table = measure([])
    orders = table.random_order("clean", ["a", "b"], like)
    assert all(sorted(order.tolist()) == list(range(40)) for order in orders)
    assert not torch.equal(orders[0], orders[1])
    again = table.random_order("clean", ["b", "x", "a"], torch.zeros(3, 40))
    assert torch.equal(again[[2, 0]], orders)
    for other in (
        table.random_order("in_domain", ["a", "b"], like),
        ComponentTable(seed=4).random_order("clean", ["a", "b"], like),
    ):
        assert not torch.equal(other, orders)


def test_removing_nothing_changes_nothing_and_removing_all_leaves_silence(
    measure, frozen, spectral, clips, model
):
    for value in (-1.0, 1.0):
        model.relevance = lambda z, c, value=value: torch.full_like(z, value)
        table = measure([list(range(6))])
        for name, wav in zip(*clips, strict=True):
            _, decision = decide(wav[None], spectral, frozen)
            c = int(decision.target)
            p = decision.probabilities[0, c].item()
            silent = frozen(torch.zeros_like(decision.inputs)).probabilities[0, c]
            expected = p - silent.item() if value == 1 else 0.0
            for kind in ("FF", "random FF"):
                score = by_clip(table)[name][f"{kind} 0.6"]
                assert score == pytest.approx(expected, abs=1e-5)


def test_a_clip_is_measured_once(measure):
    with pytest.raises(ValueError, match="twice"):
        measure([[0, 1], [1]])


def test_a_clip_is_measured_once_a_tag(clips, spectral, frozen, model):
    frozen.activation = "sigmoid"
    decided = decided_batch(clips[1], spectral, frozen)
    rows, tags = torch.tensor([0, 0, 2]), torch.tensor([1, 4, 4])

    def part(places):
        decision = replace(decided.decision.select(rows[places]), target=tags[places])
        return decided.select(rows[places], decision)

    table = ComponentTable(thresholds=THRESHOLDS)
    both = part([0, 1, 2])
    table.add("clean", both, explained_batch(model, both), model)
    columns = table.scores.row("clean", METHOD).to_dict(orient="list")
    assert columns["clip_id"] == ["a", "a", "c"]
    assert columns["decided"] == [1, 4, 4]
    for place in range(3):  # as of the tag alone
        alone, single = ComponentTable(thresholds=THRESHOLDS), part([place])
        alone.add("clean", single, explained_batch(model, single), model)
        single = alone.scores.row("clean", METHOD).to_dict(orient="list")
        for name, (value,) in single.items():
            assert columns[name][place] == pytest.approx(value, abs=1e-5), name
    again = part([1])
    with pytest.raises(ValueError, match="twice"):
        table.add("clean", again, explained_batch(model, again), model)


def test_is_written_as_markdown_and_as_json(measure, tmp_path):
    table = measure([list(range(6))])
    numbers = table.summary()["clean"]
    path = tmp_path / "new" / "method_table.json"
    table.to_json(path)
    written = json.loads(path.read_text())
    assert written["seed"] == 3
    assert written["conditions"]["clean"] == numbers
    said = table.to_markdown()
    assert "### clean" in said
    for row in numbers["removal"]:
        cells = (
            f"{row['tau']:g}",
            f"{row['FF']['median']:.3f}",
            f"{row['random FF']['median']:.3f}",
            f"{row['removed']['mean']:.1f}",
        )
        lines = [
            [c.strip() for c in line.split("|")[1:-1]] for line in said.split("\n")
        ]
        assert list(cells) in lines
    low, high = numbers["removal"][0]["FF"]["interval"]
    assert low <= numbers["removal"][0]["FF"]["median"] <= high

    one = measure([[0]])  # of one clip there is no interval
    one.to_json(path)
    removal = json.loads(path.read_text())["conditions"]["clean"]["removal"]
    assert removal[0]["FF"]["interval"] == [None, None]


def literal_tags(clips, spectral, frozen, model):
    """What the classifier decides and Theta's sigmoids, clip by clip, tag by tag."""
    decided, theta = [], []
    for wav in clips[1]:
        features, decision = decide(wav[None], spectral, frozen)
        logits = model(wav[None], features, decision).class_logits[0].tolist()
        p = decision.logits[0].sigmoid().tolist()
        decided.append([value >= frozen.threshold for value in p])
        theta.append([1 / (1 + math.exp(-value)) for value in logits])
    return np.array(decided), np.array(theta)


@pytest.fixture
def measure_tags(clips, spectral, frozen, model):
    """Measure as the evaluation does: tags that are decided, and clips without any."""
    frozen.activation = "sigmoid"
    whole = decided_batch(clips[1], spectral, frozen)
    frozen.threshold = whole.decision.probabilities.quantile(0.8).item()

    def run(size=4):
        table = ComponentTable(thresholds=THRESHOLDS, seed=3)
        entries, without = choose_targets(whole, TargetChoice("auto"))
        for part in entries.split(size):
            table.add("clean", part, explained_batch(model, part), model)
        if without:
            rows = [whole.clip_ids.index(clip_id) for clip_id in without]
            skipped = whole.select(torch.tensor(rows))
            table.add_without_target("clean", skipped, model)
        return table, entries, without

    return run


def test_theta_is_compared_with_the_tags_of_all_clips(
    measure_tags, clips, spectral, frozen, model
):
    with torch.no_grad():
        table, entries, without = measure_tags()
        decided, theta = literal_tags(clips, spectral, frozen, model)
    assert without
    assert len(entries) > len(set(entries.clip_ids))
    assert (~decided.any(axis=1)).sum() == len(without)
    tags = table.summary()["clean"]["tags"]
    assert tags["n_clips"] == 6
    assert tags["n_classes"] == 10
    expected = tag_fidelity(decided, theta)
    for name, (value, low, high) in expected.items():
        found = tags["fidelity"][name]
        assert found["value"] == pytest.approx(value, abs=1e-6)
        assert found["interval"] == pytest.approx([low, high], abs=1e-6)
    enough = [c for c in range(10) if decided[:, c].sum() >= 2]
    assert tags["n_classes decided in two clips"] == len(enough)
    for size in (1, 100):  # a clip's tags may be in several batches
        other, *_ = measure_tags(size)
        assert other.summary()["clean"]["tags"]["fidelity"] == tags["fidelity"]


def test_removal_is_reported_by_class(measure_tags, frozen):
    table, entries, _ = measure_tags()
    scores = table.scores.row("clean", METHOD).to_dict(orient="records")
    classes = table.summary()["clean"]["tags"]["classes"]
    target = entries.decision.target.tolist()
    several = [c for c in sorted(set(target)) if target.count(c) >= 2]
    assert several
    assert [row["class"] for row in classes] == [frozen.labels[c] for c in several]
    for c, row in zip(several, classes, strict=True):
        assert row["n_clips"] == target.count(c)
        for tau, removal in zip(THRESHOLDS, row["removal"], strict=True):
            for name in ("FF", "random FF"):
                own = [r[f"{name} {tau}"] for r in scores if r["decided"] == c]
                assert removal[name]["median"] == pytest.approx(statistics.median(own))


def test_theta_alone_is_run_on_clips_without_a_tag(
    clips, spectral, frozen, model, monkeypatch
):
    frozen.activation, frozen.threshold = "sigmoid", 1.1
    decided, runs = decided_batch(clips[1], spectral, frozen), []
    monkeypatch.setattr(model, "forward", lambda *_: pytest.fail("explained"))
    for module in (model.psi, model.theta):
        module.register_forward_hook(lambda module, *_: runs.append(module))
    ComponentTable().add_without_target("clean", decided, model)
    assert runs == [model.psi, model.theta]


def test_tags_are_written(measure_tags, tmp_path):
    table, *_ = measure_tags()
    said, tags = table.to_markdown(), table.summary()["clean"]["tags"]
    assert "### clean: fidelity to the classifier's tags" in said
    for name, found in tags["fidelity"].items():
        assert f" {name} ↑ " in said
        assert f" {found['value']:.3f} " in said
    assert "in fewer than 2 clips" in said
    decided = table.tags.row("clean", METHOD)
    rare = [
        label
        for c, label in enumerate(table._labels)
        if sum(decided[f"decided {c}"]) < 2
    ]
    assert tags["classes left out"] == rare != []
    assert f"left out of the macro AUPRC and below ({', '.join(rare)})." in said
    assert "Removal by class, τ = -0.5:" in said
    table.to_json(tmp_path / "table.json")
    written = json.loads((tmp_path / "table.json").read_text())
    assert written["conditions"]["clean"]["tags"] == tags


def test_the_removal_by_class_is_drawn_with_its_control(measure_tags, tmp_path, shown):
    table, *_ = measure_tags()
    table.draw(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["removal_by_class_clean.png"]
    ((series, y_label, title),) = shown
    assert "τ = -0.5" in title
    assert "median" in y_label
    relevant, at_random = series.values()
    scores = table.scores.row("clean", METHOD).to_dict(orient="records")
    for of in table.summary()["clean"]["tags"]["classes"]:
        c, name = table._labels.index(of["class"]), f"{of['class']} ({of['n_clips']})"
        for found, column in ((relevant, "FF -0.5"), (at_random, "random FF -0.5")):
            own = [row[column] for row in scores if row["decided"] == c]
            assert found[name][0] == pytest.approx(statistics.median(own))
    assert len(relevant) == len(at_random) >= 2


def test_without_tags_nothing_is_drawn(measure, tmp_path):
    measure([list(range(6))]).draw(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shown(monkeypatch):
    """What is drawn as bars, beside the file."""
    drawn = []

    def draw(file, *arguments):
        drawn.append(arguments)
        bars_figure(file, *arguments)

    monkeypatch.setattr("lmac_td.evaluation.components.bars_figure", draw)
    return drawn


def test_a_classifier_of_one_class_a_clip_has_no_tags(measure):
    table = measure([list(range(6))])
    assert "tags" not in table.summary()["clean"]
    assert "tags" not in table.to_markdown()


def test_clips_without_any_tag_are_a_table_of_their_own(clips, spectral, frozen, model):
    """No clip is explained, and yet Theta may agree that there is nothing."""
    frozen.activation, frozen.threshold = "sigmoid", 1.1
    table = ComponentTable(thresholds=THRESHOLDS)
    table.add_without_target("clean", decided_batch(clips[1], spectral, frozen), model)
    numbers = table.summary()["clean"]
    assert list(numbers) == ["tags"]
    assert numbers["tags"]["fidelity"]["micro AUPRC"]["value"] is None
    assert "| Theta " in table.to_markdown()


def test_the_evaluation_fills_it_with_the_tags_of_all_clips(spectral, frozen, model):
    """Clips without a tag run through Psi and Theta once; nothing else is run again."""
    frozen.activation = "sigmoid"
    items = [
        {
            "id": f"clip{i}",
            "clip": 10.0 ** -(i % 3) * torch.randn(SAMPLE_RATE // 2),
            "interference": torch.zeros(SAMPLE_RATE // 2),
            "snr_db": CLEAN_DB,
            "class_index": i,
        }
        for i in range(6)
    ]
    batches = [PaddedBatch(items[i : i + 3]) for i in (0, 3)]
    frozen.classifier.weight /= 30000  # unsure: probabilities that differ
    mixtures = torch.cat([make_mixtures(batch, "cpu").mixture for batch in batches])
    p = decide(mixtures, spectral, frozen)[1].probabilities
    frozen.threshold = p.amax(dim=1).sort().values[1:3].mean().item()
    table, runs = ComponentTable(thresholds=THRESHOLDS), []
    model.psi.register_forward_hook(lambda _, __, h: runs.append(len(h)))
    common = FaithfulnessTable()
    evaluate(
        common,
        "clean",
        {"l2i": model},
        batches,
        spectral,
        frozen,
        progress=False,
        on_batch=method_table_filler(table, {"l2i": model}),
        on_without_target=without_target_filler(table, {"l2i": model}),
    )
    without = common.without_target["clean"]
    assert 0 < len(without) < 6
    tags = table.tags.row("clean", METHOD)
    assert sorted(tags["clip_id"]) == [f"clip{i}" for i in range(6)]
    decided = tags.filter(like="decided ").to_numpy().any(axis=1)
    assert set(tags["clip_id"][~decided]) == set(without)
    assert sum(runs) == len(common.row("clean", "l2i")) + len(without)


@pytest.mark.parametrize("value", [1.0, -2, math.nan, "all"])
def test_a_threshold_that_removes_nothing_is_refused(value):
    with pytest.raises(SettingError, match="give thresholds a number"):
        ComponentTable(thresholds=[0.1, value])


@pytest.mark.slow
def test_the_evaluation_prints_and_keeps_it_with_the_parts(with_trained):
    trained = with_trained("l2i")
    settings = {"export_components": True, "relevance_threshold": -1}
    said = run(EVALUATE, trained / "l2i.yaml", **settings).stdout
    folder = trained / "results" / "l2i_att" / "evaluation"
    assert (folder / "table.md").read_text() in said
    assert (folder / "method_table.md").read_text() in said
    numbers = json.loads((folder / "method_table.json").read_text())["conditions"]
    for condition in ("clean", "in_domain"):
        assert numbers[condition]["n_clips"] == 10
        assert [row["tau"] for row in numbers[condition]["removal"]] == [
            0.1, 0.3, 0.5, 0.7, 0.9,
        ]  # fmt: skip
    samples = folder / "samples" / "in_domain"
    parts = [path.name for path in samples.glob("*_component_*.wav")]
    kept = [path.name for path in samples.glob("*_interpretation.wav")]
    assert len(kept) == 2
    assert {name.split("_component_")[0] for name in parts} == {
        name.removesuffix("_interpretation.wav") for name in kept
    }
