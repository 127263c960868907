"""`lmac-td explain`: files, folders and patterns in, a page and sounds out."""

import json

import numpy as np
import pytest
import soundfile

from lmac_td.cli import explain, page
from lmac_td.cli.__main__ import VERBS, usage
from lmac_td.errors import SettingError
from lmac_td.report.page.saved import read_clips
from tests.classifiers.huggingface.models import AST, config_of
from tests.classifiers.huggingface.models import save as save_huggingface
from tests.commands import refused, run
from tests.networks import noise

EXPLAIN, PAGE = "lmac_td/cli/explain.py", "lmac_td/cli/page.py"
QUICK = ("--shares", "0.2", "1", "--window_s", "1", "--device", "cpu")
FILES = {"interpretation.wav", "residual.wav", "figure.png", "explanation.json"}


def recording(path, seconds=1.0, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = noise(channels, round(rate * seconds), seed=len(path.name))
    soundfile.write(path, wav.T.numpy(), rate)
    return path


def main(*arguments):
    return explain.main([*map(str, arguments), *QUICK])


def test_recordings_of_every_kind_are_explained_without_options(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "dog.wav", rate=44100, channels=2)
    recording(tmp_path / "more" / "deep" / "rain.mp3", rate=44100)
    recording(tmp_path / "more" / "dog.flac")
    (tmp_path / "more" / "notes.txt").write_text("no sound")
    recording(tmp_path / "calls" / "owl.ogg", seconds=2.5)
    assert main("dog.wav", "more", "calls/*.ogg") == 0
    said = capsys.readouterr().out
    assert "budgeted_small explains the reference classifier CNN14 (16000 Hz)" in said
    assert "It knows 10 classes: dog, rooster, rain, sea_waves" in said
    out = tmp_path / "explained"
    folders = {folder.name for folder in out.iterdir() if folder.is_dir()}
    assert folders == {"dog", "dog_2", "rain", "owl"}
    for folder in folders:
        assert {path.name for path in (out / folder).iterdir()} >= FILES
        assert (out / folder / "kept_20.wav").is_file()
    shown = (out / "index.html").read_text("utf-8")
    for name in ("dog.wav", "rain.mp3", "owl.ogg"):
        assert name in shown
    assert "Page to listen and compare: explained/index.html" in said
    described = json.loads((out / "owl" / "explanation.json").read_text("utf-8"))
    assert described["duration_s"] == pytest.approx(2.5)
    assert len(described["timeline"]) == 4


def test_the_results_are_replaced_and_not_taken_for_recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "dog.wav")
    for _ in range(2):
        assert main(".") == 0
    assert {p.name for p in (tmp_path / "explained").iterdir()} == {"dog", "index.html"}


def test_recordings_of_one_name_are_told_apart(tmp_path):
    files = [recording(tmp_path / day / "1.wav") for day in ("monday", "tuesday")]
    out = tmp_path / "out"
    assert main(*files, "--out", out) == 0
    clips = [read_clips(out / folder) for folder in ("1", "1_2")]
    assert [c.name for (c,) in clips] == ["monday/1.wav", "tuesday/1.wav"]
    assert "A trained network: it scores" in (out / "index.html").read_text("utf-8")


def test_a_label_is_explained(tmp_path):
    out = tmp_path / "out"
    assert main(recording(tmp_path / "a.wav"), "--target", "rain", "--out", out) == 0
    assert json.loads((out / "a/explanation.json").read_text())["target"] == "rain"


def test_several_labels_are_explained_each_once(tmp_path, capsys):
    out = tmp_path / "out"
    targets = [part for t in ("rain", "dog", "rain", "0") for part in ("--target", t)]
    assert main(recording(tmp_path / "a.wav"), *targets, "--out", out) == 0
    assert {path.name for path in (out / "a").iterdir() if path.is_dir()} == {
        "dog", "rain"
    }  # fmt: skip
    for label in ("dog", "rain"):
        described = json.loads((out / "a" / label / "explanation.json").read_text())
        assert described["target"] == label
    assert [clip.target for clip in read_clips(out / "a")] == ["rain", "dog"]
    said = capsys.readouterr().out
    assert said.count("a.wav: rain, p = ") == said.count("a.wav: dog, p = ") == 1


