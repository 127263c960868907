"""A page of explanations in a browser: it plays, switches, turns, filters, sorts."""

import pytest

from lmac_td.report.page.content import Segment
from lmac_td.report.page.write import write_page
from tests.explained_clips import ODD_NAME, clip_in

pytestmark = pytest.mark.slow
SECONDS = 4.0
PLAYING = """card => [...card.querySelectorAll('audio')].filter(a => !a.paused)
    .map(a => [decodeURIComponent(a.getAttribute('src')), a.currentTime])"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of four cards; the first has two methods."""
    folder = tmp_path_factory.mktemp("page")

    def clip(name, method="evidence", **more):
        where = folder / f"{name} {method} #1? 50%25 雨"
        return clip_in(where, method, SECONDS, **{"name": name} | more)

    parts = [Segment(i, i + 1, "dog", 0.5, i / 3) for i in range(4)]
    clips = [
        clip("a", label="dog", condition="speech", metrics={"AI": 0.0}),
        clip("a", "lmac", label="dog", condition="speech", metrics={"AI": 9.0}),
        clip("b", label="cat", condition="noise", metrics={"AI": 100.0}),
        clip("c", label="cat", condition="speech", metrics={"AI": float("nan")}),
        clip("d", metrics={"AI": 50.0}, timeline=tuple(parts)),
    ]
    odd = {"name": ODD_NAME, "target": ODD_NAME, "seconds": 1.0}
    more = [
        clip_in(folder / "odd", **odd),
        clip_in(folder / "long", "a_method_of_a_long_name" * 3, **odd),
    ]
    return write_page(folder, "Clips", [*clips, *more])


@pytest.fixture
def page(chromium, written):
    """The page, opened; afterwards nothing was fetched or failed."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("file://", "data:")) or wrong.append(request.url)
        ),
    )
    page.on("requestfailed", lambda request: _note_failure(request, wrong))
    page.goto(written.as_uri())
    yield page
    context.close()
    assert wrong == []


def _note_failure(request, wrong):
    if request.resource_type != "media":  # a sound that is let go is no failure
        wrong.append(f"{request.url}: {request.failure}")


def card_of(page, number=0):
    return page.locator(f"#card-{number}")


def playing(card):
    """The file and the position of each sound that plays."""
    return card.evaluate(PLAYING)


def wait_for_sound(card, end):
    """Wait until exactly one sound plays, whose file's name ends so."""
    card.page.wait_for_function(
        f"""([card, end]) => {{ const found = ({PLAYING})(card);
            return found.length === 1 && found[0][0].endsWith(end); }}""",
        arg=[card.element_handle(), end],
    )


def clock_of(card):
    return float(card.locator(".position").input_value())


def names(page):
    return [n.strip() for n in page.locator(".card:visible h2").all_inner_texts()]


def test_play_and_pause(page):
    card = card_of(page)
    card.get_by_role("button", name="Play").click()
    wait_for_sound(card, "kept_0.3.wav")
    (_, before), *_ = playing(card)
    page.wait_for_timeout(400)
    (_, after), *_ = playing(card)
    assert after - before > 0.2
    card.get_by_role("button", name="Pause").click()
    assert playing(card) == []
    assert after <= clock_of(card) < SECONDS


# The longest jump of the position, in seconds.
JUMP = 0.15
SWITCH = """async ([card, button]) => {
    const sounding = () => [...card.querySelectorAll('audio')].find(a => !a.paused);
    const old = sounding();
    const at = performance.now(), from = old.currentTime;
    button.click();
    while (!sounding() || sounding() === old || sounding().currentTime === 0) {
        if (performance.now() - at > 10000) return NaN;
        await new Promise(requestAnimationFrame);
    }
    const now = sounding();
    return now.currentTime - from - (performance.now() - at) / 1000;
}"""


@pytest.mark.parametrize("part", ["input", "removed"])
def test_sounds_switch_at_the_same_position(page, part):
    card = card_of(page)
    card.locator(".play").click()
    wait_for_sound(card, "kept_0.3.wav")
    page.wait_for_timeout(600)
    button = card.locator(f"[data-part={part}]")
    jump = card.evaluate(
        f"(card, button) => ({SWITCH})([card, button])", button.element_handle()
    )
    assert abs(jump) < JUMP
    wait_for_sound(card, {"input": "input.wav", "removed": "removed_0.3.wav"}[part])
    assert button.get_attribute("aria-pressed") == "true"
    assert card.locator("[data-part=kept]").get_attribute("aria-pressed") == "false"


