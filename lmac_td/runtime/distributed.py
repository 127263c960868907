"""What the processes of one command do together, by SpeechBrain's DDP.

``torchrun`` starts them. Process 0, the main one, prepares data, holds folders and
writes. Without a launcher, and while the main process works alone
(:func:`on_main`), everything here acts as if there were one process.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from speechbrain.utils.distributed import (
    MainProcessContext,
    ddp_barrier,
    ddp_broadcast,
    ddp_init_group,
    ddp_prevent_block,
    if_main_process,
)
from speechbrain.utils.run_opts import RunOptions
from torch import Tensor

from lmac_td import launch
from lmac_td.errors import SettingError, UserError


def join(run_opts: RunOptions) -> RunOptions:
    """Join the process group, if a launcher has started this process.

    Messages of processes other than the main one then begin with their number.

    Arguments
    ---------
    run_opts : speechbrain.utils.run_opts.RunOptions

    Returns
    -------
    RunOptions
        With the backend; see :func:`backend_of`.

    Raises
    ------
    SettingError
        As :func:`backend_of`.
    """
    if not launch.is_launched():
        return run_opts
    run_opts = backend_of(run_opts)
    if not torch.distributed.is_initialized():
        ddp_init_group(run_opts)
    if not if_main_process():
        form = f"[process {launch.rank()}] %(message)s"
        logging.basicConfig(format=form, level=logging.WARNING)
    return run_opts


def leave() -> None:
    """Leave the process group, where a command ends."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def n_processes() -> int:
    """Return the number of processes that work together; 1 without a group.

    Example
    -------
    >>> n_processes(), process_rank()
    (1, 0)
    """
    return 1 if ddp_prevent_block() else torch.distributed.get_world_size()


def process_rank() -> int:
    """Return the number of this process among those that work together, from 0."""
    return 0 if ddp_prevent_block() else torch.distributed.get_rank()


def on_main(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a function in the main process, while the others wait.

    Arguments
    ---------
    function : callable
        What it returns must be picklable.
    *args, **kwargs
        Its arguments.

    Returns
    -------
    object
        What it returned, in every process.

    Raises
    ------
    UserError, OSError
        In every process, if the function raised it.

    Example
    -------
    >>> on_main(max, 1, 2)
    2
    """
    if n_processes() == 1:
        return function(*args, **kwargs)
    result, problem = None, None
    if if_main_process():
        try:
            with MainProcessContext():
                result = function(*args, **kwargs)
        except (UserError, OSError) as error:
            problem = error
    told, its_problem = ddp_broadcast((result, problem))
    if problem is not None:
        raise problem
    if its_problem is not None:
        raise its_problem
    # The main process keeps its own object, and not a copy.
    return result if if_main_process() else told


def finish_on_main(function: Callable, *args: Any) -> None:
    """Call a function in the main process alone, at the end of a command.

    The other processes do not wait: they end here, with exit code 0. They do not close
    their connections, since libraries may abort a process that does so while the main
    one is connected.
    """
    if not if_main_process():
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)
    with MainProcessContext():
        function(*args)
    leave()


def wait_for_all() -> None:
    """Wait until all processes are here."""
    ddp_barrier()


def gather(value: Any) -> list[Any]:
    """Return the values that the processes give, by their numbers, in every process.

    Arguments
    ---------
    value : object
        Picklable.

    Example
    -------
    >>> gather("a")
    ['a']
    """
    if n_processes() == 1:
        return [value]
    values = [None] * n_processes()
    torch.distributed.all_gather_object(values, value)
    return values


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over processes, on its device.

    Example
    -------
    >>> mean_over_processes(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    if n_processes() == 1:
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / n_processes()


def copy_from_main(tensors: Iterable[Tensor]) -> None:
    """Set tensors of real numbers to those of the main process, in place."""
    if n_processes() > 1:
        for tensor in tensors:
            if not tensor.is_complex() and tensor.dtype != torch.bool:
                torch.distributed.broadcast(tensor, src=0)


def backend_of(run_opts: RunOptions) -> RunOptions:
    """Return run options with the backend of their device, unless one was given.

    Raises
    ------
    SettingError
        If the backend does not work on the device, or is not in this build of torch.
    """
    device = run_opts.device or "cpu"
    on_gpu = device.startswith("cuda")
    if "distributed_backend" not in run_opts.overridden_args:
        name = "nccl" if on_gpu else "gloo"
        return dataclasses.replace(
            run_opts,
            distributed_backend=name,
            overridden_args={*run_opts.overridden_args, "distributed_backend"},
        )
    name = run_opts.distributed_backend
    is_there = (
        torch.distributed.is_available()
        and getattr(torch.distributed, f"is_{name}_available")()
    )
    if not is_there or (name == "nccl" and not on_gpu):
        other = "nccl" if on_gpu else "gloo"
        raise SettingError(
            f"distributed_backend is {name}, which does not work on {device} here: "
            f"give --distributed_backend {other}"
        )
    return run_opts
