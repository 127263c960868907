"""Every command of a page names a script, a recipe and settings that exist.

That the scripts do what the pages say is tested by running them, in ``tests/cli`` and
in the tests of single pages.
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
from tests.pages import PAGES, ROOT, command_lines, named_files, write_clone

# What a script has besides a recipe's settings.
OPTIONS = {
    "benchmark.py": {
        "jobs",
        "folder",
        "compare",
        "columns",
        "by_condition",
        "no_intervals",
        "scores_folder",
        "report_only",
    },
    "draw_samples.py": {"clips", "condition", "row"},
    "compare_runs.py": {
        "columns",
        "by_condition",
        "no_intervals",
        "compare",
        "csv",
        "published",
    },
    "eval_faithfulness.py": {
        "compare",
        "published",
        "quantus",
        "shard",
        "merge",
        "ray",
        "shards",
    },
    "randomise_classifier.py": {"n_clips", "norm_statistics"},
    "stability.py": {"n_clips", "stability_levels"},
    "explain.py": {"speech", "noise", "seed", "pairs", "clips"},
    "sounds.py": {"speech", "noise", "seed", "hz", "out"},
    "draw_two_questions.py": {"speech", "noise", "seed", "out"},
    "roar.py": {"roar_levels", "repeats"},
    "ten_folds.py": {"jobs", "folder", "evaluate_only", "published"},
}


def path_of(recipe, folder):
    """A recipe that a page shows, written into a folder, or one of the repository.

    The folder then holds a copy of ``hparams``, and all files of the page.
    """
    for page in PAGES:
        if recipe in named_files(page):
            write_clone(page, folder)
            return folder / recipe
    if recipe.startswith("converted/"):  # that of a folder that `lmac-td convert` made
        return ROOT / "hparams" / f"{Path(recipe).parent.name}.yaml"
    return ROOT / recipe


@pytest.mark.parametrize("line", command_lines("python -m"))
def test_benchmarks(line, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    _, _, module, *arguments = shlex.split(line)
    importlib.import_module(module).read_options(arguments)


def scripts():
    """Commands that run a script of the repository, from its root."""
    for line in command_lines("python"):
        script = shlex.split(line)[1]
        if "/path/to/" not in line and script != "-m" and (ROOT / script).is_file():
            yield line


def test_scripts_exist():
    for line in command_lines("python"):
        script = shlex.split(line)[1].removeprefix("/path/to/lmac-td/")
        known = {name for page in PAGES for name in named_files(page)}
        shown = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
        assert (
            script == "-m"
            or (ROOT / script).is_file()
            or script in known
            or f"# {script}\n" in shown
        ), line


@pytest.mark.parametrize("line", list(scripts()))
def test_python_commands(line, tmp_path):
    _, script, *arguments = shlex.split(line)
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


@pytest.mark.parametrize("line", command_lines("benchmarks/gpu.sh"))
def test_gpu_commands(line):
    runner.read_options(shlex.split(line)[1:])


@pytest.mark.parametrize("line", command_lines("make"))
def test_make_commands(line):
    targets = re.findall(
        r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert line.split()[1] in targets


def test_readme_is_short_and_shows_a_picture_at_once():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 200
    assert any(line.startswith("![") for line in lines[:15])
