"""The files that a page of the documentation asks its reader to write."""

import importlib
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
READMES = [
    ROOT / folder / "README.md"
    for folder in (
        ".",
        "recipes/ESC50",
        "recipes/SONYCUST",
        "recipes/SpeechEnhancement",
        "recipes/UrbanSound8K",
        "benchmarks",
    )
]
DOCS = ROOT / "docs"
PAPERS = sorted(DOCS.glob("papers/*.md"))
PAGES = [*READMES, *sorted(DOCS.glob("*.md")), *PAPERS]
# A file that a page shows below its name: `my_data.yaml`:
NAMED = re.compile(
    r"`([\w./]+\.(?:py|yaml|csv))`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
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


def named_files(page):
    """The files that a page shows, by the path that it gives them.

    Arguments
    ---------
    page : Path

    Returns
    -------
    dict of str to str
    """
    return dict(NAMED.findall(page.read_text(encoding="utf-8")))


def write_clone(page, folder, replaced=()):
    """Write the recipes of the repository and the files of a page into a folder.

    Arguments
    ---------
    page : Path
    folder : Path
    replaced : sequence of (str, str)
        What is put in place of what the page says.

    Returns
    -------
    list of Path
        The files of the page.
    """
    shutil.copytree(ROOT / "hparams", folder / "hparams", dirs_exist_ok=True)
    written = []
    for name, text in named_files(page).items():
        for before, after in replaced:
            text = text.replace(before, str(after))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def command_lines(program):
    """The commands of all pages that begin with a program, each once, in order.

    An assignment of the environment in front of them is left out.
    """
    pattern = re.compile(rf"^ {{4,}}(?:PYTHONPATH=\S+ )?({program} .*)$", re.MULTILINE)
    found = (pattern.findall(page.read_text(encoding="utf-8")) for page in PAGES)
    return list(dict.fromkeys(line.strip() for lines in found for line in lines))


def table_after(text, heading, head="| method"):
    """Header and rows of the first table of a text after a heading.

    The first line of the table begins with ``head``.
    """
    lines = text[text.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(head))
    found = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found[0], found[2:]


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
