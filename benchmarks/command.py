"""What the benchmark commands share: options, progress, the machine's description."""

import argparse
import os
import platform
import sys
from collections.abc import Iterable
from typing import Any

import torch

from lmac_td.runtime.linear import processor


def machine(device: str = "cpu") -> str:
    """Describe the processor or GPU, the threads and the versions in one line."""
    import speechbrain

    if device.startswith("cuda"):
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{_processor()}, {torch.get_num_threads()} threads"
    libc = " ".join(platform.libc_ver())
    return (
        f"{hardware}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"speechbrain {speechbrain.__version__}, {libc}"
    )


def _processor() -> str:
    """Return the name of the processor and its relevant instruction sets."""
    facts = processor()
    if not facts:
        return platform.processor() or platform.machine()
    flags = facts.get("flags", "").split()
    known = [
        flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags
    ]
    return f"{facts.get('model name', platform.machine())} ({', '.join(known)})"


def parser(description: str, batch_size: int | None = 1) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument(
        "--device", type=_available_device, default="cpu", help="cpu or cuda"
    )
    options.add_argument(
        "--repeats",
        type=int,
        default=7,
        help="turns; at least 7 for published numbers",
    )
    options.add_argument("--batch_size", type=int, default=batch_size, help="clips")
    options.add_argument(
        "--setting",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="setting of the recipes, such as --setting alpha 1; can be repeated",
    )
    return options


def overrides(settings: Iterable[tuple[str, Any]]) -> str:
    """Return settings as yaml, for loading a recipe."""
    return "\n".join(f"{name}: {value}" for name, value in settings)


def _available_device(name: str) -> str:
    """Return a device of the command line; refuse a GPU that is not available."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("no CUDA GPU is available: give --device cpu")
    return name


def say(line: str) -> None:
    """Print a line of progress to stderr, since the table goes to stdout."""
    print(line, file=sys.stderr, flush=True)


# Prefixes of environment variables that change the numbers.
_PREFIXES = ("OMP_", "MALLOC_", "MKL_", "GLIBC_TUNABLES", "NVIDIA_TF32", "PYTORCH_")


def environment_note() -> str:
    """Return the environment variables that change the numbers, as text."""
    names = [n for n in os.environ if n.startswith(_PREFIXES)]
    return ", ".join(f"{name}={os.environ[name]}" for name in sorted(names))
