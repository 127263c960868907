"""Which classes of a clip are explained, and how tags are scored."""

import math
from dataclasses import replace

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch.nn.functional import one_hot

from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.data.mixing import make_mixtures
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import choose_targets, decide, decide_batch
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.interpreters.attribution import build_attributions
from lmac_td.names import nearest_names
from lmac_td.targets import TargetChoice
from tests.batches import decided_batch
from tests.conftest import SAMPLE_RATE
from tests.score_batches import columns_of

LABELS = ["dog", "rain", "siren", "clock", "hen", "saw"]
# Three tags, one tag that is exactly on the threshold, and no tag.
LOGITS = [
    [-1.0, 3.0, 0.5, 0.1, -2.0, -3.0],
    [-4.0, -1.0, -1.0, 0.0, -1.0, -2.0],
    [-5.0, -3.0, -2.0, -0.5, -0.2, -1.0],
]


def decision_of(activation, threshold=0.5):
    """A decision of given logits."""
    classifier = ModuleClassifier(
        torch.nn.Identity(), 8000, LABELS, activation=activation, threshold=threshold
    )
    return classifier(torch.tensor(LOGITS))


@pytest.mark.parametrize("target", ["auto", "decided"])
def test_a_softmax_is_explained_for_its_decided_class(target):
    decision = decision_of("softmax")
    rows, chosen = TargetChoice(target).choose(decision)
    assert rows is None
    assert chosen is decision
    assert chosen.target.tolist() == [1, 3, 4]


def test_sigmoids_may_be_explained_for_their_most_probable_tag():
    rows, chosen = TargetChoice("decided").choose(decision_of("sigmoid"))
    assert rows is None
    assert chosen.target.tolist() == [1, 3, 4]


@pytest.mark.parametrize("target", ["auto", "tags"])
def test_sigmoids_are_explained_for_every_tag(target):
    decision = decision_of("sigmoid")
    rows, chosen = TargetChoice(target).choose(decision)
    assert rows.tolist() == [0, 0, 0, 1]
    assert chosen.target.tolist() == [1, 2, 3, 3]
    assert torch.equal(chosen.logits, decision.logits[rows])
    assert torch.equal(chosen.inputs, decision.inputs[rows])
    assert chosen.classifier is decision.classifier
    assert decision.target.tolist() == [1, 3, 4]  # as it was


def test_the_threshold_is_the_classifiers():
    decision = decision_of("sigmoid", threshold=1 / (1 + math.exp(-0.3)))
    rows, chosen = TargetChoice().choose(decision)
    assert rows.tolist() == [0, 0]
    assert chosen.target.tolist() == [1, 2]


def test_at_least_one_adds_the_strongest_tag_of_a_clip_without_any():
    rows, chosen = TargetChoice().choose(decision_of("sigmoid"), at_least_one=True)
    assert rows.tolist() == [0, 0, 0, 1, 2]
    assert chosen.target.tolist() == [1, 2, 3, 3, 4]
    rows, chosen = TargetChoice().choose(decision_of("softmax"), at_least_one=True)
    assert rows is None


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("target", ["siren", 2])
def test_one_class_is_explained_in_every_clip(activation, target):
    decision = decision_of(activation)
    rows, chosen = TargetChoice(target).choose(decision)
    assert rows is None
    assert chosen.target.tolist() == [2, 2, 2]
    assert chosen.target.dtype == torch.int64
    assert chosen.logits is decision.logits


@pytest.mark.parametrize("target", ["cat", 6, -1, 1.0, True, None, ["dog"]])
def test_an_unknown_class_is_refused(target):
    with pytest.raises(SettingError) as error:
        TargetChoice(target).choose(decision_of("softmax"))
    name = decision_of("softmax").classifier.name
    assert str(error.value) == (
        f"target is {target!r}: give --target auto, decided, tags, a number below 6 "
        f"or a class of {name}: {nearest_names(str(target), LABELS)}"
    )


def test_a_number_that_is_the_name_of_a_class_is_that_class():
    classifier = ModuleClassifier(torch.nn.Identity(), 8000, ["0", "110", "1"])
    for target, expected in ((110, 1), ("110", 1), (1, 2), (2, 2)):
        assert TargetChoice(target).of(classifier) == expected


@pytest.mark.parametrize("target", ["crying_baby", "Crying baby", " CRYING_BABY", "1"])
def test_a_class_may_be_spelt_with_blanks_and_upper_case(target):
    classifier = ModuleClassifier(torch.nn.Identity(), 8000, ["dog", "crying_baby"])
    assert TargetChoice(target).of(classifier) == 1