def test_a_recipe_builds_the_classifier(tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "network: !new:torch.nn.Linear [16000, 2]\n"
        "classifier: !new:lmac_td.classifiers.modules.ModuleClassifier\n"
        "    {network: !ref <network>, sample_rate: 16000, labels: [calls, silence]}\n"
    )
    given = "--classifier", recipe, "--target", "silence", "--out", tmp_path / "out"
    assert main(recording(tmp_path / "a.wav"), *given) == 0
    assert "It knows 2 classes: calls, silence" in capsys.readouterr().out


def test_results_of_earlier_commands_are_not_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "dog.wav")
    assert main("dog.wav", "--out", "first") == 0
    assert main(".", "--out", "second") == 0
    assert main("*", ".", "--out", "third") == 0
    for out in ("second", "third"):
        found = {path.name for path in (tmp_path / out).iterdir()}
        assert found == {"dog", "index.html"}


@pytest.mark.parametrize("target", ["sea waves", "Sea_Waves"])
def test_a_label_may_be_spelt_with_spaces_and_upper_case(tmp_path, target):
    out = tmp_path / "out"
    assert main(recording(tmp_path / "a.wav"), "--target", target, "--out", out) == 0
    assert json.loads((out / "a/explanation.json").read_text())["target"] == "sea_waves"


@pytest.mark.parametrize("keep", ["0.3", "smallest"])
def test_the_share_that_is_kept_is_printed(tmp_path, capsys, keep):
    out = tmp_path / "out"
    assert main(recording(tmp_path / "a.wav"), "--keep", keep, "--out", out) == 0
    share = json.loads((out / "a/explanation.json").read_text())["share_kept"]
    assert f"kept ({100 * share:.2g} % of the energy)" in capsys.readouterr().out


def test_each_target_is_printed_with_its_folder(tmp_path, capsys):
    out = tmp_path / "out"
    given = recording(tmp_path / "a.wav"), "--target", "dog", "--target", "rain"
    assert main(*given, "--out", out) == 0
    said = capsys.readouterr().out
    for label in ("dog", "rain"):
        assert f"{out / 'a' / label}\n" in said
        assert (out / "a" / label / "interpretation.wav").is_file()


@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_results_cannot_be_written_below_a_file(tmp_path, below):
    file = tmp_path / "file"
    file.touch()
    given = recording(tmp_path / "a.wav"), "--out", f"{file}{below}"
    with pytest.raises(SettingError, match=f"{file} is a file: give another --out"):
        main(*given)


def test_a_bad_file_does_not_stop_the_rest(tmp_path, capsys):
    good = recording(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_text("no sound")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "click.wav", np.ones(1), 16000)
    out = tmp_path / "out"
    given = [
        tmp_path / name
        for name in ("bad.wav", "silent.wav", "click.wav", "missing.wav")
    ]
    assert main(*given, good, "--out", out) == 2
    said = capsys.readouterr().err
    assert "1 of 5 recordings were explained" in said
    for words in (
        "bad.wav cannot be decoded",
        "is silent",
        "click.wav lasts 0.000 s, too short",
        "missing.wav is missing",
    ):
        assert words in said
    assert {path.name for path in out.iterdir()} == {"good", "index.html"}


def test_each_tag_has_a_folder(tmp_path):
    folder = save_huggingface(tmp_path / "ast", config_of(AST))
    out = tmp_path / "out"
    done = main(
        recording(tmp_path / "a.wav"), "--classifier", folder, "--activation",
        "sigmoid", "--threshold", "0.001", "--out", out,
    )  # fmt: skip
    assert done == 0
    labels = {path.name for path in (out / "a").iterdir() if path.is_dir()}
    assert len(labels) > 1
    for label in labels:
        assert {path.name for path in (out / "a" / label).iterdir()} >= FILES


