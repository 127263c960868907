"""A second classifier judges explanations, as one would do it by hand."""

import copy

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.data.prepare import prepare
from lmac_td.errors import SettingError
from lmac_td.evaluation.comparison import paired_values
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.second_classifier import SecondClassifier
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.interpreters.baselines import reference_interpreters
from tests.batches import decided_batch, explained_batch
from tests.conftest import N_CLASSES
from tests.networks import waveform_classifier

COLUMNS = [
    "second (mixture)", "second (kept)", "second (removed)", "second (change)",
    "second Fid-In (mixture)", "second Fid-In",
]  # fmt: skip


def other_cnn14(spectral, seed=1):
    """Other random weights of the ``frozen`` classifier."""
    torch.manual_seed(seed)
    classifier = Cnn14Classifier(spectral, 80, (2, 4, 4, 8, 8), 8, N_CLASSES)
    torch.nn.init.normal_(classifier.classifier.weight, std=3.0)
    return classifier.freeze()


def waveform_of(labels):
    """A classifier of waveforms with the given classes."""
    classifier = waveform_classifier(len(labels))
    classifier.labels = tuple(labels)
    return classifier


def reordered(classifier, order):
    """The same classifier with its classes in another order."""
    other = copy.deepcopy(classifier)
    for name in ("weight", "bias"):
        values = getattr(classifier.classifier, name)
        setattr(other.classifier, name, torch.nn.Parameter(values[order]))
    other.labels = tuple(classifier.labels[place] for place in order)
    return other.freeze()


@pytest.fixture
def score(data_settings, spectral, frozen, make_lmac_td, make_lmac):
    data = prepare(["test"], conditions=["in_domain"], **data_settings)
    dataset = data.dataset("test", "in_domain")
    dataset.data_ids = dataset.data_ids[:5]
    methods = {"lmac_td": make_lmac_td().eval(), "lmac": make_lmac().eval()}
    methods["identity"] = reference_interpreters(spectral)["identity"]

    def run(*classifiers):
        second = None
        if classifiers:
            second = SecondClassifier(classifiers, frozen.labels, spectral)
        table = FaithfulnessTable(n_resamples=50)
        loader = make_dataloader(dataset, batch_size=3)
        arguments = methods, loader, spectral, frozen
        evaluate(
            table, "in_domain", *arguments, progress=False, second_classifier=second
        )
        check_invariants(table)
        return table

    return run


@pytest.fixture
def explained(make_lmac_td, spectral, frozen, wavs):
    decided = decided_batch(wavs, spectral, frozen)
    with torch.no_grad():
        return decided, explained_batch(make_lmac_td().eval(), decided)


def literal(classifier, labels, wav, label_index):
    """Probability and decision for one sound, from the waveform alone."""
    logits = classifier.decide(wav[None]).logits[0]
    place = list(classifier.labels).index(labels[label_index])
    if classifier.activation == "sigmoid":
        p = logits.sigmoid()[place]
        return float(p), float(p >= classifier.threshold)
    return float(logits.softmax(0)[place]), float(logits.argmax() == place)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_equal_a_literal_computation(explained, spectral, frozen, activation):
    """Of two classifiers: spectrograms and waveforms; classes in any order."""
    decided, batch = explained
    order = torch.randperm(N_CLASSES).tolist()
    more = [*reversed(frozen.labels), "another"]
    judges = [
        reordered(other_cnn14(spectral), order),
        waveform_of(more),
    ]
    for judge in judges:
        judge.activation = activation
    second = SecondClassifier(judges, frozen.labels, spectral)
    with torch.no_grad():
        ours = second.ask_about_mixtures(decided) | second.ask_about_parts(batch)
    sounds = {
        "x": batch.wavs,
        "in": batch.explanation.interpretation,
        "out": batch.explanation.residual,
    }
    for clip, target in enumerate(decided.decision.target.tolist()):
        for name, wavs in sounds.items():
            answers = [literal(j, frozen.labels, wavs[clip], target) for j in judges]
            p, agrees = np.mean(answers, axis=0)
            assert float(ours[f"second_{name}"][clip]) == pytest.approx(p, abs=1e-5)
            if name != "out":
                assert float(ours[f"second_agrees_{name}"][clip]) == agrees


def test_the_first_classifier_as_the_second_answers_as_the_first(score, frozen):
    """Also with its classes in another order."""
    order = list(reversed(range(N_CLASSES)))
    for second in (frozen, reordered(frozen, order)):
        table = score(second)
        for (_, method), row in table.rows.items():
            pairs = {"second (mixture)": "p_x", "second Fid-In": "Fid-In"}
            pairs |= {"second (kept)": "p_in", "second (removed)": "p_out"}
            if method == "lmac":  # that row's spectrograms are no sounds
                pairs = {"second (mixture)": "p_x"}
            for ours, first in pairs.items():
                np.testing.assert_allclose(
                    values_of(row, ours), values_of(row, first), atol=2e-6
                )
            assert values_of(row, "second Fid-In (mixture)").all()


def test_without_one_the_table_has_no_such_column_and_with_one_no_other_change(
    score, spectral
):
    without, table = score(), score(other_cnn14(spectral))
    assert "second" not in table_to_markdown(without)
    assert "**Second classifier**" in table_to_markdown(table)
    for key, scores in without.rows.items():
        row = table.rows[key]
        assert [name for name in row if name not in scores] == COLUMNS
        for name in scores:
            assert row[name].equals(scores[name]), (key, name)


def test_a_masked_spectrogram_is_judged_by_its_sound(score, spectral):
    table = score(other_cnn14(spectral))
    rows = [table.row("in_domain", name) for name in ("lmac", "lmac, as audio")]
    for name in COLUMNS:
        assert rows[0][name].equals(rows[1][name])


def test_the_interval_of_the_change_is_the_paired_one(score, spectral):
    """It differs from that of two separate means: clips differ more than parts do."""
    table = score(other_cnn14(spectral))
    row = table.row("in_domain", "lmac_td")
    kept, mixture = (values_of(row, f"second ({part})") for part in ("kept", "mixture"))
    change = values_of(row, "second (change)")
    np.testing.assert_allclose(change, kept - mixture, atol=1e-7)
    table.put("in_domain", "before", row.assign(**{"second (kept)": mixture}))
    _, low, high = table.compare("in_domain", "lmac_td", "before")["second (kept)"]
    cell = table.summary(change, "mean", row["clip_id"])
    np.testing.assert_allclose(cell[1:], (low, high), atol=1e-7)
    assert "second (change)" in paired_values(table, "in_domain", "lmac_td", "identity")
    identity = table.row("in_domain", "identity")
    np.testing.assert_allclose(values_of(identity, "second (change)"), 0, atol=1e-6)


def test_mixtures_are_classified_once_for_all_methods(score, spectral, monkeypatch):
    judge, sizes = other_cnn14(spectral), []
    run = judge.run
    monkeypatch.setattr(judge, "run", lambda x: sizes.append(len(x)) or run(x))
    score(judge)
    # Of 3 and of 2 clips: the mixtures, then both parts for each of three methods.
    assert sizes == [3, 6, 6, 6, 2, 4, 4, 4]


def test_a_missing_class_is_refused(frozen, spectral):
    judge = waveform_of(["dog", "cat"])
    with pytest.raises(SettingError, match=r"no class '0', .* classes are dog, cat:"):
        SecondClassifier([judge], frozen.labels, spectral)