def test_labels_that_differ_in_upper_case_alone_are_told_apart():
    classifier = ModuleClassifier(torch.nn.Identity(), 8000, ["A", "a", "b"])
    assert [TargetChoice(name).of(classifier) for name in ("A", "a")] == [0, 1]
    with pytest.raises(SettingError, match="target is ' a'"):
        TargetChoice(" a").of(classifier)


def test_few_classes_are_all_named():
    classifier = ModuleClassifier(torch.nn.Identity(), 8000, ["dog", "rain"])
    with pytest.raises(SettingError, match=r"a number below 2 .*: dog, rain$"):
        TargetChoice("cat").of(classifier)


def test_a_softmax_has_no_tags():
    decision = decision_of("softmax")
    with pytest.raises(SettingError) as error:
        TargetChoice("tags").choose(decision)
    assert str(error.value) == (
        f"target is tags, but {decision.classifier.name} decides on one class per clip "
        "(its activation is softmax): give --target decided, or a class"
    )


@pytest.fixture
def clips():
    """Four clips of a tone and some noise, in a loader's batches of a given size."""
    seconds = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = [torch.sin(2 * math.pi * f * seconds) for f in (200, 700, 1500, 3000)]
    entries = [
        {
            "id": name,
            "clip": 0.5 * tone + level * torch.randn(SAMPLE_RATE),
            "interference": torch.randn(SAMPLE_RATE),
            "snr_db": 10.0,
            "class_index": place,
        }
        for place, (name, tone, level) in enumerate(
            zip("abcd", tones, (0.5, 0.01, 0.2, 0.05), strict=True)
        )
    ]

    def batches(size):
        return [
            PaddedBatch(entries[first : first + size]) for first in range(0, 4, size)
        ]

    return batches


@pytest.fixture
def tagger(frozen, clips):
    """The narrow CNN14 with sigmoids: one clip has no tag, and some have several."""
    frozen.activation = "sigmoid"
    frozen.classifier.weight *= 3000  # its embeddings are close to 0
    mixture = make_mixtures(clips(4)[0], "cpu").mixture
    # Logits that differ by clip and not only by class.
    frozen.classifier.bias -= frozen.decide(mixture).logits.mean(dim=0)
    p = frozen.decide(mixture).probabilities
    lowest, second, *_ = p.amax(dim=1).sort().values
    frozen.threshold = float((lowest + second) / 2)
    n_tags = (p >= frozen.threshold).sum(dim=1)
    assert n_tags.min() == 0
    assert n_tags.sum() > 4
    return frozen


def tags_of(tagger, clips):
    """By clip, the tags above the threshold, and the mixture."""
    batch = clips(4)[0]
    mixture = make_mixtures(batch, "cpu").mixture
    tags = {}
    for name, wav in zip(batch.id, mixture, strict=True):
        logits = tagger.decide(wav[None]).logits[0].tolist()
        p = [1 / (1 + math.exp(-z)) for z in logits]
        tags[name] = [c for c, value in enumerate(p) if value >= tagger.threshold], wav
    return tags


def test_a_batch_has_one_entry_per_clip_and_tag(tagger, clips, spectral):
    batch = clips(4)[0]
    whole = decide_batch(batch, make_mixtures(batch, "cpu"), spectral, tagger)
    decided, without = choose_targets(whole, TargetChoice())
    tags = tags_of(tagger, clips)
    expected = [(name, tag) for name, (those, _) in tags.items() for tag in those]
    assert expected == list(
        zip(decided.clip_ids, decided.decision.target.tolist(), strict=True)
    )
    assert without == [name for name, (those, _) in tags.items() if not those]
    assert len(without) == 1
    sources = decided.sources
    for row, (name, _) in enumerate(expected):
        clip = batch.id.index(name)
        assert decided.labels[row] == clip
        assert torch.equal(decided.wavs[row], whole.wavs[clip])
        assert torch.equal(decided.features.stft[row], whole.features.stft[clip])
        assert torch.equal(decided.decision.inputs[row], whole.decision.inputs[clip])
        both = sources.target[row] + sources.interference[row]
        torch.testing.assert_close(both, whole.wavs[clip])
        for rep, of_all in zip(
            decided.decision.representations,
            whole.decision.representations,
            strict=True,
        ):
            assert torch.equal(rep.values[row], of_all.values[clip])
    everybody, without = choose_targets(whole, TargetChoice(), at_least_one=True)
    assert without == []
    assert set(everybody.clip_ids) == set("abcd")


