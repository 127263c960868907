"""The page of an evaluation: which clips it shows, and what of them."""

import pandas as pd
import pytest
import torch

from lmac_td.audio import read_mono
from lmac_td.errors import DataError
from lmac_td.inference.dial import SHARES, dial
from lmac_td.inference.evaluation_page import EvaluationPage
from lmac_td.interpreters.baselines import HalfGain, Oracle
from lmac_td.interpreters.budgeted import BinGains, Budgeted, Loudness
from lmac_td.report.page.saved import link_clip, read_clips, save_clips
from tests.batches import decided_batch, explained_batch
from tests.commands import EVALUATE, run
from tests.conftest import N_CLASSES
from tests.explained_clips import clip_in

NAMES = [f"class {n}" for n in range(N_CLASSES)]


class Table:
    """In the place of the evaluation's table: AI is the number of the row."""

    def __init__(self, decided):
        self.scores = pd.DataFrame(
            {
                "clip_id": decided.clip_ids,
                "decided": decided.decision.target.tolist(),
                "AI": range(len(decided)),
            }
        )

    def row(self, condition, method):
        return self.scores


def observed(folder, methods, batch, spectral, clip_ids=("b", "c")):
    """The page of one batch, observed as an evaluation observes it."""
    page = EvaluationPage(folder, methods, spectral, NAMES, clip_ids)
    for method, interpreter in methods.items():
        with torch.no_grad():
            explained = explained_batch(interpreter, batch)
            page.on_batch("clean", method, batch, explained)
    return page


def evidence(spectral):
    kernels = [[515, 270], [100, 100]]
    return Budgeted(spectral, BinGains(spectral, kernels, draws=1), keep=0.25)


def test_sample_clips_are_shown_with_their_scores(wavs, spectral, frozen, tmp_path):
    batch = decided_batch(wavs, spectral, frozen)
    methods = {"half": HalfGain(spectral), "evidence": evidence(spectral)}
    page = observed(tmp_path / "page", methods, batch, spectral)
    assert page.write(Table(batch)) == tmp_path / "page" / "index.html"
    clips = read_clips(tmp_path / "page")
    assert [(c.method, c.name, c.label, c.metrics) for c in clips] == [
        (method, name, f"class {row}", {"AI": row})
        for method in methods
        for row, name in ((1, "b"), (2, "c"))
    ]
    for clip in clips:
        assert [step.share for step in clip.steps] == list(SHARES)
        row = batch.clip_ids.index(clip.name)
        target = int(batch.decision.target[row])
        assert clip.target == frozen.labels[target]
        p = float(batch.decision.probabilities[row, target])
        assert dict(clip.before)[clip.target] == pytest.approx(p)
        assert clip.steps[-1].probability == pytest.approx(p, abs=1e-4)


def test_controls_are_not_shown_and_nothing_is_written_for_them(
    wavs, spectral, frozen, tmp_path
):
    batch = decided_batch(wavs, spectral, frozen)
    methods = {"loudness": Budgeted(spectral, Loudness(spectral))}
    page = observed(tmp_path / "page", methods, batch, spectral)
    assert page.write(Table(batch)) is None
    assert not (tmp_path / "page").exists()


def test_the_dial_cuts_the_explanation_as_if_it_were_made_for_it(
    wavs, spectral, frozen, tmp_path
):
    """It is not made again, and equals the dial of the interpreter."""
    high = wavs - wavs.roll(1, 1)
    batch = decided_batch(wavs + high, spectral, frozen, (wavs, high))
    one_kernel = Budgeted(spectral, BinGains(spectral, [[515, 270]], draws=1))
    methods = {"oracle": Oracle(spectral), "evidence": one_kernel}
    page = observed(tmp_path, methods, batch, spectral, clip_ids=("b",))
    page.write(Table(batch))
    for clip in read_clips(tmp_path):
        alone = batch.select(torch.tensor([1]))
        settings = dial(alone, methods[clip.method], spectral)
        for step, setting in zip(clip.steps, settings, strict=True):
            wav = read_mono(step.kept)[0]
            expected = setting.explanation.interpretation[0].numpy()
            assert wav == pytest.approx(expected, abs=1e-4)
            assert step.probability == pytest.approx(
                float(setting.probability), abs=1e-4
            )


def test_names_that_collide_have_folders_of_their_own(wavs, spectral, frozen, tmp_path):
    batch = decided_batch(wavs, spectral, frozen)
    methods = {"half/gain": HalfGain(spectral), "half gain": HalfGain(spectral)}
    page = observed(tmp_path, methods, batch, spectral, clip_ids=("a",))
    page.write(Table(batch))
    first, second = read_clips(tmp_path)
    assert first.sound.parent != second.sound.parent
    assert first.sound.is_file()
    assert second.sound.is_file()


def test_saved_clips_are_read_and_linked_elsewhere(tmp_path):
    clip = clip_in(tmp_path / "a" / "b", metrics={"AI": 1.0}, label="dog")
    save_clips(tmp_path / "a", [clip])
    (tmp_path / "a").rename(tmp_path / "moved")
    (found,) = read_clips(tmp_path / "moved")
    assert found.sound == tmp_path / "moved" / "b" / "input.wav"
    assert found.metrics == {"AI": 1.0}
    linked = link_clip(found, tmp_path / "moved", tmp_path / "other")
    assert linked.sound == tmp_path / "other" / "b" / "input.wav"
    assert linked.steps[0].kept.read_bytes() == found.steps[0].kept.read_bytes()
    # Files that were written again replace the older ones.
    found.sound.unlink()
    found.sound.write_bytes(b"new")
    linked = link_clip(found, tmp_path / "moved", tmp_path / "other")
    assert linked.sound.read_bytes() == b"new"
    (tmp_path / "moved" / "clips.json").write_text("{}{}")
    with pytest.raises(DataError, match=r"clips\.json"):
        read_clips(tmp_path / "moved")


@pytest.mark.slow
def test_an_evaluation_ends_with_a_page_that_changes_no_score(trained):
    recipe = trained / "evidence.yaml"
    with open(recipe, "a", encoding="utf-8") as file:
        file.write("gains: [0.5, 1]\ndraws: 1\nkeep: [0.25, 0.5]\n")
    settings = {"condition": "in_domain", "references": False}
    folder = trained / "results" / "evidence" / "evaluation_in_domain"
    said = run(EVALUATE, recipe, n_samples=2, **settings).stdout
    page = folder / "page" / "index.html"
    assert said.rstrip().endswith(f": {page}")
    text = page.read_text("utf-8")
    assert text.count('<article class="card"') == 2
    clips = read_clips(folder / "page")
    assert {clip.method for clip in clips} == {"evidence 0.25", "evidence 0.5"}
    assert {"AI", "FF", "SPS"} <= clips[0].metrics.keys()
    scores = (folder / "clips.csv").read_bytes()
    said = run(EVALUATE, recipe, n_samples=0, **settings).stdout
    assert "Page" not in said
    assert not page.exists()
    assert (folder / "clips.csv").read_bytes() == scores
