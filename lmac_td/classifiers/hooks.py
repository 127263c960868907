"""Record the outputs of a network's modules, by their names."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from lmac_td.errors import SettingError

# The largest number of module names in a message.
MOST_NAMES = 12


@contextlib.contextmanager
def record_outputs(
    network: nn.Module, names: Iterable[str]
) -> Iterator[dict[str, list[Any]]]:
    """Record the outputs of some modules while the block runs.

    Arguments
    ---------
    network : nn.Module
    names : iterable of str
        Names of modules, as in ``network.named_modules()``.

    Yields
    ------
    dict of str to list
        The outputs of each module, one entry per call.

    Example
    -------
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    >>> with record_outputs(network, ["0"]) as outputs:
    ...     _ = network(torch.rand(2, 4))
    >>> outputs["0"][0].shape
    torch.Size([2, 3])
    """
    outputs = {name: [] for name in names}
    handles = [
        network.get_submodule(name).register_forward_hook(partial(_record, calls))
        for name, calls in outputs.items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _record(calls, module, inputs, output):
    calls.append(output)


def check_layers(
    network: nn.Module, names: Sequence[str], run: Callable[[], int]
) -> None:
    """Refuse modules whose output cannot be a representation.

    Arguments
    ---------
    network : nn.Module
    names : sequence of str
        Names of modules.
    run : callable
        Runs the network once, on more than one clip, and returns the number of clips.

    Raises
    ------
    SettingError
        If a module does not exist, is not called exactly once, or does not return a
        tensor with a batch axis and a time axis, or if a later layer overwrites its
        output.
    """
    problems = _problems(network, run)
    usable = [name for name, problem in problems.items() if problem is None]
    for name in names:
        problem = problems.get(name, "is not one of its modules")
        if problem is not None:
            raise SettingError(
                f"representations: {name} of {type(network).__name__} {problem}; "
                f"{_offer(name, usable)}"
            )


def _problems(network: nn.Module, run: Callable[[], int]) -> dict[str, str | None]:
    """Describe why each module cannot give a representation; None if it can."""
    names = [name for name, _ in network.named_modules() if name]
    calls = {name: [] for name in names}
    handles = [
        network.get_submodule(name).register_forward_hook(
            partial(_record_version, calls[name])
        )
        for name in names
    ]
    try:
        n_clips = run()
    finally:
        for handle in handles:
            handle.remove()
    return {name: _problem(calls[name], n_clips) for name in names}


def _record_version(calls, module, inputs, output):
    version = output._version if isinstance(output, torch.Tensor) else None
    calls.append((output, version))


def _problem(calls, n_clips):
    if not calls:
        return (
            "is never called in a pass (hooks do not work inside TorchScript, and a "
            "function may use a module's weights without calling the module)"
        )
    if len(calls) > 1:
        return f"is called {len(calls)} times in a pass"
    ((output, version),) = calls
    if not isinstance(output, torch.Tensor):
        return f"returns a {type(output).__name__}, not a tensor"
    shape = tuple(output.shape)
    if output.dim() not in (3, 4):
        return f"returns {shape}: 3 or 4 axes are needed, one of them time"
    if len(output) != n_clips:
        return f"returns {shape} for {n_clips} clips: the first axis must be the batch"
    if output._version != version:
        return "is overwritten by a later layer in place"
    return None


def _offer(name: str, usable: Sequence[str]) -> str:
    """List the modules that can be used, those with a similar name first."""
    if not usable:
        return (
            "none of its modules can be named: in forward, pass the tensor that you "
            "want through a separate nn.Identity, and give the name of that module"
        )
    near = difflib.get_close_matches(name, usable, n=3, cutoff=0.4)
    names = list(dict.fromkeys(near + usable))
    more = len(names) - MOST_NAMES
    shown = ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"these can be named: {shown}"
