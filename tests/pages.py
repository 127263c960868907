"""The files that a page of the documentation asks its reader to write."""

import importlib
import re
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """Fenced blocks of a language in a page below ``docs``, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block for found, block in BLOCK.findall(text) if found == language]


def write_files(page, folder):
    """Write the blocks that begin with ``# name.py`` or ``# name.yaml``.

    The repository's own path replaces ``/path/to/lmac-td``.

    Returns
    -------
    list of str
        Names of the Python files, in order.
    """
    names = []
    for block in blocks(page, "python") + blocks(page, "yaml"):
        name = re.match(r"# (\w+\.(?:py|yaml))\n", block)
        if name:
            block = block.replace("/path/to/lmac-td", str(ROOT))
            (Path(folder) / name[1]).write_text(block, encoding="utf-8")
            names.append(name[1])
    return [name for name in names if name.endswith(".py")]


@contextmanager
def importable(folder):
    """Let modules of a folder be imported, and forget them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            path = getattr(sys.modules[name], "__file__", None)
            if path and Path(path).parent == Path(folder):
                del sys.modules[name]
