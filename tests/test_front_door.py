"""What users import and call first: public names, version, the command `lmac-td`."""

import importlib
import importlib.metadata
import subprocess
import sys
import warnings

import pytest
import tomllib

import lmac_td
from lmac_td import versions
from lmac_td.cli.__main__ import VERBS, command
from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest installs it there

HEAVY = {
    "torch", "speechbrain", "quantus", "captum", "transformers", "pandas",
    "matplotlib.pyplot", "scipy", "sklearn", "skimage", "doit", "pooch",
}  # fmt: skip
# Commands import torch, SpeechBrain and pandas (the scores are in its frames) at once.
HEAVY_FOR_A_COMMAND = {"quantus", "captum", "transformers", "matplotlib.pyplot"}
OFFER_THE_HEAVY = (
    "classifiers.huggingface", "evaluation.quantus", "interpreters.attribution",
    "interpreters.mask_optimisation", "interpreters.perturbation",
    "report.figures",
)  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules_after(statement):
    """All modules that a new interpreter has after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{statement}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=ROOT,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", lmac_td.__all__)
def test_every_public_name_can_be_imported(name):
    value = getattr(importlib.import_module("lmac_td"), name)
    assert value.__name__.rpartition(".")[2] == name
    assert value.__doc__


def test_what_users_need_is_public():
    assert {
        "Explanation", "Decision", "Classifier", "Interpreter", "LMACTD", "LMAC", "L2I",
        "MaskingLoss", "metrics", "load_recipe", "evaluate",
    } <= set(lmac_td.__all__) <= set(dir(lmac_td))  # fmt: skip


def test_the_import_loads_nothing_heavy():
    assert not modules_after("import lmac_td") & HEAVY


def test_the_commands_load_no_library_that_they_may_not_need():
    """Each is imported by what uses it, and not by the module that offers that."""
    modules = [f"cli.{v.replace('-', '_')}" for v in VERBS if v != "benchmark"]
    imports = [f"import lmac_td.{module}" for module in (*modules, *OFFER_THE_HEAVY)]
    quantus = "lmac_td.evaluation.quantus"
    names = f"{quantus}.explain_func, {quantus}.QuantusModel"
    loaded = modules_after("\n".join([*imports, names]))
    assert loaded >= {f"lmac_td.{module}" for module in OFFER_THE_HEAVY}
    assert not loaded & HEAVY_FOR_A_COMMAND


def test_the_version_is_that_of_the_package():
    assert lmac_td.__version__ == importlib.metadata.version("lmac-td")


def test_types_are_shipped():
    data = PROJECT["tool"]["setuptools"]["package-data"]["lmac_td"]
    for name in ("py.typed", "__init__.pyi"):
        assert name in data
        assert (ROOT / "lmac_td" / name).is_file()


@pytest.mark.parametrize(
    ("torch", "torchaudio", "matches"),
    [
        ("2.11.0+cu130", "2.11.0", True),
        ("2.10.0", "2.10.0+cpu", True),
        ("2.10.0", "2.11.0", False),
        ("2.11.0", "2.11.1", False),
        ("2.1.0", "2.11.0", False),
        ("2.11.0", None, True),  # pip refuses that, not this check
    ],
)
def test_torch_without_its_torchaudio_is_named(monkeypatch, torch, torchaudio, matches):
    installed = {"torch": torch, "torchaudio": torchaudio}
    monkeypatch.setattr(versions, "package_version", installed.get)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        versions.warn_of_mismatch()
    messages = [str(warning.message) for warning in caught]
    assert bool(messages) != matches
    if not matches:
        assert f"torchaudio {torchaudio} do not match" in messages[0]
        assert f"torchaudio=={torch}`" in messages[0]


def test_the_installed_torchaudio_matches():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.warn_of_mismatch()


def test_the_console_script_is_the_dispatcher():
    assert PROJECT["project"]["scripts"] == {"lmac-td": "lmac_td.cli.__main__:command"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_command(verb):
    module = importlib.import_module(f"lmac_td.cli.{verb.replace('-', '_')}")
    assert callable(module.command)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lmac-td", *arguments])
    with pytest.raises(SystemExit) as leaving:
        command()
    return leaving.value.code


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_verbs(monkeypatch, capsys, arguments):
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {verb} " in printed for verb in VERBS)


def test_an_unknown_verb_is_refused(monkeypatch, capsys):
    assert run(monkeypatch, "explode") == 2
    assert "there is no verb 'explode'" in capsys.readouterr().err


def test_a_verb_gets_its_arguments(monkeypatch, capsys):
    assert run(monkeypatch, "train", "no/such.yaml") == 2
    assert "no/such.yaml does not exist" in capsys.readouterr().err
    assert run(monkeypatch, "benchmark", "--help") == 0
    assert "usage: lmac-td benchmark" in capsys.readouterr().out
