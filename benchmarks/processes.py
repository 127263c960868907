"""How the processes of a measurement start. Needs only Python."""

import multiprocessing
from multiprocessing.context import BaseContext

# PyTorch imports it in the first step of an optimiser, and when FLOP are counted.
LATE = "torch._dynamo"


def context_of(device: str, module: str) -> BaseContext:
    """Return a way to start processes that run functions of a module.

    On a CPU, the module is imported once, by a server from which the processes are
    forked. CUDA cannot be forked, so on a GPU each process imports the module.

    Arguments
    ---------
    device : str
        ``cpu`` or ``cuda``.
    module : str
        The full name of the module, such as ``benchmarks.sides``.
    """
    if device.startswith("cuda"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module, LATE])
    return context
