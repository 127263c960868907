"""Put the recipes and the reference models into a wheel.

They stand beside the package, where a clone's users edit them. All else of the build is
in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = (
    "hparams",
    "recipes/ESC50/classifiers/cnn14_small_seed1",
    "recipes/ESC50/interpreters/budgeted_small",
)


class BuildWithRecipes(build_py):
    """Copies what lmac_td/experiment/shipped.py finds in the folder ``shipped``."""

    def run(self):
        """Build the package; an editable install uses the clone's own folders."""
        super().run()
        if self.editable_mode:
            return
        for name in SHIPPED:
            destination = Path(self.build_lib, "lmac_td", "shipped", name)
            shutil.copytree(ROOT / name, destination, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithRecipes})
