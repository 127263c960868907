"""The rows of a table: shares, controls, and evidence that rows share."""

import copy
from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.budgeted import (
    KERNELS,
    BinGains,
    Budgeted,
    GradientTimesActivation,
    Loudness,
    RandomFields,
    Scores,
    share_kept,
)
from tests.interpreters.attribution.helpers import bursts
from tests.networks import waveform_classifier

TWO = [[80, 80], [515, 270]]


@pytest.fixture
def decided(frozen, spectral):
    wavs = bursts(3)
    return wavs, *decide(wavs, spectral, frozen)


class Counted(BinGains):
    """Counts how often evidence is computed."""

    times = 0

    def relevance(self, *batch):
        self.times += 1
        return super().relevance(*batch)


def evidence(spectral, kind=BinGains, kernels=TWO):
    return kind(spectral, kernels, gains=[1.0], draws=1)


def explain(interpreter, decided):
    with torch.no_grad():
        return interpreter(*decided)


def test_one_share_is_one_row(spectral):
    for keep in (0.5, [0.5], "smallest", ["smallest"]):
        interpreter = Budgeted(spectral, evidence(spectral), keep=keep)
        assert interpreter.rows("evidence") == {"evidence": interpreter}
        assert not isinstance(interpreter.keep, list)


def test_every_share_has_a_row_and_rows_share_the_evidence(spectral, decided):
    source = evidence(spectral, Counted)
    interpreter = Budgeted(
        spectral, source, keep=[0.25, "smallest", 0.5], controls=False
    )
    rows = interpreter.rows("evidence")
    assert list(rows) == ["evidence 0.25", "evidence smallest", "evidence 0.5"]
    for share, row in zip([0.25, "smallest", 0.5], rows.values(), strict=True):
        assert row.keep == share
        assert row.source is source
        found = explain(row, decided)
        alone = explain(Budgeted(spectral, evidence(spectral), keep=share), decided)
        for name, value in vars(alone).items():
            torch.testing.assert_close(getattr(found, name), value)
        if share != "smallest":
            kept = share_kept(found.mask, decided[1].magnitude)
            torch.testing.assert_close(kept, torch.full((3,), share), atol=1e-4, rtol=0)
    assert source.times == 1
    other = decide(decided[0], spectral, decided[2].classifier)
    explain(rows["evidence 0.5"], (decided[0], *other))
    assert source.times == 2  # another decision: evidence of its own
    assert interpreter.keep == [0.25, "smallest", 0.5]


def test_controls_stand_beside_the_method_in_the_same_frame(spectral, decided):
    settings = {"keep_by": "energy", "choose": "kept_and_removed"}
    interpreter = Budgeted(
        spectral, evidence(spectral, kernels=KERNELS), controls=True, **settings
    )
    rows = interpreter.rows("evidence")
    controls = ["loudness", "random field", "best of 6 random fields"]
    assert list(rows) == ["evidence", *controls]
    assert [row.asks_classifier for row in rows.values()] == [True, False, False, True]
    for row in rows.values():
        assert (row.keep, row.keep_by, row.choose) == (0.5, *settings.values())
        kept = share_kept(explain(row, decided).mask, decided[1].magnitude, "energy")
        torch.testing.assert_close(kept, torch.full((3,), 0.5), atol=1e-4, rtol=0)
    assert set(rows["loudness"].rows("loudness")) == {"loudness"}
    one, best = (rows[name].source.seed for name in controls[1:])
    assert one != best  # none of the fields is that of the other row


def test_controls_have_a_row_for_every_share(spectral):
    interpreter = Budgeted(
        spectral, evidence(spectral), keep=[0.25, 0.5], controls=True
    )
    assert list(interpreter.rows("e")) == [
        f"{row} {share}"
        for row in ("e", "loudness", "random field", "best of 2 random fields")
        for share in (0.25, 0.5)
    ]


def test_one_candidate_needs_no_best_of_random_fields(spectral):
    source = evidence(spectral, kernels=[[80, 80]])
    rows = Budgeted(spectral, source, controls=True).rows("e")
    assert list(rows) == ["e", "loudness", "random field"]


def test_loudness_keeps_the_loudest_bins(spectral, decided):
    interpreter = Budgeted(spectral, Loudness(spectral, [[1, 1]]), keep=0.4)
    mask = explain(interpreter, decided).mask.flatten(1)
    order = decided[1].magnitude.flatten(1).argsort(dim=1)
    assert (mask.gather(1, order).diff(dim=1) >= 0).all()


def test_random_fields_depend_on_the_seed_and_on_nothing_else(spectral, decided):
    def candidates(seed, part=slice(None)):
        source = RandomFields(spectral, KERNELS, seed=seed)
        wavs, features, decision = decided
        rows = torch.arange(3)[part]
        return source(wavs[rows], features.select(rows), decision.select(rows))

    found = candidates(1)
    assert torch.equal(found, candidates(1))
    assert torch.equal(found[1:2], candidates(1, slice(1, 2)))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found, candidates(2))
    fields = found[0].flatten(1)
    assert torch.corrcoef(fields).fill_diagonal_(0).abs().max() < 0.2


