"""docs/explain_your_recording.md and README: their `lmac-td explain` runs."""

import importlib
import json
import shlex
import shutil
from itertools import pairwise

import pytest
import soundfile

from tests.classifiers.huggingface.models import AST, config_of
from tests.classifiers.huggingface.models import save as save_huggingface
from tests.networks import noise
from tests.pages import command_lines, importable, write_files

# Less to compute; what a command itself says wins.
QUICK = {"--window_s": ["1"], "--shares": ["0.5"], "--device": ["cpu"]}
# Those of two_questions.md need their sounds, those of published_weights.md what they
# convert: tests of these pages.
LINES = [
    shlex.split(line)
    for line in command_lines("lmac-td")
    if "recipes/real_networks" not in line and "converted/" not in line
]


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """A folder with the recordings and the classifier that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    for name in ("dog.wav", "calls/deep/owl.flac", "more/a.mp3"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(2).T.numpy(), 16000)
    return tmp_path


def run(verb, *arguments):
    """Run a command of the page in this process."""
    return importlib.import_module(f"lmac_td.cli.{verb}").main(list(arguments))


def targets_of(line):
    """The labels that a command asks for."""
    return [after for word, after in pairwise(line) if word == "--target"]


def explain(*arguments):
    quick = [w for k, v in QUICK.items() if k not in arguments for w in (k, *v)]
    return run("explain", *arguments, *quick)


def test_the_pages_show_the_command():
    assert ["lmac-td", "explain", "dog.wav"] in LINES
    assert {verb for _, verb, *_ in LINES} >= {"explain", "page"}
    assert len(LINES) >= 9


@pytest.mark.parametrize(
    "line", [line for line in LINES if line[1] == "explain"], ids=" ".join
)
def test_the_recordings_of_a_command_are_explained(line, at_home, request):
    if "my_recordings.yaml" in line:
        write_files("add_classifier.md", at_home)
    elif "--classifier" in line:
        save_huggingface(at_home / "path/to/my_ast", config_of(AST))
    if "--interpreter" in line:
        trained = request.getfixturevalue("with_trained")("cnn14", "lmac_td")
        (made,) = (trained / "results").glob("lmac_td*")
        shutil.copytree(made, at_home / line[line.index("--interpreter") + 1])
    with importable(at_home):  # and forget what the command imported
        assert explain(*line[2:]) == 0
    out = at_home / (line[line.index("--out") + 1] if "--out" in line else "explained")
    assert (out / "index.html").is_file()
    descriptions = list(out.rglob("explanation.json"))
    assert descriptions
    for path in descriptions:
        assert path.with_name("interpretation.wav").is_file()
    if "--target" in line:
        found = [json.loads(path.read_text("utf-8"))["target"] for path in descriptions]
        assert sorted(found) == sorted(targets_of(line))


@pytest.mark.parametrize(
    "line", [line for line in LINES if line[1] == "page"], ids=" ".join
)
def test_a_page_of_several_folders(line, at_home):
    shutil.copy(at_home / "dog.wav", at_home / "rain.wav")
    folders = line[2 : line.index("--out")]
    if all(folder.startswith("explained/") for folder in folders):
        explain("dog.wav", "rain.wav")
    else:
        for folder in folders:
            explain("dog.wav", "--out", folder, "--method", folder.split("_")[-1])
    run(*line[1:])
    assert (at_home / "both" / "index.html").is_file()