def test_without_a_tag_the_recording_is_reported(tmp_path, capsys):
    folder = save_huggingface(tmp_path / "ast", config_of(AST))
    done = main(
        recording(tmp_path / "a.wav"), "--classifier", folder, "--activation",
        "sigmoid", "--threshold", "0.999999", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done == 2
    assert "no tag reaches the threshold" in capsys.readouterr().err


def test_a_trained_interpreter_is_used(with_trained, tmp_path, capsys):
    trained = with_trained("cnn14", "budgeted") / "results" / "budgeted"
    out = tmp_path / "out"
    given = recording(tmp_path / "a.wav"), "--interpreter", trained, "--out", out
    assert main(*given) == 0
    assert "budgeted explains the classifier CNN14" in capsys.readouterr().out
    described = json.loads((out / "a/explanation.json").read_text())
    assert described["method"] == "budgeted"


def test_the_page_is_made_again_and_of_several_folders(tmp_path, capsys):
    for name in ("dog", "rain"):
        main(recording(tmp_path / f"{name}.wav"), "--out", tmp_path / f"of_{name}")
    index = tmp_path / "of_dog" / "index.html"
    before = index.read_text("utf-8")
    index.unlink()
    page.main([str(tmp_path / "of_dog")])
    assert index.read_text("utf-8") == before
    both = tmp_path / "both"
    page.main(
        [str(tmp_path / f"of_{n}") for n in ("dog", "rain")] + ["--out", str(both)]
    )
    shown = (both / "index.html").read_text("utf-8")
    assert "dog.wav" in shown
    assert "rain.wav" in shown
    page.main([str(both)])
    assert (both / "index.html").read_text("utf-8") == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.wav"], "missing.wav: there is no regular file of this name"),
        (["empty"], "empty holds no recordings"),
        (["*.flac"], "holds no recordings"),
        (["a.wav", "--target", "dgo"], "a label: dog"),
        (["a.wav", "--method", "evidense"], "method is 'evidense'"),
        (["a.wav", "--keep", "2"], "keep is '2'"),
        (["a.wav", "--keep", "10%"], "a share above 0 and up to 1"),
        (["a.wav", "--device", "gpu"], "device is 'gpu': give --device cpu"),
        (["a.wav", "--shares", "0"], "shares is 0"),
        (["a.wav", "--classifier", "nowhere/at/all"], "does not exist"),
        (["a.wav", "--classifier", "empty"], "holds no classifier"),
        (["a.wav", "--interpreter", "empty"], "has no recipe.yaml"),
        (["a.wav", "--interpreter", "empty", "--keep", "0.5"], "--keep does not go"),
        (["a.wav", "--classifier", "none.yaml"], "none.yaml does not exist"),
        (
            ["a.wav", "--classifier", "mine.yaml", "--interpreter", "empty"],
            "mine.yaml is a recipe, which does not go with --interpreter",
        ),
        (["a.wav", "--target", "dog", "--target", "dgo"], "target is 'dgo'"),
        (["a.wav", "--activation", "sigmoid"], "activation is sigmoid"),
        (["a.wav", "--out", "taken"], "was not written by this command"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "a.wav")
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken" / "a").mkdir(parents=True)
    (tmp_path / "taken" / "a" / "thesis.tex").write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    assert words in refused(EXPLAIN, *arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_results_has_no_page(tmp_path):
    assert "holds no clips.json" in refused(PAGE, tmp_path)


def test_help_tells_what_is_written():
    said = run(EXPLAIN, "--help").stdout
    for words in ("interpretation.wav", "--interpreter", "--target", "evidence"):
        assert words in said
    assert {"explain", "train", "evaluate", "compare", "benchmark", "show", "page"} <= (
        set(VERBS)
    )
    assert "explain" in usage()
