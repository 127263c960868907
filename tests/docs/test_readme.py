"""Every command in a README names a script, a recipe and settings that exist.

That the scripts do what the README says is tested by running them, in
``test_commands.py``.
"""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from speechbrain.utils.run_opts import HELP_TEXTS

from benchmarks.gpu import runner
from lmac_td.benchmark.listing import read_listing
from lmac_td.experiment.recipe import compose
from tests.conftest import ROOT

# What a script has besides a recipe's settings.
OPTIONS = {
    "benchmark.py": {"jobs", "folder", "compare"},
    "compare_runs.py": {"columns", "compare", "csv", "published"},
    "eval_faithfulness.py": {"compare", "published", "quantus"},
    "randomise_classifier.py": {"n_clips"},
    "roar.py": {"roar_levels", "repeats"},
}
READMES = [
    ROOT / folder / "README.md" for folder in (".", "recipes/ESC50", "benchmarks")
]


def commands(program):
    found = []
    for readme in READMES:
        for line in readme.read_text().splitlines():
            if re.match(rf"    +{program} ", line):
                found.append(line.strip())
    return found


def path_of(recipe, folder):
    """A recipe of the repository, or one that a README shows, written into a folder."""
    if (ROOT / recipe).exists():
        return ROOT / recipe
    pattern = rf"`{re.escape(recipe)}`:\n\n```yaml\n(.*?)```"
    (text,) = (
        found
        for readme in READMES
        for found in re.findall(pattern, readme.read_text(), re.DOTALL)
    )
    (folder / recipe).write_text(text.replace("hparams/", f"{ROOT}/hparams/"))
    return folder / recipe


@pytest.mark.parametrize("line", sorted(set(commands("python -m"))))
def test_benchmarks(line, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    _, _, module, *arguments = shlex.split(line)
    importlib.import_module(module).read_options(arguments)


@pytest.mark.parametrize(
    "line", sorted(set(commands("python")) - set(commands("python -m")))
)
def test_python_commands(line, tmp_path):
    _, script, *arguments = shlex.split(line)
    assert (ROOT / script).is_file()
    recipes = [part for part in arguments if part.endswith(".yaml")]
    settings = set(OPTIONS.get(Path(script).name, ()))
    if script.endswith("benchmark.py"):
        listing = read_listing(ROOT / recipes[0])
        recipes = [entry["recipe"] for entry in listing.entries]
    for recipe in recipes:
        settings |= set(compose(path_of(recipe, tmp_path)))
    for argument in arguments:
        if argument.startswith("--"):
            name = argument.removeprefix("--")
            assert name in settings or name in HELP_TEXTS, f"{line}: no {argument}"


@pytest.mark.parametrize("line", sorted(set(commands("benchmarks/gpu.sh"))))
def test_gpu_commands(line):
    runner.read_options(shlex.split(line)[1:])


@pytest.mark.parametrize("line", sorted(set(commands("make"))))
def test_make_commands(line):
    targets = re.findall(
        r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert line.split()[1] in targets


def test_links_lead_somewhere():
    for readme in READMES:
        for link in re.findall(r"\]\(([^)]+)\)", readme.read_text()):
            if not link.startswith(("http", "#")):
                assert (readme.parent / link).exists(), f"{readme}: {link}"
