"""The page of a benchmark: the samples of all evaluations, side by side."""

from dataclasses import replace
from pathlib import Path

import pytest

from lmac_td.benchmark.page import write_benchmark_pages
from lmac_td.benchmark.step import Step
from lmac_td.report.page.cards import arrange
from lmac_td.report.page.saved import save_clips
from tests.explained_clips import clip_in


@pytest.fixture
def gathered(monkeypatch):
    """The clips of each page that is written, by the page's path."""
    found = {}

    def write(folder, title, clips):
        found[title] = clips
        path = folder / "index.html"
        path.write_text(title)
        return path

    monkeypatch.setattr("lmac_td.benchmark.page.write_page", write)
    return found


def evaluated(folder, run, method, classifier=None, names=("one", "two")):
    """A finished step whose evaluation saved a page."""
    page = folder / run / "evaluation" / "page"
    clips = [clip_in(page / n, method, name=n, condition="clean") for n in names]
    save_clips(page, clips)
    makes = page.parent / "table.json"
    makes.write_text("")
    return Step(run, "evaluate", ("e.py", "r.yaml"), makes, classifier=classifier)


def test_methods_of_all_runs_share_cards(tmp_path, gathered):
    runs = tmp_path / "runs"
    steps = [evaluated(runs, name, name) for name in ("evidence", "lmac")]
    missing = replace(steps[0], run="old", makes=Path(runs / "old" / "table.json"))
    trained = replace(steps[0], kind="train", makes=Path("no", "such", "folder"))
    assert write_benchmark_pages([trained, *steps, missing], tmp_path / "all") == [
        tmp_path / "all" / "page" / "index.html"
    ]
    (clips,) = gathered.values()
    cards = arrange([_after_the_move(clip, tmp_path / "all") for clip in clips])
    assert [card.first.name for card in cards] == ["one", "two"]
    for card in cards:
        assert [clip.method for clip in card.clips] == ["evidence", "lmac"]


def _after_the_move(clip, folder):
    """The clip, whose files were written into a temporary folder."""
    parts = clip.sound.parts
    below = parts[len(parts) - 1 - parts[::-1].index("page") :]
    return replace(clip, sound=folder.joinpath(*below))


def test_a_method_of_several_runs_is_named_by_its_run(tmp_path, gathered):
    runs = tmp_path / "runs"
    steps = [evaluated(runs, f"lmac-seed{n}", "lmac", names=("one",)) for n in (1, 2)]
    write_benchmark_pages(steps, tmp_path / "all")
    (clips,) = gathered.values()
    assert [clip.method for clip in clips] == ["lmac, lmac-seed1", "lmac, lmac-seed2"]


def test_each_classifier_has_a_page(tmp_path):
    steps = [evaluated(tmp_path / "runs", c, "lmac", classifier=c) for c in "ab"]
    folder = tmp_path / "all"
    for _ in range(2):  # the second time, the first pages are replaced
        assert write_benchmark_pages(steps, folder) == [
            folder / f"page_{c}" / "index.html" for c in "ab"
        ]
    assert {path.name for path in folder.iterdir()} == {"page_a", "page_b"}
    text = (folder / "page_a" / "index.html").read_text("utf-8")
    assert "2 recordings, explained by lmac" in text


def test_without_samples_there_is_no_page(tmp_path):
    step = Step("a", "evaluate", (), Path(tmp_path / "a" / "table.json"))
    assert write_benchmark_pages([step], tmp_path / "all") == []
    assert not (tmp_path / "all").exists()
