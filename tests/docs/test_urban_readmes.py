"""The commands of two recipes' READMEs, run on tiny recordings in their layouts."""

import functools
import json
import re
import shlex

import pytest

from lmac_td.data.demo import street
from lmac_td.data.demo.street import generate_street
from tests.commands import CLASSIFIER, EVALUATE, TRAIN, TRAIN_NMF, run
from tests.pages import ROOT
from tests.urban_corpora import write_urbansound8k

COMMAND = re.compile(r"^    python (.*)$", re.MULTILINE)
WIDTHS = {"cnn14_channels": "[2, 4, 4, 8, 8]", "emb_dim": 8}
NARROW = WIDTHS | {"n_samples": 1, "eval_batch_size": 12}
# What makes a command of paper size cheap, by recipe.
CHEAP = {
    "cnn14": WIDTHS | {"number_of_epochs": 1, "warmup_epochs": 0, "lr": 0.003},
    "nmf": {"n_components": 6, "n_iterations": 2},
    "lmac": NARROW | {"number_of_epochs": 1, "unet_channels": "[4, 4, 4, 4]"},
    "lmac_td": NARROW | {
        "number_of_epochs": 1, "encoder_channels": 16, "unet_channels": "[4, 4, 4, 4]",
        "masknet_channels": 8, "intra_layers": 1, "inter_layers": 1, "nhead": 2,
        "d_ffn": 8, "chunk_size": 50, "kernel_size": 8,
    },
    "l2i": NARROW | {"number_of_epochs": 1, "psi_width": 4},
    "baselines": NARROW | {"methods": "[saliency]"},
}  # fmt: skip


def commands_of(recipe):
    text = (ROOT / "recipes" / recipe / "README.md").read_text(encoding="utf-8")
    lines = [shlex.split(line) for line in COMMAND.findall(text)]
    return [(line, " ".join(line)) for line in lines]


def settings_of(words, folders):
    """Return the script, the recipe, the flags and the settings of a command."""
    script, recipe, *rest = [str(folders.get(word, word)) for word in words]
    settings, flags = {}, []
    while rest:
        name = rest.pop(0)
        if rest and not rest[0].startswith("--"):
            settings[name.removeprefix("--")] = rest.pop(0)
        else:
            flags.append(name)
    return script, recipe, flags, settings


@pytest.fixture
def run_command(tmp_path, monkeypatch):
    """Run a command of a page in a folder of its own, with narrow networks."""
    monkeypatch.chdir(tmp_path)

    def call(words, folders, **changes):
        script, recipe, flags, settings = settings_of(words, folders)
        settings |= CHEAP[recipe.removeprefix("hparams/").removesuffix(".yaml")]
        settings |= {"cache_folder": tmp_path / "cache", "device": "cpu"}
        return run(script, recipe, *flags, **settings | changes).stdout

    return call


@pytest.mark.slow
def test_urbansound8k(run_command, corpus, tmp_path):
    folders = {
        "$URBANSOUND8K": write_urbansound8k(tmp_path / "UrbanSound8K"),
        "$WHAM": corpus / "wham_noise",
        "$SPEECH": corpus / "LJSpeech-1.1",
    }
    results = tmp_path / "results" / "UrbanSound8K"
    for words, line in commands_of("UrbanSound8K"):
        if "ten_folds.py" in line:  # tests/cli/test_cross_validate.py
            continue
        said = run_command(words, folders, signal_length_s=1)
        if "--published" in line:
            assert "which folds of UrbanSound8K were measured" in said
        if "--condition all" in line:
            assert "| L-MAC 5 " in said
            assert "### Published: speech" in said
    assert (results / "cnn14/1234/classifier/model.safetensors").is_file()
    for method in ("lmac", "baselines_stft", "lmac_td_alpha0.75", "l2i_att"):
        (table,) = results.glob(f"{method}/1234/evaluation*/table.json")
        assert json.loads(table.read_text())["settings"]["test_fold_nums"] == [10]


@pytest.fixture
def few_scenes(monkeypatch):
    """Generate few and short scenes."""
    few = {"train": 16, "validate": 6, "test": 6}
    small = functools.partial(generate_street, n_scenes=few, duration_s=1)
    monkeypatch.setattr(street, "generate_street", small)
    return small


def test_both_data_sets_of_tags_have_all_commands():
    for data in DATA:
        lines = [words for words, line in commands_of("SONYCUST") if data in line]
        scripts = [words[0] for words in lines]
        assert scripts == [CLASSIFIER, TRAIN_NMF, *2 * [TRAIN, EVALUATE]]


DATA = ("--data sonycust ", "--data sonycust_demo")


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_sonyc_ust(run_command, few_scenes, data, tmp_path):
    folders = {"$SONYCUST": few_scenes(tmp_path / "SONYC-UST")}
    for words, line in commands_of("SONYCUST"):
        if data not in line:
            continue
        changes = {"signal_length_s": 1}
        if "nmf.yaml" not in line:
            changes["tag_threshold"] = 0.1  # so early, no probability reaches 0.5
        if EVALUATE in line:
            changes["references"] = False
        said = run_command(words, folders, **changes)
        if CLASSIFIER in line:
            assert "| macro AUPRC " in said
            assert "| human-voice | clean | " in said
        if EVALUATE in line:
            assert "### clean: fidelity to the classifier's tags" in said
            assert "Removal by class, τ = 0.1" in said
    results = tmp_path / "results" / "SONYC-UST"
    evaluated = list(results.rglob("evaluation_clean"))
    assert len(evaluated) == 2
    for folder in evaluated:
        assert (folder / "removal_by_class_clean.png").is_file()
        tags = json.loads((folder / "method_table.json").read_text())
        assert tags["conditions"]["clean"]["tags"]["n_clips"] == 6
