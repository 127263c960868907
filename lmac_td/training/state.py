"""What a training needs besides weights to go on exactly where it was interrupted."""

import functools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lmac_td.random import seeded_generator
from lmac_td.runtime.distributed import gather, n_processes, process_rank


def seed_draws(seed: int, epoch: int, step: int, process: int = 0) -> None:
    """Seed the generators of torch, numpy and Python for one training step.

    Arguments
    ---------
    seed : int
        Of the training.
    epoch, step : int
    process : int
        The number of the process: processes that train together have other clips, and
        draw other numbers for them.

    Example
    -------
    >>> seed_draws(seed=0, epoch=1, step=2)
    >>> first = torch.rand(1), np.random.rand(), random.random()
    >>> seed_draws(seed=0, epoch=1, step=2)
    >>> first == (torch.rand(1), np.random.rand(), random.random())
    True
    """
    purpose = f"training, process {process}" if process else "training"
    draws = seeded_generator(f"step {step}", purpose, (seed, epoch))
    number = draws.initial_seed()
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


# Each process saves its own state.
_saved_by_each_process = functools.partial(
    register_checkpoint_hooks, save_on_main_only=False
)


def own_file(path: Path) -> Path:
    """Return the file in which this process saves a recoverable that is its own.

    Example
    -------
    >>> own_file(Path("generators.ckpt")).name  # of the main process
    'generators.ckpt'
    """
    rank = process_rank()
    path = Path(path)
    return path.with_stem(f"{path.stem}-process{rank}") if rank else path


@_saved_by_each_process
class Generators:
    """A recoverable: the states of all generators that belong to the process.

    Steps are seeded (:func:`seed_draws`). This is for what is drawn between them: by a
    data set or a condition of your own, or in a validation.

    Arguments
    ---------
    device : str
        A GPU's generator is kept, too.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write the states; SpeechBrain calls it."""
        name, keys, *position = np.random.get_state()
        states = {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *position),
            "torch": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        torch.save(states, own_file(path))

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Restore the states; SpeechBrain calls it."""
        del end_of_epoch
        path = own_file(path)
        if not path.exists():  # fewer processes trained before
            return
        states = torch.load(path, map_location="cpu", weights_only=True)
        random.setstate(states["python"])
        name, keys, *position = states["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *position))
        torch.set_rng_state(states["torch"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)


@_saved_by_each_process
class EpochState:
    """A recoverable: what a Brain has gathered since its stage began.

    Attributes
    ----------
    sums : dict of str to Tensor or float
        Sums over entries. They stay tensors until the stage ends, since float() waits
        for the GPU.
    n_entries : int
        The number of entries, such as clips.
    memory : dict
        What was computed for mixtures that come again in this epoch.

    Example
    -------
    >>> state = EpochState()
    >>> state.n_entries += 2
    >>> state.add("loss", torch.tensor(3.0))
    >>> state.means()
    {'loss': 1.5}
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, where a stage begins."""
        self.sums: dict[str, Tensor | float] = {}
        self.n_entries = 0
        self.memory: dict[tuple, dict[str, Tensor]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add to a sum, without a gradient."""
        self.sums[name] = self.sums.get(name, 0.0) + value.detach()

    def totals(self) -> tuple[dict[str, Tensor | float], int]:
        """Return the sums and the number of entries over all processes.

        Processes wait for each other here.
        """
        if n_processes() == 1:
            return self.sums, self.n_entries
        own = {name: float(value) for name, value in self.sums.items()}
        gathered = gather((own, self.n_entries))
        names = dict.fromkeys(name for sums, _ in gathered for name in sums)
        sums = {name: sum(of.get(name, 0.0) for of, _ in gathered) for name in names}
        return sums, sum(n for _, n in gathered)

    def means(self) -> dict[str, float]:
        """Return the totals by the number of entries; empty if there were none."""
        sums, n = self.totals()
        return {name: float(value) / n for name, value in sums.items() if n}

    def copy(self) -> tuple[dict, int]:
        """Return what :meth:`restore` takes back."""
        return dict(self.sums), self.n_entries

    def restore(self, copied: tuple[dict, int]) -> None:
        """Forget what was added since :meth:`copy`."""
        self.sums, self.n_entries = copied

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write everything; SpeechBrain calls it."""
        torch.save(vars(self), own_file(path))

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Read everything, unless an epoch has ended; SpeechBrain calls it."""
        if not end_of_epoch:
            content: Mapping[str, Any] = torch.load(
                own_file(path), map_location="cpu", weights_only=True
            )
            vars(self).update(content)


class RunningStatistics:
    """Copies the statistics of batch normalisation, to undo one batch.

    Arguments
    ---------
    modules : torch.nn.Module
        Only layers whose weights are trained are copied.

    Example
    -------
    >>> norm = nn.BatchNorm1d(1)
    >>> statistics = RunningStatistics(norm)
    >>> statistics.keep()
    >>> _ = norm(torch.full((2, 1), torch.nan))
    >>> statistics.restore()
    >>> norm.running_mean
    tensor([0.])
    """

    def __init__(self, modules: nn.Module) -> None:
        layers = [
            layer
            for layer in modules.modules()
            if isinstance(layer, _NormBase) and layer.track_running_stats
            if any(p.requires_grad for p in layer.parameters(recurse=False))
        ]
        self.live = [buffer for layer in layers for buffer in layer.buffers()]
        self.kept = [buffer.clone() for buffer in self.live]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the statistics."""
        if self.live:
            torch._foreach_copy_(self.kept, self.live)

    @torch.no_grad()
    def restore(self) -> None:
        """Set the statistics to the copy."""
        if self.live:
            torch._foreach_copy_(self.live, self.kept)