def test_methods_switch_at_the_same_position(page):
    card = card_of(page)
    card.locator(".play").click()
    wait_for_sound(card, "kept_0.3.wav")
    page.wait_for_timeout(600)
    button = card.locator("button[data-method='1']")
    jump = card.evaluate(
        f"(card, button) => ({SWITCH})([card, button])", button.element_handle()
    )
    assert abs(jump) < JUMP
    assert "a lmac " in playing(card)[0][0]


def test_the_dial_changes_sound_picture_and_probability(page):
    card = card_of(page)
    card.locator(".play").click()
    wait_for_sound(card, "kept_0.3.wav")
    page.wait_for_timeout(500)
    before = playing(card)[0][1]
    card.locator(".knob").focus()
    page.keyboard.press("ArrowLeft")
    wait_for_sound(card, "kept_0.05.wav")
    assert playing(card)[0][1] >= before - JUMP
    for tile in card.locator(".of-method").all():
        assert "mask_0.05.png" in tile.locator("img").get_attribute("src")
        assert tile.locator(".p-kept .p").inner_text() == "5 %"
        assert tile.locator(".p-removed .p").inner_text() == "95 %"
        assert tile.locator(".kept.now").get_attribute("data-step") == "0"
    knob = card.locator(".knob")
    assert knob.get_attribute("aria-valuetext") == "5 % of the energy"
    assert "dog has 5 % in what is kept" in card.locator(".live").inner_text()


