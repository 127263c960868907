"""docs/two_questions.md: its commands and its Python lines run, and print what it says.

The networks are those of the `real` extra.
"""

import importlib.util
import re
import shlex

import pytest
import soundfile

from lmac_td.cli import explain
from tests.commands import run
from tests.pages import ROOT, blocks, importable
from tests.real_sounds import save_recordings

PAGE = "two_questions.md"
TEXT = (ROOT / "docs" / PAGE).read_text(encoding="utf-8")
LINES = [
    shlex.split(line)
    for line in re.findall(r"^ {4}((?:python|lmac-td) .*)$", TEXT, re.MULTILINE)
]
PRINTED = re.compile(
    r"(\S+), p = ([\d.]+); kept \(\d+ % of the energy\), p = ([\d.]+); "
    r"removed, p = ([\d.]+)"
)

for package in ("silero_vad", "torchcrepe"):
    if importlib.util.find_spec(package) is None:
        reason = f"{package} is not installed: pip install 'lmac-td[real]'"
        pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder in which the commands of the page run as in a clone."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    with importable(ROOT / "recipes" / "real_networks"):
        yield tmp_path


def call(line, folders):
    """Run a line of the page in this process."""
    words = [folders.get(word, word) for word in line]
    if words[0] == "python":
        return run(*words[1:])
    assert words[:2] == ["lmac-td", "explain"]
    return explain.main([*words[2:], "--shares", "0.5", "--device", "cpu"])


def line_of(*words):
    (line,) = [line for line in LINES if set(words) <= set(line)]
    return line


def shorten(path, seconds=1):
    wav, rate = soundfile.read(path)
    soundfile.write(path, wav[: seconds * rate], rate)


def test_the_commands_of_the_chord_print_what_the_page_says(clone, capsys):
    sounds, *_ = LINES
    assert sounds == ["python", "recipes/real_networks/sounds.py"]
    call(sounds, {})
    call(line_of("lmac-td", "sounds/chord.wav"), {})
    printed, shown = PRINTED.findall(capsys.readouterr().out), PRINTED.findall(TEXT)
    assert [note for note, *_ in printed] == ["F4", "B4"]
    for (note, *found), (same_note, *said) in zip(printed, shown, strict=False):
        assert note == same_note
        assert list(map(float, found)) == pytest.approx(
            list(map(float, said)), abs=0.03
        )
    for note in ("F4", "B4"):
        assert (clone / "explained/chord" / note / "interpretation.wav").is_file()
    assert (clone / "explained" / "index.html").is_file()


def test_the_python_lines_run(clone, capsys):
    call(LINES[0], {})
    shorten(clone / "sounds" / "chord.wav")
    (block,) = blocks(PAGE, "python")
    exec(compile(block, PAGE, "exec"), {"__name__": "page"})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "F4", "B4"
    ]  # fmt: skip
    assert (clone / "explained" / "B4" / "interpretation.wav").is_file()


def test_the_commands_of_the_voice_run(clone, capsys):
    folders = save_recordings(clone, 1)
    folders = {f"${name.upper()}": folder for name, folder in folders.items()}
    call(line_of("recipes/real_networks/sounds.py", "--speech"), folders)
    voice = clone / "sounds" / "voice_in_noise.wav"
    assert soundfile.info(voice).duration == 4
    call(line_of("lmac-td", "sounds/voice_in_noise.wav"), folders)
    assert "voice_in_noise.wav: speech, p = " in capsys.readouterr().out


@pytest.mark.slow
def test_the_picture_is_drawn_and_small(clone):
    folders = save_recordings(clone, 1)
    folders = {f"${name.upper()}": folder for name, folder in folders.items()}
    call(line_of("recipes/real_networks/draw_two_questions.py"), folders)
    for folder in (clone, ROOT):
        picture = folder / "docs" / "two_questions.png"
        assert 20_000 < picture.stat().st_size < 200_000
