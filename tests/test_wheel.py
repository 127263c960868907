"""What a wheel gives: the commands work in an empty folder, offline."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest
import soundfile

from tests.conftest import ROOT
from tests.networks import noise

pytestmark = pytest.mark.slow

LEFT_OUT = shutil.ignore_patterns(".*", "build", "results", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of the programs of an environment that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: setuptools builds in the folder of the source.
    source = shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    run(*pip, "wheel", source, *options, "--wheel-dir", folder, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = run(python, "-c", code, cwd=folder).stdout.strip()
    # What the package needs is taken from this environment, but not the package.
    with open(f"{packages}/others.pth", "w", encoding="utf-8") as file:
        file.write(sysconfig.get_path("purelib"))
    run(*pip, "--python", python, "install", wheel, "--no-deps", "--quiet", cwd=folder)
    return programs


def run(*command, cwd, code=0):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def test_a_recording_is_explained_without_options(installed, tmp_path):
    soundfile.write(tmp_path / "dog.wav", noise(2, 22050).T.numpy(), 22050)
    said = run(installed / "lmac-td", "explain", "dog.wav", cwd=tmp_path).stdout
    assert "It knows 10 classes: dog, rooster, rain" in said
    explained = tmp_path / "explained"
    assert (explained / "index.html").is_file()
    assert (explained / "dog" / "interpretation.wav").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"dog.wav", "explained"}


def test_recipes_are_found_by_their_names(installed, tmp_path):
    program = installed / "lmac-td"
    said = run(program, "show", "hparams/lmac_td.yaml", "--size", "demo", cwd=tmp_path)
    assert "alpha: 0.75" in said.stdout
    where = "import lmac_td; print(lmac_td.__file__)"
    package = run(installed / "python", "-c", where, cwd=tmp_path).stdout
    assert str(installed.parent) in package


def test_a_wheel_holds_no_sound(installed):
    sounds = [p for p in installed.parent.rglob("*.wav") if "lmac_td" in p.parts]
    assert sounds == []


@pytest.mark.parametrize("verb", ["benchmark", "sweep", "cross-validate"])
def test_commands_of_the_repository_need_a_clone(installed, tmp_path, verb):
    command = [installed / "lmac-td", verb, "hparams/lmac.yaml"]
    said = run(*command, "--reg_w_l1", "1", "2", cwd=tmp_path, code=2).stderr
    assert "at the root of a clone" in said
    assert list(tmp_path.iterdir()) == []


def test_a_benchmark_in_a_clone_finds_its_files(installed):
    command = [installed / "lmac-td", "benchmark", "recipes/demo/quick.yaml"]
    source = installed.parents[1] / "source"
    said = run(*command, "--report_only", cwd=source, code=2).stderr
    assert "no evaluation is finished" in said
