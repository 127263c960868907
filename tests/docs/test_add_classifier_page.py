"""What docs/add_classifier.md asks a reader to write runs as it says."""

import os
import re
import runpy
import shlex
import subprocess
import sys

import pytest
import ruamel.yaml
import torch
from hyperpyyaml import load_hyperpyyaml

from lmac_td.experiment.recipe import compose, compose_text
from lmac_td.inference.classifier_recipe import OPTIONS
from tests.networks import noise
from tests.pages import ROOT, blocks, importable, write_files

PAGE = "add_classifier.md"
OVERLAY = ROOT / "hparams" / "classifiers" / "modules.yaml"


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The reader's scratch folder with all files of the page."""
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    with importable(tmp_path):
        yield tmp_path


def build(folder, text, **settings):
    """Build the classifier of a few lines of yaml that extend ``modules.yaml``."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"extends: {OVERLAY}\nsample_rate: 16000\n"
        "features: !new:lmac_td.features.SpectralFeatures\n"
        "    {sample_rate: 16000, n_fft: 512, win_length: 32, hop_length: 16}\n" + text
    )
    return load_hyperpyyaml(compose_text(recipe), settings)["classifier"]


def test_every_python_file_runs_in_the_order_of_the_page(scratch, capsys):
    for name in write_files(PAGE, scratch):
        runpy.run_path(name, run_name="__main__")
    printed = capsys.readouterr().out
    assert "torch.Size([2, 10])" in printed
    hops = [float(hop) for hop in re.findall(r"hop_samples=([\d.]+)", printed)]
    assert hops == [256, 128, 64, 16]


def test_the_recipe_builds_the_classifier(scratch):
    runpy.run_path("save_weights.py", run_name="__main__")
    recipe = (scratch / "my_recipe.yaml").read_text()
    own = recipe[recipe.index("experiment_name") :]
    classifier = build(scratch, own)
    classifier.load("my_weights.pt", scratch)
    saved = torch.load("my_weights.pt", weights_only=True)
    assert torch.equal(classifier.network.head.weight, saved["head.weight"])
    assert classifier.labels[:2] == ("dog", "rain")
    assert [g.name for g in classifier.geometry] == [f"block{n}" for n in (4, 3, 2, 1)]


def test_the_recipe_replaces_the_classifier_of_the_demo(scratch):
    recipe = compose(scratch / "my_recipe.yaml")
    assert recipe["pretrained_classifier"] == "my_weights.pt"
    assert "ModuleClassifier" in str(recipe["classifier"].tag)
    assert recipe["alpha"] == compose(ROOT / "hparams" / "lmac_td.yaml")["alpha"]


# Small sizes, so that the test takes seconds.
TINY = "--signal_length_s 1 --n_samples 1 --condition in_domain --noprogressbar"
SETTINGS = {
    "my_recipe.yaml": f"{TINY} --number_of_epochs 1 --masknet_channels 8",
    "my_black_box.yaml": TINY,
}


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_the_scratch_folder(scratch, corpus):
    page = (ROOT / "docs" / PAGE).read_text()
    commands = re.findall(r"^    ((?:PYTHONPATH=\. )?python .*)$", page, re.MULTILINE)
    assert len(commands) == 4
    data = f"--data_folder {corpus}/ESC-50 --wham_folder {corpus}/wham_noise"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    said = []
    for command in commands:
        command = command.replace("/path/to/lmac-td", str(ROOT))
        command = command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
        recipe = command.split()[-1]
        if recipe in SETTINGS:
            command += f" {data} {SETTINGS[recipe]}"
        done = subprocess.run(
            command,
            shell=True,
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(done.stdout)
    _, trained, measured, black_box = said
    assert "Trained: results/demo/my_classifier" in trained
    assert "\n| my_classifier " in measured
    assert "classifier: MyNetwork" in measured
    assert "\n| occlusion " in black_box
    assert "classifier: scores" in black_box
    evaluation = scratch / "results" / "demo" / "my_classifier" / "evaluation_in_domain"
    assert (evaluation / "clips.csv").is_file()
    assert list((evaluation / "samples").rglob("*_interpretation.wav"))


def test_twenty_lines_are_few_lines(scratch):
    for name in ("my_classifier.py", "my_recipe.yaml"):
        assert len((scratch / name).read_text().splitlines()) <= 26


def test_every_setting_that_the_page_names_exists():
    recipes = (ROOT / "hparams" / f"{name}.yaml" for name in ("lmac", "baselines"))
    known = {"extends", OPTIONS}.union(compose(OVERLAY), *map(compose, recipes))
    for block in blocks(PAGE, "yaml"):
        assert set(ruamel.yaml.YAML().load(block)) <= known
    page = (ROOT / "docs" / PAGE).read_text()
    for setting in re.findall(r"`([a-z_]+): [^`]*`", page):
        assert setting in known | {"extends"}


def test_a_mel_spectrogram_of_torchaudio_is_a_front_end(scratch):
    (block,) = [b for b in blocks(PAGE, "yaml") if "MelSpectrogram" in b]
    classifier = build(scratch, f"network: !new:torch.nn.Identity\nlabels: 3\n{block}")
    assert classifier.inputs(noise()).shape[:2] == (2, 64)
    assert not classifier.takes_spectrograms


def test_the_log_mel_of_the_page_is_a_front_end(scratch):
    (block,) = [b for b in blocks(PAGE, "yaml") if "LogMel" in b]
    classifier = build(
        scratch, f"n_fft: 512\nnetwork: !new:torch.nn.Identity\nlabels: 3\n{block}"
    )
    assert classifier.inputs(noise()).shape == (2, 63, 64)
    assert classifier.mel.n_mels == 64


def test_the_front_end_of_the_page_takes_the_recipes_spectrogram(scratch):
    (block,) = [b for b in blocks(PAGE, "yaml") if "SquareRoot" in b]
    network = "network: !new:tests.networks.ImageCnn {n_classes: 3}\nlabels: 3\n"
    classifier = build(scratch, network + block + "representations: [layer2, layer1]\n")
    assert classifier.takes_spectrograms
    wavs = torch.zeros(2, 16000, requires_grad=True)
    classifier.freeze().decide(wavs).logits.sum().backward()
    assert wavs.grad.isfinite().all()


def test_the_black_box_of_the_page_is_built_by_its_yaml(scratch):
    (block,) = [b for b in blocks(PAGE, "yaml") if "BlackBox" in b]
    block = block[block.index("\nclassifier: ") :]
    classifier = build(scratch, f"network: null\nlabels: 2\n{block}").freeze()
    seconds = torch.arange(16000) / 16000
    tones = torch.stack([(6.2832 * hz * seconds).sin() for hz in (500, 6000)])
    assert classifier.decide(tones).target.tolist() == [0, 1]
    assert classifier.name == "scores"


def test_every_setting_of_the_overlay_reaches_the_classifier(scratch):
    classifier = build(
        scratch,
        """
network: !new:tests.networks.ImageCnn {n_classes: 2}
labels: [a, b]
representations: {layer1: {offset_samples: 3}}
activation: sigmoid
tag_threshold: 0.2
probabilities_out: True
network_output: null
front_end: !new:tests.networks.SquareRootImage
front_end_features: !ref <features>
dither_db: -90
""",
    )
    assert classifier.labels == ("a", "b")
    assert classifier.geometry[0].offset_samples == 3
    assert (classifier.activation, classifier.threshold) == ("sigmoid", 0.2)
    assert classifier.probabilities_out
    assert classifier.dither_db == -90
    frames = build(
        scratch,
        "network: !new:torch.nn.Identity\nlabels: 2\n"
        "network_output: scores\ntop_frames: 5\nclip_samples: 800\n",
    )
    assert (frames.output, frames.top_frames) == ("scores", 5)
    assert frames.clip_samples == 800
