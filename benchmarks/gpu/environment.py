"""Check that a machine has what the parts need; report or install missing packages.

PyTorch itself is never installed, since its build must match the driver of the GPU.
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
OLDEST_PYTHON = (3, 10)

# Run in a separate process, so that the runner does not initialise CUDA.
PROBE = """
import json, torch
gpu = torch.cuda.is_available()
properties = torch.cuda.get_device_properties(0) if gpu else None
print(json.dumps({
    "torch": torch.__version__,
    "gpu": properties.name if gpu else None,
    "memory_gb": properties.total_memory / 1e9 if gpu else None,
}))
"""


@dataclass
class Environment:
    """A description of the machine.

    Attributes
    ----------
    lines : list of str
        Text for the summary.
    problem : str or None
        Why nothing can be measured, and the remedy.
    """

    lines: list[str]
    problem: str | None = None


def requirements() -> dict[str, str]:
    """Return the packages that ``pyproject.toml`` requires, as {name: requirement}."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    found = re.findall(r'^\s*"([^"]+)"', block.group(1), re.MULTILINE)
    return {re.match(r"[\w.-]+", item).group(): item for item in found}


def missing(names: Iterable[str]) -> list[str]:
    """Return the packages that are not installed for this Python.

    Example
    -------
    >>> missing(["numpy", "no-such-package"])
    ['no-such-package']
    """
    return [name for name in names if not any(metadata.distributions(name=name))]


def check(dry: bool, install: bool = False, seconds: float = 120) -> Environment:
    """Check Python, PyTorch, the GPU and the packages.

    Arguments
    ---------
    dry : bool
        Whether a CPU is sufficient.
    install : bool
        Whether to install missing packages by pip, except PyTorch.
    seconds : float
        Time limit of pip.

    Returns
    -------
    Environment
    """
    lines = [f"Python {platform.python_version()}"]
    if sys.version_info < OLDEST_PYTHON:
        need = ".".join(map(str, OLDEST_PYTHON))
        problem = f"this is Python {platform.python_version()}: Python {need} or newer"
        return Environment(lines, f"{problem} is required, set PYTHON to it")
    needed = requirements()
    absent = missing(needed)
    if install and absent and "torch" not in absent:
        lines.append(install_packages(absent, needed, seconds))
        absent = missing(needed)
    if absent:
        wanted = " ".join(f"'{needed[name]}'" for name in absent if name != "torch")
        lines.append(f"missing packages: {', '.join(absent)}")
        if wanted:
            lines.append(f"remedy: give --install, or python -m pip install {wanted}")
    if "torch" in absent:
        problem = "PyTorch is missing: use an image or an environment with PyTorch"
        return Environment(lines, f"{problem} (missing packages: {', '.join(absent)})")
    found = probe()
    if "torch" not in found:
        problem = f"PyTorch cannot be imported ({found['error']}): use another image"
        return Environment(lines, problem)
    lines.append(f"torch {found['torch']}; the project is tested on {needed['torch']}")
    if found["gpu"]:
        lines.append(f"GPU: {found['gpu']}, {found['memory_gb']:.1f} GB")
    elif not dry:
        problem = f"torch {found['torch']} finds no CUDA GPU"
        return Environment(lines, f"{problem}: use a machine with one, or give --dry")
    return Environment(lines)


def probe() -> dict:
    """Return PyTorch's version and its GPU, or an ``error``."""
    command = [sys.executable, "-c", PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=90, check=True
        )
    except subprocess.CalledProcessError as failure:
        return {"error": last_line(failure.stderr)}
    except subprocess.TimeoutExpired:
        return {"error": "it took longer than 90 s"}
    return json.loads(last_line(done.stdout))


def install_packages(
    names: Sequence[str], needed: dict[str, str], seconds: float
) -> str:
    """Install packages by pip without changing PyTorch; return the result as text.

    Arguments
    ---------
    names : sequence of str
    needed : dict
        What :func:`requirements` returned.
    seconds : float
        Time limit of each call of pip.
    """
    torch = metadata.version("torch")
    # torchaudio must match the installed torch, not the version in pyproject.toml.
    audio = f"torchaudio=={torch.split('+')[0]}"
    commands = [["--no-deps", audio]] if "torchaudio" in names else []
    others = [needed[name] for name in names if name != "torchaudio"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(f"torch=={torch}\n")
        constraints.flush()
        if others:
            commands.append(["--constraint", constraints.name, *others])
        for arguments in commands:
            problem = _pip(arguments, seconds)
            if problem:
                return f"pip install failed: {problem}"
    return f"installed by pip: {', '.join(names)}"


def _pip(arguments: Sequence[str], seconds: float) -> str | None:
    """Run ``pip install``; return the problem, if there is one."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "0"]
    try:
        done = subprocess.run(
            [*command, "--timeout", "10", *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {seconds:.0f} s"
    return None if done.returncode == 0 else last_line(done.stderr)


def last_line(text: str) -> str:
    """Return the last line that is not empty.

    Example
    -------
    >>> last_line("Traceback ...\\nValueError: no\\n\\n")
    'ValueError: no'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "there was no message"