def test_a_softmax_batch_stays_as_it_is(frozen, wavs, spectral):
    decided = decided_batch(wavs, spectral, frozen)
    chosen, without = choose_targets(decided, TargetChoice())
    assert without == []
    assert chosen.clip_ids == decided.clip_ids
    assert chosen.decision is decided.decision
    chosen, without = choose_targets(decided, TargetChoice(3))
    assert without == []
    assert chosen.decision.target.tolist() == [3, 3, 3, 3]
    assert chosen.wavs is decided.wavs


def literal_scores(p_x, p_in, p_out, tag, threshold):
    """AI, AD, AG, FF and Fid-In of one tag, from lists of probabilities."""
    if max(abs(a - b) for a, b in zip(p_x, p_in, strict=True)) <= 1e-6:
        p_in = p_x  # a tie
    before, kept, removed = p_x[tag], p_in[tag], p_out[tag]
    return {
        "p_x": before,
        "p_in": kept,
        "p_out": removed,
        "AI": 100.0 if kept > before else 0.0,
        "AD": 100 * max(0.0, before - kept) / before,
        "AG": 100 * max(0.0, kept - before) / (1 - before),
        "FF": before - removed,
        "Fid-In": 1.0 if kept >= threshold else 0.0,
    }


@pytest.fixture
def methods(make_lmac_td, make_lmac, spectral):
    """A saliency depends on the tag, a mask of L-MAC on the clip alone."""
    attributions = build_attributions(["saliency"], features=spectral)
    return {
        "lmac": make_lmac().eval(),
        "lmac_td": make_lmac_td().eval(),
        **attributions,
    }


@pytest.mark.parametrize("batch_size", [4, 3, 1])
def test_tags_are_scored_by_their_sigmoids(
    tagger, clips, spectral, methods, batch_size
):
    sizes = []

    def keep(condition, method, decided, explained):
        sizes.append(len(decided))
        assert len(explained.wavs) == len(explained.kept_logits) == len(decided)
        given = explained.decision.target
        assert (explained.decision.probabilities >= tagger.threshold)[
            one_hot(given, tagger.n_classes).bool()
        ].all()

    table = FaithfulnessTable(n_resamples=20)
    evaluate(
        table, "x", methods, clips(batch_size), spectral, tagger,
        on_batch=keep, progress=False,
    )  # fmt: skip
    check_invariants(table)
    tags = tags_of(tagger, clips)
    assert max(sizes) <= batch_size
    n_entries = sum(len(those) for those, _ in tags.values())
    assert sum(sizes) == n_entries * len(methods)
    assert n_entries > 4  # more than a batch of the loader

    without = [name for name, (those, _) in tags.items() if not those]
    assert table.without_target == {"x": without}
    note = "No tag reaches its threshold in 1 of 4 clips, which are not scored: "
    assert f"{note}{without[0]}." in table_to_markdown(table)

    for method, interpreter in methods.items():
        columns = columns_of(table, "x", method)
        keys = list(zip(columns["clip_id"], columns["decided"], strict=True))
        assert keys == [
            (name, tag) for name, (those, _) in tags.items() for tag in those
        ]
        for row, (name, tag) in enumerate(keys):
            wav = tags[name][1][None]
            features, decision = decide(wav, spectral, tagger)
            decision = replace(decision, target=torch.tensor([tag]))
            with torch.no_grad():
                explanation = interpreter(wav, features, decision)
                kept, removed = tagger.classify(
                    explanation.kept_input, explanation.removed_input
                )
            p_x, p_in, p_out = (
                [1 / (1 + math.exp(-z)) for z in logits[0].tolist()]
                for logits in (decision.logits, kept, removed)
            )
            expected = literal_scores(p_x, p_in, p_out, tag, tagger.threshold)
            for metric, value in expected.items():
                tolerance = 1e-2 if metric in ("AI", "AD", "AG") else 1e-4
                assert columns[metric][row] == pytest.approx(value, abs=tolerance), (
                    method,
                    metric,
                )


def test_one_class_may_be_asked_for(tagger, clips, spectral, methods):
    """Every clip then has one entry, also where the tag is below its threshold."""
    table = FaithfulnessTable(n_resamples=20)
    evaluate(
        table, "x", {"lmac": methods["lmac"]}, clips(3), spectral, tagger,
        progress=False, targets=TargetChoice(7),
    )  # fmt: skip
    columns = columns_of(table, "x", "lmac")
    assert columns["clip_id"] == list("abcd")
    assert columns["decided"] == [7] * 4
    assert table.without_target == {}


def test_clips_without_any_tag_leave_no_row(tagger, clips, spectral, methods):
    tagger.threshold = 1.0
    table = FaithfulnessTable(n_resamples=20)
    evaluate(table, "x", methods, clips(3), spectral, tagger, progress=False)
    assert table.rows == {}
    assert table.without_target == {"x": list("abcd")}