def test_a_dial_that_moves_fast_ends_at_its_last_step(page):
    card = card_of(page)
    card.locator(".play").click()
    wait_for_sound(card, "kept_0.3.wav")
    for key in ("ArrowLeft", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    wait_for_sound(card, "kept_1.0.wav")
    page.wait_for_timeout(300)
    assert len(playing(card)) == 1


def test_while_paused_the_position_stays(page):
    card = card_of(page)
    card.locator(".position").fill("2.5")
    card.locator("[data-part=input]").click()
    assert clock_of(card) == 2.5
    card.locator(".play").click()
    wait_for_sound(card, "input.wav")
    assert playing(card)[0][1] >= 2.5


def test_a_click_on_a_picture_goes_there(page):
    card = card_of(page)
    image = card.locator(".of-method .picture").first
    box = image.bounding_box()
    image.click(position={"x": 0.75 * box["width"], "y": 20})
    assert clock_of(card) == pytest.approx(0.75 * SECONDS, abs=0.1)


def test_one_card_plays_at_a_time(page):
    first, second = card_of(page, 0), card_of(page, 1)
    first.locator(".play").click()
    wait_for_sound(first, "kept_0.3.wav")
    page.wait_for_timeout(300)
    second.locator(".play").click()
    wait_for_sound(second, "kept_0.3.wav")
    assert playing(first) == []
    assert first.locator("audio").count() == 0  # players are given back
    assert clock_of(first) > 0.2


def test_a_sound_ends_or_repeats(page):
    card = card_of(page, 4)  # of one second
    card.locator(".play").click()
    wait_for_sound(card, "kept_0.3.wav")
    page.wait_for_timeout(1300)
    assert len(playing(card)) == 1
    card.get_by_role("button", name="Repeat").click()
    card.get_by_role("button", name="Play").wait_for()
    assert clock_of(card) > 0.9
    first = card.evaluate(
        """card => new Promise(resolve => {
            const audio = [...card.querySelectorAll('audio')].find(
                ({ src }) => src.endsWith('kept_0.3.wav'));
            audio.addEventListener('playing', () => resolve(audio.currentTime));
            card.querySelector('.play').click();
        })"""
    )
    assert first < 0.3


def test_the_timeline_goes_to_a_part(page):
    card = card_of(page, 3)
    card.get_by_role("button", name="0:02.0 to 0:03.0: dog, 50 %").click()
    assert clock_of(card) == 2
    assert card.locator(".timeline [aria-current]").get_attribute("data-start") == "2"
    assert card.locator(".now-part").inner_text().startswith("0:02.0")


def test_a_sound_that_cannot_play_is_reported(page):
    card = card_of(page)
    card.evaluate("card => card.querySelector('[data-part=input]').click()")
    page.evaluate("() => { window.HTMLMediaElement.prototype.play = function () {"
                  " return Promise.reject(new Error('gone')); } }")  # fmt: skip
    card.locator(".play").click()
    problem = card.get_by_role("alert")
    problem.wait_for()
    assert "input.wav cannot be played" in problem.inner_text()
    assert card.get_by_role("button", name="Play").count() == 1


def test_filter_and_search(page):
    assert names(page)[:4] == ["a", "b", "c", "d"]
    page.select_option("#class", "cat")
    assert names(page) == ["b", "c"]
    page.select_option("#condition", "speech")
    assert names(page) == ["c"]
    assert page.locator("#count").inner_text() == "1 of 5 clips"
    page.fill("#search", "z")
    assert names(page) == []
    assert page.locator("#none").is_visible()
    for control in ("#class", "#condition"):
        page.select_option(control, "")
    page.fill("#search", "ONERROR")
    assert len(names(page)) == 1


def test_the_filter_of_a_class_finds_what_is_explained_with_it(page):
    page.select_option("#class", "dog")
    assert names(page) == ["a", "b", "c", "d"]  # labelled or explained as a dog


def test_sort_by_a_metric(page):
    page.select_option("#sort", '["evidence", "AI"]')
    assert names(page)[:4] == ["a", "d", "b", "c"]  # without a value: last
    page.get_by_role("button", name="Descending").click()
    assert names(page)[:4] == ["b", "d", "a", "c"]
    page.select_option("#sort", '["lmac", "AI"]')
    assert names(page)[0] == "a"
    page.select_option("#sort", "name")
    assert names(page)[:4] == ["d", "c", "b", "a"]
    page.select_option("#sort", label="original order")
    assert names(page)[:4] == ["a", "b", "c", "d"]
    assert page.get_by_role("button", name="Descending").is_disabled()


def test_keys(page):
    card = card_of(page)
    page.keyboard.press(" ")
    wait_for_sound(card, "kept_0.3.wav")
    for key, end in (
        ("1", "input.wav"),
        ("3", "removed_0.3.wav"),
        ("ArrowRight", "removed_1.0.wav"),
        ("2", "kept_1.0.wav"),
    ):
        page.keyboard.press(key)
        wait_for_sound(card, end)
    page.keyboard.press("m")
    page.wait_for_function(
        f"card => ({PLAYING})(card).some(([name]) => name.includes('lmac'))",
        arg=card.element_handle(),
    )
    page.keyboard.press(" ")
    assert playing(card) == []


def test_keys_that_are_typed_are_text(page):
    page.locator("#search").focus()
    page.keyboard.type("1 m")
    assert page.locator("#search").input_value() == "1 m"
    card = card_of(page)
    assert card.locator("[data-part=kept]").get_attribute("aria-pressed") == "true"


def test_space_presses_a_button_that_changes_something(page):
    card = card_of(page)
    card.locator("[data-part=removed]").focus()
    page.keyboard.press(" ")
    assert card.locator("[data-part=removed]").get_attribute("aria-pressed") == "true"
    assert playing(card) == []
    page.keyboard.press(" ")
    wait_for_sound(card, "removed_0.3.wav")


def test_the_focus_is_visible(page):
    page.locator("#search").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "[document.activeElement.tagName,"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert style[1] == "solid", style


def test_odd_names_play(page):
    card = card_of(page, 4)
    assert card.locator("h2").text_content() == ODD_NAME
    card.locator(".play").click()
    wait_for_sound(card, "kept_0.3.wav")
    assert card.locator("img").count() == 3
    # All pictures of the page were found.
    page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    page.wait_for_function("[...document.images].every(i => i.complete)")
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_no_width_needs_to_scroll_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.locator(".help summary").click()
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    content, window = page.evaluate(widths)
    assert content <= window == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    colours = page.evaluate(
        """() => ['--paper', '--card', '--ink', '--soft', '--accent', '--on-accent']
            .map(name => getComputedStyle(document.documentElement)
                .getPropertyValue(name).trim())"""
    )
    paper, card, ink, soft, accent, on_accent = map(luminance, colours)
    assert (paper > ink) == (scheme == "light")
    pairs = [(ink, card), (soft, card), (soft, paper), (accent, card)]
    for one, other in [*pairs, (on_accent, accent)]:
        dark, bright = sorted((one, other))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, level AA


def luminance(colour):
    """Relative luminance of a colour such as #a0b1c2, as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
