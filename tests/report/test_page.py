"""A page of explanations, as it is written; tests in a browser are beside it."""

import html
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from lmac_td.errors import DataError
from lmac_td.report.page.cards import arrange
from lmac_td.report.page.curve import curve_svg
from lmac_td.report.page.write import write_page
from tests.explained_clips import ODD_NAME, clip_in


class Parsed(HTMLParser):
    """The elements of a page, and the text of its headings."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.headings, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside in ("h1", "h2", "title"):
            self.headings.append(data)
        self.inside = None


def data_of(text):
    """What the page's script reads."""
    found = re.search(
        r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S
    )
    return json.loads(found[1])


def links_of(text):
    """All links to files, from elements and from the script's data."""
    found = {e["src"] for _, e in Parsed(text).elements if "src" in e}
    for card in data_of(text)["cards"]:
        found.add(card["sound"])
        for method in card["methods"]:
            for step in method["steps"]:
                found |= {step[name] for name in ("kept", "removed", "picture")}
    return found


def test_every_link_leads_to_a_file_below_the_page(tmp_path):
    path = write_page(tmp_path, "Some clips", [clip_in(tmp_path / "a" / "one clip")])
    links = links_of(path.read_text("utf-8"))
    assert len(links) == 2 + 3 * 3
    assert all((tmp_path / unquote(link)).is_file() for link in links)


def test_names_are_text_and_never_markup(tmp_path):
    folder = "a:b #1? 50%25 <b> \"q\" 'q' Straße 雨"
    clip = clip_in(tmp_path / folder, name=ODD_NAME, label="<i>", condition="</script>")
    clip = replace(clip, method="<u>&", target=ODD_NAME, metrics={"<s>": 1.0})
    text = write_page(tmp_path, "<h1>&", [clip]).read_text("utf-8")
    page = Parsed(text)
    assert page.headings == ["<h1>&", "<h1>&", ODD_NAME]
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"s", "u"}
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert data_of(text)["cards"][0]["name"] == ODD_NAME
    for link in links_of(text):
        assert not set(link) & set(":#?<>\"' ")
        assert (tmp_path / unquote(link)).is_file()


def test_a_name_that_is_no_text_is_shown_all_the_same(tmp_path):
    clip = clip_in(tmp_path / "a", name=os.fsdecode(b"caf\xe9.wav"))
    text = write_page(tmp_path, "Clips", [clip]).read_text("utf-8")
    assert r"caf\udce9.wav" in text


def test_nothing_is_fetched_from_elsewhere(tmp_path):
    text = write_page(tmp_path, "Clips", [clip_in(tmp_path / "a")]).read_text("utf-8")
    assert not re.search(r"https?:|@import|fetch\(|XMLHttpRequest|type=.module", text)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "index.html"}


def test_methods_of_a_clip_share_a_card(tmp_path):
    clips = [
        clip_in(tmp_path / f"{method} {name} {condition}", method, name=name, **more)
        for method in ("evidence", "lmac")
        for name in ("one", "two")
        for condition in ("speech", None)
        for more in [{"condition": condition}]
    ]
    cards = arrange(clips)
    assert [(c.first.name, c.first.condition) for c in cards] == [
        ("one", "speech"), ("one", None), ("two", "speech"), ("two", None)
    ]  # fmt: skip
    assert all([c.method for c in card.clips] == ["evidence", "lmac"] for card in cards)


def test_targets_of_a_clip_have_a_card_each(tmp_path):
    clips = [clip_in(tmp_path / t, name="one", target=t) for t in ("dog", "cat")]
    assert [card.first.target for card in arrange(clips)] == ["dog", "cat"]


def test_recordings_of_one_name_have_a_card_each(tmp_path):
    clips = [clip_in(tmp_path / f, name="take.wav") for f in ("monday", "tuesday")]
    cards = arrange(clips)
    assert [len(card.clips) for card in cards] == [1, 1]
    assert [card.heading for card in cards] == ["take.wav", "take.wav (2)"]


def test_cards_are_named_by_recording_and_target(tmp_path):
    clips = [clip_in(tmp_path / t, name="one", target=t) for t in ("dog", "cat")]
    text = write_page(tmp_path, "Clips", clips).read_text("utf-8")
    named = {e["id"]: e for _, e in Parsed(text).elements if "id" in e}
    for number, target in enumerate(("dog", "cat")):
        names = named[f"card-{number}"]["aria-labelledby"].split()
        assert names == [f"name-{number}", f"target-{number}"]
        assert re.search(rf'id="target-{number}">Why “{target}”\?<', text)


