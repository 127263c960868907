"""Whether a machine has what the parts need; what is missing is named or installed.

PyTorch itself is never installed: an image's build belongs to its GPU's driver.
"""

import importlib.metadata
import importlib.util
import json
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# Modules by the names of their packages, where they differ.
MODULES = {"scikit-image": "skimage"}
OLDEST_PYTHON = (3, 10)

# In a process of its own: the runner starts no CUDA.
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
    """What was found.

    Attributes
    ----------
    lines : list of str
        For a reader.
    problem : str or None
        Why nothing can be measured, and the remedy.
    """

    lines: list
    problem: str | None = None


def requirements():
    """The packages that ``pyproject.toml`` asks for, as {name: requirement}."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    found = re.findall(r'^\s*"([^"]+)"', block.group(1), re.MULTILINE)
    return {re.match(r"[\w.-]+", item).group(): item for item in found}


def missing(names):
    """Those of some packages that this Python cannot import.

    Example
    -------
    >>> missing(["numpy", "no-such-package"])
    ['no-such-package']
    """
    found = importlib.util.find_spec
    return [name for name in names if found(MODULES.get(name, name)) is None]


def check(dry, install=False, seconds=120):
    """Look for Python, PyTorch, a GPU and the packages.

    Arguments
    ---------
    dry : bool
        Whether a CPU is enough.
    install : bool
        Whether pip installs what is missing, PyTorch excepted.
    seconds : float
        That pip may take.

    Returns
    -------
    Environment
    """
    lines = [f"Python {platform.python_version()}"]
    if sys.version_info < OLDEST_PYTHON:
        need = ".".join(map(str, OLDEST_PYTHON))
        problem = f"this is Python {platform.python_version()}: Python {need} or newer"
        return Environment(lines, f"{problem} is needed, name it in PYTHON")
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
        problem = "PyTorch is missing: take an image or an environment that has it"
        return Environment(lines, f"{problem} (missing packages: {', '.join(absent)})")
    found = probe()
    if "torch" not in found:
        problem = f"PyTorch cannot be imported ({found['error']}): take another image"
        return Environment(lines, problem)
    lines.append(f"torch {found['torch']}; the project is tested on {needed['torch']}")
    if found["gpu"]:
        lines.append(f"GPU: {found['gpu']}, {found['memory_gb']:.1f} GB")
    elif not dry:
        problem = f"torch {found['torch']} finds no CUDA GPU"
        return Environment(lines, f"{problem}: run this where there is one, or --dry")
    return Environment(lines)


def probe():
    """PyTorch's version and its GPU, or an ``error``."""
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


def install_packages(names, needed, seconds):
    """Install packages by pip, which must leave PyTorch alone -> str, what came of it.

    Arguments
    ---------
    names : sequence of str
    needed : dict
        Of :func:`requirements`.
    seconds : float
    """
    version = importlib.metadata.version("torch")
    # The build of torchaudio must be that of torch, not the one of pyproject.toml.
    audio = f"torchaudio=={version.split('+')[0]}"
    commands = [["--no-deps", audio]] if "torchaudio" in names else []
    others = [needed[name] for name in names if name != "torchaudio"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(f"torch=={version}\n")
        constraints.flush()
        if others:
            commands.append(["--constraint", constraints.name, *others])
        for arguments in commands:
            problem = _pip(arguments, seconds)
            if problem:
                return f"pip install failed: {problem}"
    return f"installed by pip: {', '.join(names)}"


def _pip(arguments, seconds):
    """Run ``pip install`` -> str, the problem, or None."""
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


def last_line(text):
    """The last line that says something.

    Example
    -------
    >>> last_line("Traceback ...\\nValueError: no\\n\\n")
    'ValueError: no'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