def test_the_remark_says_what_was_chosen_among_what(spectral):
    source = evidence(spectral)
    remark = Budgeted(spectral, source, keep=0.3, keep_by="energy").remark
    assert remark == "keeps 0.3 of the energy, chosen among 2 candidates"
    one = Budgeted(spectral, evidence(spectral, kernels=[[1, 1]]), keep="smallest")
    assert one.remark == "keeps the smallest convincing part of the amplitude"


REFUSED = [
    ({"keep": 0}, "keep is 0: give --keep a number above 0.0 to 1"),
    ({"keep": 1.5}, "keep is 1.5: give --keep a number above 0.0 to 1"),
    ({"keep": float("nan")}, "give --keep a number above 0.0 to 1"),
    ({"keep": True}, "give --keep a number above 0.0 to 1"),
    ({"keep": None}, "give --keep a number above 0.0 to 1"),
    (
        {"keep": "small"},
        "keep is 'small': give --keep a number above 0 to 1, or smallest",
    ),
    ({"keep": []}, 'keep is []: give --keep shares, such as "[0.25, 0.5]"'),
    ({"keep": [0.5, 2]}, "keep is 2: give --keep a number above 0.0 to 1"),
    ({"keep": [0.5, "half"]}, "keep is 'half'"),
    ({"keep_by": "bins"}, "give --keep_by amplitude or energy"),
    ({"choose": "best"}, "give --choose kept or kept_and_removed"),
    ({"classifier_input": "mel"}, "give --classifier_input audio or spectrogram"),
    ({"tried": []}, "tried is []: give --tried shares"),
    ({"tried": 0.5}, "tried is 0.5: give --tried shares"),
    ({"tried": [0.5, 0]}, "tried is 0: give --tried a number above 0.0 to 1"),
    ({"tried": ["smallest"]}, "tried is 'smallest': give --tried a number"),
    ({"kernels": [[0, 3]]}, "kernels holds [0, 3]: give --kernels pairs"),
    ({"kernels": []}, "kernels is []: give --kernels pairs"),
    ({"gains": []}, "gains is []: give --gains numbers above 0"),
    ({"gains": 0.5}, "gains is 0.5: give --gains numbers above 0"),
    ({"gains": [0.5, 0]}, "gains is 0: give --gains a number above 0.0"),
    ({"jitter": -1}, "jitter is -1: give --jitter a number from 0"),
    ({"draws": 0}, "draws is 0: give --draws a whole number from 1"),
    ({"draws": 1.5}, "draws is 1.5: give --draws a whole number from 1"),
    ({"passes_at_once": 0}, "give --passes_at_once a whole number from 1"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_settings_that_do_not_exist_are_refused(spectral, settings, words):
    ours = {"kernels", "gains", "jitter", "draws", "passes_at_once"}
    of_evidence = {k: v for k, v in settings.items() if k in ours}
    others = {k: v for k, v in settings.items() if k not in ours}
    with pytest.raises(SettingError) as error:
        Budgeted(spectral, BinGains(spectral, **of_evidence), **others)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_masked_spectrograms_need_a_classifier_that_takes_them(spectral):
    interpreter = Budgeted(spectral, Loudness(spectral), classifier_input="spectrogram")
    with pytest.raises(SettingError, match="--classifier_input audio"):
        interpreter.check(waveform_classifier())


class Constant(Scores):
    """The same scores for every clip and classifier."""

    def candidates(self, wavs, features, decision):
        return features.magnitude.unsqueeze(1)


@pytest.mark.parametrize("kind", ["evidence", "activation"])
def test_another_classifier_has_another_explanation(spectral, decided, kind):
    """The maps of two random classifiers, for the same class, are not alike."""
    wavs, features, decision = decided
    other = copy.deepcopy(decision.classifier)
    torch.manual_seed(11)
    for parameter in other.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    with torch.no_grad():
        after = replace(other(decision.inputs), target=decision.target)

    def similarity(source, again):
        interpreter = Budgeted(spectral, source, keep=0.5)
        masks = [
            explain(interpreter, (wavs, features, each)).mask.flatten(1)
            for each in (decision, again)
        ]
        return [spearmanr(*clip).statistic for clip in zip(*masks, strict=True)]

    if kind == "evidence":
        source, limit = evidence(spectral, kernels=[[80, 80]]), 0.3
    else:  # few channels, maps may be opposites by chance
        source, limit = GradientTimesActivation(spectral), 0.7
    assert max(map(abs, similarity(source, after))) < limit
    assert min(similarity(source, replace(decision))) > 0.999
    assert min(similarity(Constant(), after)) > 0.999
