"""The size of a GPU run, and of its dry run on a CPU."""

import time
from dataclasses import dataclass, field

from benchmarks import sides
from benchmarks.command import overrides


@dataclass(frozen=True)
class Scale:
    """The device and the size of all measurements.

    Attributes
    ----------
    device : str
    settings : dict
        Settings of the recipes.
    largest_batch : int
        Number of clips at which batch sizes stop, unless memory is full before.
    repeats : int
        Number of timed calls, after a first one that is not counted.
    steps : int
        Number of steps of the training in bf16.
    eval_clips : int
        Number of clips in the evaluation of that training.
    """

    device: str = "cuda"
    settings: dict = field(default_factory=dict)
    largest_batch: int = 1024
    repeats: int = 5
    steps: int = 50
    eval_clips: int = 16

    def recipe_settings(self, recipe: str) -> str:
        """Return the settings of a recipe, as yaml."""
        settings = dict(self.settings)
        if recipe == sides.PUBLISHED:  # its U-Net needs clips of five seconds
            settings.pop("signal_length_s", None)
        return overrides(settings.items())


TINY = {
    "signal_length_s": 1,
    "emb_dim": 64,
    "cnn14_channels": [2, 4, 8, 16, 32],
    "unet_channels": [8, 8, 8, 8],
    "masknet_channels": 8,
    "masknet_layers": 1,
    "intra_layers": 1,
    "inter_layers": 1,
    "nhead": 2,
    "d_ffn": 8,
}
DRY = Scale("cpu", TINY, largest_batch=2, repeats=1, steps=5, eval_clips=2)
# Batch size of bf16_training and gpu_equals_cpu, as in the recipe.
CLIPS = 2


@dataclass(frozen=True)
class Run:
    """The arguments of a part.

    Attributes
    ----------
    folder : str
        The folder of the figures.
    scale : Scale
    end : float
        When the time of the part ends, on the clock of ``time.time``.
    """

    folder: str
    scale: Scale
    end: float

    def seconds_left(self) -> float:
        """Return the seconds until the time of the part ends."""
        return self.end - time.time()