def test_each_method_is_explained_once(tmp_path):
    about = {"evidence": "It <b> this.", "lmac": "It does that.", "mine": ""}
    clips = [
        clip_in(tmp_path / f"{m} {name}", m, name=name, about=sentence)
        for m, sentence in about.items()
        for name in ("one", "two")
    ]
    text = write_page(tmp_path, "Clips", clips).read_text("utf-8")
    told = re.findall(r'<dt>(.*?)</dt>\s*<dd id="(.*?)">(.*?)</dd>', text)
    assert told == [
        ("evidence", "method-0", "It &lt;b&gt; this."),
        ("lmac", "method-1", "It does that."),
    ]
    described = [e.get("aria-describedby") for _, e in Parsed(text).elements
                 if e.get("class", "").startswith("tile of-method")]  # fmt: skip
    assert described == ["method-0", "method-1", None] * 2
    plain = write_page(tmp_path, "Clips", clips[-2:]).read_text("utf-8")
    assert "The method" not in plain


def test_the_dial_has_the_shares_of_all_methods(tmp_path):
    clips = [
        clip_in(tmp_path / "a", "coarse", name="one", shares=(0.1, 1.0)),
        clip_in(tmp_path / "b", "fine", name="one", shares=(0.1, 0.3, 0.7, 1.0)),
    ]
    (card,) = arrange(clips)
    assert card.shares == (0.1, 0.3, 0.7, 1.0)
    assert card.start == card.shares.index(1.0)
    assert [card.steps(clip) for clip in clips] == [[0, 0, 1, 1], [0, 1, 2, 3]]


def test_a_metric_without_a_value_is_a_dash(tmp_path):
    metrics = {"AI": 100.0, "SI-SDRi": float("nan"), "FF": float("inf")}
    clip = clip_in(tmp_path / "a", metrics=metrics)
    text = write_page(tmp_path, "Clips", [clip]).read_text("utf-8")
    assert [cell.strip() for cell in re.findall("<td>(.*?)</td>", text)] == [
        "100", "–", "–"
    ]  # fmt: skip
    of_method = data_of(text)["cards"][0]["methods"][0]
    assert of_method["metrics"] == {"AI": 100, "SI-SDRi": None, "FF": None}


def test_the_curve_runs_through_the_steps(tmp_path):
    clip = clip_in(tmp_path / "a")
    text = curve_svg(clip.steps, 1, 0.8, 'the "curve"')
    assert 'aria-label="the &#34;curve&#34;"' in text
    dots = re.findall(r'<circle class="(\w+)( now)?".*? cx="(.*?)" cy="(.*?)"', text)
    kept = [(now, float(x), float(y)) for kind, now, x, y in dots if kind == "kept"]
    assert [now for now, _, _ in kept] == ["", " now", ""]
    xs, ys = [x for _, x, _ in kept], [y for _, _, y in kept]
    assert xs == sorted(xs)
    # The probability is the share, and grows upwards.
    heights = [(ys[0] - y) / (ys[0] - ys[2]) for y in ys]
    assert heights == pytest.approx([0, 0.25 / 0.95, 1], abs=0.01)


def test_a_dial_of_one_step_has_a_curve(tmp_path):
    clip = clip_in(tmp_path / "a", shares=(0.3,), start=0)
    assert "30 % kept" in curve_svg(clip.steps, 0, None, "")
    assert write_page(tmp_path, "Clips", [clip]).is_file()


def test_a_missing_file_is_named_and_the_old_page_stays(tmp_path):
    clip = clip_in(tmp_path / "a")
    before = write_page(tmp_path, "Clips", [clip]).read_bytes()
    clip.steps[0].kept.unlink()
    with pytest.raises(DataError, match=re.escape(str(clip.steps[0].kept))):
        write_page(tmp_path, "Other clips", [clip])
    assert (tmp_path / "index.html").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a", "index.html"}


def test_a_broken_sound_is_named(tmp_path):
    clip = clip_in(tmp_path / "a")
    clip.sound.write_text("no sound")
    with pytest.raises(DataError, match=r"input\.wav"):
        write_page(tmp_path, "Clips", [clip])


def test_a_file_elsewhere_is_refused(tmp_path):
    clip = clip_in(tmp_path / "a")
    with pytest.raises(ValueError, match="subpath"):
        write_page(tmp_path / "b", "Clips", [clip])
    assert not (tmp_path / "b").exists()


def test_a_page_without_clips_is_refused(tmp_path):
    with pytest.raises(DataError, match="no explained clip"):
        write_page(tmp_path, "Clips", [])


def test_one_card_needs_no_filters(tmp_path):
    for n_clips in (1, 2):
        clips = [clip_in(tmp_path / str(i)) for i in range(n_clips)]
        text = write_page(tmp_path, "Clips", clips).read_text("utf-8")
        (form,) = [e for tag, e in Parsed(text).elements if tag == "form"]
        assert ("hidden" in form) == (n_clips == 1)


def test_everything_that_is_pressed_says_what_it_does(tmp_path):
    text = write_page(tmp_path, "Clips", [clip_in(tmp_path / "a")]).read_text("utf-8")
    images = [e for tag, e in Parsed(text).elements if tag == "img"]
    assert images
    assert all(image["alt"] for image in images)
    ranges = [e for _, e in Parsed(text).elements if e.get("type") == "range"]
    assert [e["aria-valuetext"] for e in ranges] == [
        "0:00.0 of 0:03.0", "30 % of the energy"
    ]  # fmt: skip
    assert "aria-live" in html.unescape(text)
