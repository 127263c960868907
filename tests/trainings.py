"""Tiny trainings that the tests of a session share, in all of its processes.

A test that needs a trained model gets a copy, which it may change: see the fixtures
``with_trained`` and ``trained`` of ``conftest.py``.
"""

import json
import shutil
from pathlib import Path

from filelock import FileLock

from tests.commands import CLASSIFIER, TRAIN, TRAIN_NMF, run

# By tiny recipe: the command that trains it, and the recipes that it builds on.
COMMANDS = {
    "cnn14": (CLASSIFIER, ()),
    "nmf": (TRAIN_NMF, ()),
    "lmac_td": (TRAIN, ("cnn14",)),
    "lmac": (TRAIN, ("cnn14",)),
    "l2i": (TRAIN, ("cnn14", "nmf")),
    "flint": (TRAIN, ("cnn14",)),
    "vibi": (TRAIN, ("cnn14",)),
    "budgeted": (TRAIN, ("cnn14",)),
}
# Files that name the folder that they are in.
TEXTS = {".json", ".yaml", ".txt"}


def make_once(folder, make):
    """Make a folder, unless another process of this session has.

    Arguments
    ---------
    folder : Path
    make : callable
        Is called with the folder, which does not exist.

    Returns
    -------
    Path
        The folder.
    """
    done = folder.with_name(f"{folder.name}.done")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


class SharedTrainings:
    """Trains each tiny recipe once, and copies what was trained.

    Arguments
    ---------
    folder : Path
        Holds the tiny recipes; the same folder in every process.
    """

    def __init__(self, folder):
        self.folder = folder

    def copy(self, names, folder):
        """Copy trained models beside the tiny recipes of a test.

        What the commands printed is in ``printed/<name>.txt``.

        Arguments
        ---------
        names : sequence of str
            Tiny recipes; what they build on is copied, too.
        folder : Path
        """
        with FileLock(self.folder / "trainings.lock"):
            for name in names:
                self._train(name)
                self._copy(name, folder)
            shutil.copytree(self.folder / "cache", folder / "cache", dirs_exist_ok=True)

    def _train(self, name):
        """Train a recipe, unless it is trained."""
        done = self.folder / "printed" / f"{name}.json"
        if done.exists():
            return
        script, needs = COMMANDS[name]
        for other in needs:
            self._train(other)
        results = self.folder / "results"
        before = set(results.glob("*"))
        printed = run(script, self.folder / f"{name}.yaml").stdout
        (made,) = set(results.glob("*")) - before
        done.parent.mkdir(exist_ok=True)
        done.write_text(json.dumps({"folder": made.name, "printed": printed}))

    def _copy(self, name, folder):
        """Copy what a recipe was trained to, with the paths of the copy in it."""
        for other in COMMANDS[name][1]:
            self._copy(other, folder)
        trained = json.loads((self.folder / "printed" / f"{name}.json").read_text())
        copy = folder / "results" / trained["folder"]
        if copy.exists():
            return
        shutil.copytree(self.folder / "results" / trained["folder"], copy)
        for path in filter(Path.is_file, copy.rglob("*")):
            if path.suffix in TEXTS:
                path.write_text(self._renamed(path.read_text("utf-8"), folder), "utf-8")
        printed = folder / "printed" / f"{name}.txt"
        printed.parent.mkdir(exist_ok=True)
        printed.write_text(self._renamed(trained["printed"], folder))

    def _renamed(self, text, folder):
        return text.replace(str(self.folder), str(folder))
