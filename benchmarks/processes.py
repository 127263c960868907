"""How the processes of a measurement start. Needs only Python."""

import multiprocessing
from multiprocessing.context import BaseContext

# PyTorch imports it in the first step of an optimiser, and when FLOP are counted.
LATE = "torch._dynamo"


def context_of(forked: bool, module: str) -> BaseContext:
    """Return a way to start processes that run functions of a module.

    Arguments
    ---------
    forked : bool
        Whether the module is imported once, by a server from which the processes are
        forked: many small tasks then take a third of the time. But the peak memory of
        a process lacks the libraries that it shares, and CUDA cannot be forked.
        Otherwise each process imports the module.
    module : str
        The full name of the module, such as ``benchmarks.sides``.
    """
    if not forked:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module, LATE])
    return context
