"""The timeline of a page in a browser: its place, its decisions, its keys."""

from dataclasses import replace

import pytest

from lmac_td.report.page.content import Segment
from lmac_td.report.page.write import write_page
from tests.explained_clips import clip_in

pytestmark = pytest.mark.slow
SECONDS = 4.0
BORDERS, DECIDED = (0, 1.5, 2, 3, 4), ("dog", "cat", "cat", "dog")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    parts = [
        Segment(BORDERS[i], BORDERS[i + 1], DECIDED[i], 0.5 + i / 10, i / 3)
        for i in range(4)
    ]
    clip = clip_in(folder / "one", seconds=SECONDS, timeline=tuple(parts))
    return write_page(folder, "Clips", [clip])


@pytest.fixture
def page(chromium, written):
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    page.goto(written.as_uri())
    yield page
    page.close()


def test_the_decision_of_each_part_is_told_to_pointer_and_keyboard(page):
    card = page.locator(".card")
    told, parts = card.locator(".now-part"), card.locator(".timeline button")
    assert told.inner_text() == "0:00.0 – 0:01.5: dog, 50 %; relevance 0"
    parts.nth(1).hover()
    assert told.inner_text() == "0:01.5 – 0:02.0: cat, 60 %; relevance 0.3333"
    page.mouse.move(0, 0)
    assert told.inner_text().startswith("0:00.0")
    step = card.locator(".knob").input_value()
    parts.first.focus()
    for key, start in (("ArrowRight", "1.5"), ("End", "3"), ("ArrowLeft", "2")):
        page.keyboard.press(key)
        focused = card.locator(".timeline button:focus")
        assert focused.get_attribute("data-start") == start
        assert focused.get_attribute("aria-label").startswith(
            told.inner_text().partition(" –")[0]
        )
    assert card.locator(".knob").input_value() == step
    # The tab key stops once in a timeline.
    assert [p.get_attribute("tabindex") for p in parts.all()] == ["-1", "-1", "0", "-1"]
    page.keyboard.press("Enter")
    assert card.locator(".position").input_value() == "2"


def test_equal_decisions_are_named_once_for_eyes_and_screen_readers(page):
    runs = page.locator(".card").locator(".decisions li")
    assert runs.all_text_contents() == [
        "0:00.0 to 0:01.5: dog, 50 %",
        "0:01.5 to 0:03.0: cat, 60 % to 70 %",
        "0:03.0 to 0:04.0: dog, 80 %",
    ]


@pytest.mark.parametrize("width", [320, 768, 1600])
def test_the_timeline_lies_where_the_picture_has_it(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    card = page.locator(".card")
    picture = card.locator(".of-method .picture").bounding_box()
    for selector, starts in (
        (".timeline button", (0, 1.5, 2, 3)),
        (".decisions li", (0, 1.5, 3)),
    ):
        boxes = [part.bounding_box() for part in card.locator(selector).all()]
        ends = [*starts[1:], SECONDS]
        for box, start, end in zip(boxes, starts, ends, strict=True):
            second = picture["width"] / SECONDS
            assert box["x"] == pytest.approx(picture["x"] + start * second, abs=0.6)
            assert box["width"] == pytest.approx((end - start) * second, abs=0.6)


def test_a_timeline_of_many_parts_is_no_wider_than_a_phone(chromium, tmp_path):
    parts = [
        Segment(i / 40, (i + 1) / 40, "dog" if i % 3 else "a cat", 0.9, 0.5)
        for i in range(1440)
    ]
    clip = clip_in(tmp_path / "a", seconds=36.0, shares=(1.0,), start=0)
    path = write_page(tmp_path, "Clips", [replace(clip, timeline=tuple(parts))])
    page = chromium.new_page(viewport={"width": 360, "height": 800})
    page.goto(path.as_uri())
    widths = """[...document.querySelectorAll('.picture, .timeline, .decisions')]
        .map(e => [e.clientWidth, e.scrollWidth])"""
    _, (picture, _), *others = page.evaluate(widths)
    assert len(others) == 2
    assert all(client == picture >= content - 2 for client, content in others)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.close()
