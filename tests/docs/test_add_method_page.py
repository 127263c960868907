"""docs/add_method.md, run as it is written, on the tiny corpus."""

import importlib
import sys

import pytest

from tests.commands import EVALUATE, TRAIN, refused, run
from tests.pages import ROOT, named_files, write_clone

PAGE = ROOT / "docs" / "add_method.md"


def test_a_method_is_one_file_and_one_recipe():
    files = named_files(PAGE)
    assert list(files) == ["energy.py", "hparams/energy.yaml"]
    assert len("".join(files.values()).splitlines()) <= 60


@pytest.mark.slow
def test_the_method_is_trained_and_measured(trained, monkeypatch):
    code, recipe = write_clone(PAGE, trained)
    tiny = trained / "tiny.yaml"
    settings = yaml_without(trained / "lmac.yaml", "extends", "unet_channels")
    tiny.write_text(f"extends: {recipe}\n{settings}")
    monkeypatch.syspath_prepend(trained)
    run(TRAIN, tiny)
    said = run(EVALUATE, tiny).stdout
    assert said.count("\n| energy ") == 2 * 3 + 2 * 2

    # With nothing to learn, it is measured at once, and never trained.
    parameter = "torch.nn.Parameter(torch.tensor(float(threshold)))"
    assert parameter in code.read_text()
    code.write_text(code.read_text().replace(parameter, "0.5"))
    monkeypatch.delitem(sys.modules, "energy")
    importlib.invalidate_caches()
    fixed = {"experiment_name": "fixed"}
    assert "nothing to train" in refused(TRAIN, tiny, **fixed)
    said = run(EVALUATE, tiny, **fixed).stdout
    assert said.count("\n| fixed ") == 2 * 3 + 2 * 2


def yaml_without(path, *keys):
    """The lines of a flat yaml, less some keys."""
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.split(":")[0] not in keys)
