"""Names of folders and files that yaml or a shell would read in another way."""

import shutil

import numpy as np
import pytest
import soundfile

from lmac_td.cli import page
from lmac_td.experiment.build import load_recipe
from lmac_td.experiment.open import open_experiment
from tests.commands import CLASSIFIER, COMPARE, EVALUATE, TRAIN_NMF, refused, run

ODD = (
    "a=b", "a #b", "#a", "a: b", "{a}", "[a]", "a b", "$HOME", "%s", "a'b", 'a"b',
    "&a", "*a", "!ref", "- a", "a\\b", "@a", "a, b", "a\nb", "null", "1e3", "ünï", "🎧",
)  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_settings_keep_the_names_of_folders(tiny_recipes, odd):
    """Also where a recipe refers to them, and where the recipe itself lies there."""
    folder = tiny_recipes / odd
    folder.mkdir()
    shutil.copy(tiny_recipes / "cnn14.yaml", folder)
    names = ("data_folder", "output_folder", "cache_folder", "pretrained_interpreter")
    given = [f"--{name}={folder / name}" for name in names[:2]]
    given += ["--cache_folder", str(folder / "cache_folder")]
    experiment = open_experiment(
        [str(folder / "cnn14.yaml"), *given], "", "clean_probability"
    )
    for name in names[:3]:
        assert experiment.hparams[name] == str(folder / name)
    assert experiment.hparams["save_folder"] == f"{folder / 'output_folder'}/save"
    assert experiment.hparams["dataset"].folder == folder / "data_folder"


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["a=b #c: d", "{$x} [y]", "a'b \"c", "- ünï 🎧"])
def test_commands_work_in_such_folders(trained, corpus, odd):
    place = trained / odd
    place.mkdir()
    moved = shutil.copytree(corpus, place / "corpus")
    data = {
        "data_folder": moved / "ESC-50", "wham_folder": moved / "wham_noise",
        "cache_folder": place / "cache",
    }  # fmt: skip
    run(TRAIN_NMF, trained / "nmf.yaml", output_folder=place / "nmf", **data)
    assert (place / "nmf" / "dictionary" / "dictionary.npy").is_file()
    classifier = shutil.copytree(
        trained / "results" / "cnn14" / "classifier", place / "classifier"
    )
    run(
        EVALUATE, trained / "evidence.yaml", condition="clean", n_samples=1,
        pretrained_classifier=classifier, output_folder=place / "evidence", **data,
    )  # fmt: skip
    evaluation = place / "evidence" / "evaluation_clean"
    assert "evidence" in run(COMPARE, evaluation).stdout
    page.main([str(evaluation), "--out", str(place / "page")])
    assert (place / "page" / "index.html").is_file()


PLACES = (
    "ESC-50/new",
    "ESC-50",
    "ESC-50/../ESC-50/new",
    "wham_noise/tr",
    "LJSpeech-1.1",
)


@pytest.mark.parametrize("name", ["output_folder", "cache_folder", "save_folder"])
@pytest.mark.parametrize("place", [*PLACES, "link/new"])
def test_nothing_is_written_into_a_data_set(tiny_recipes, corpus, name, place):
    (tiny_recipes / "link").symlink_to(corpus / "ESC-50")
    folder = f"{tiny_recipes if place == 'link/new' else corpus}/{place}"
    before = sorted(corpus.rglob("*"))
    sentence = refused(CLASSIFIER, tiny_recipes / "cnn14.yaml", **{name: folder})
    assert f"{name} {folder} lies in the data set" in sentence
    assert sorted(corpus.rglob("*")) == before


def test_a_table_of_clips_may_lie_beside_the_results(tiny_recipes):
    """Only folders that a data set owns are left alone."""
    soundfile.write(tiny_recipes / "a.wav", np.full(16000, 0.1), 16000)
    (tiny_recipes / "clips.csv").write_text("path,labels,fold\na.wav,dog,1\n")
    recipe = tiny_recipes / "mine.yaml"
    recipe.write_text(
        "extends: cnn14.yaml\ndataset: !new:lmac_td.data.sources.csv_manifest."
        f"CsvManifest\n    table: {tiny_recipes / 'clips.csv'}\n"
    )
    assert not load_recipe(recipe)["dataset"].owns_folder
    open_experiment([str(recipe)], "", "clean_probability")
