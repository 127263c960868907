"""Imports run down only, and every file can be read at one sitting."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lmac_td"
LONGEST_FILE = 450  # lines

# From the ground up. A room imports rooms of rows below its own, and no others.
ROWS = (
    ("home", "terminal"),
    ("faults", "launch", "names", "random", "versions"),
    ("errors",),
    ("reading",),
    ("files", "locks", "model_sources", "sound_files", "validation", "runtime"),
    ("audio", "features"),
    ("contracts",),
    ("targets",),
    ("metrics", "nn"),
    ("classifiers",),
    ("data", "interpreters", "report"),
    ("evaluation",),
    ("training",),
    ("enhancement",),
    ("experiment",),
    ("inference", "sanity"),
    ("benchmark", "convert"),
    ("cli",),
)
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
# Importing files, what they import all the same, and why.
EXCEPTIONS = {
    ("report.samples", "evaluation"): "for a type hint alone, never when it runs",
    **{
        (f"report.{name}", "evaluation"): "presents evaluations that are finished"
        for name in (
            "dial",
            "listening_test.ratings",
            "over_classifiers",
            "over_classifiers_pages",
            "overview",
            "published",
            "runs",
            "side_by_side",
            "sweep",
        )
    },
    ("report.same_mixtures", "data"): "the identity of ESC-50 in older evaluations",
}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    """The module below lmac_td; empty for lmac_td itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path):
    """Modules of lmac_td that a file imports anywhere, named below lmac_td."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by the full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (n.removeprefix("lmac_td.") for n in names if is_ours(n))


def is_ours(name):
    return name.startswith("lmac_td.")


def room_of(name):
    return name.split(".")[0]


def is_upward(importing, imported):
    here, there = room_of(importing), room_of(imported)
    return here != there and ROW_OF[there] >= ROW_OF[here]


def test_every_room_has_a_row():
    rooms = {room_of(name_of(path)) for path in modules()} - {""}
    assert rooms - set(ROW_OF) == set()


@pytest.mark.parametrize("room", [r for r in ROW_OF if (PACKAGE / r).is_dir()])
def test_imports_run_down(room):
    upward = {
        (name_of(path), room_of(imported))
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for imported in imports_of(path)
        if is_upward(name_of(path), imported)
    }
    assert upward - set(EXCEPTIONS) == set()


def test_imports_of_the_ground_floor_run_down():
    upward = {
        (path.stem, imported)
        for path in sorted(PACKAGE.glob("*.py"))
        if path.stem != "__init__"
        for imported in imports_of(path)
        if is_upward(path.stem, imported)
    }
    assert upward == set()


def test_every_exception_is_still_needed():
    needed = {
        (name_of(path), room_of(imported))
        for path in modules()
        if path.parent != PACKAGE
        for imported in imports_of(path)
        if is_upward(name_of(path), imported)
    }
    assert set(EXCEPTIONS) - needed == set()


def test_interpreters_do_not_import_each_other():
    """The base and the frame that cuts scores to a size are shared by all methods."""

    def method_of(name):
        return name.split(".")[1]

    wrong = {
        (name_of(path), imported)
        for path in sorted((PACKAGE / "interpreters").rglob("*.py"))
        for imported in imports_of(path)
        if room_of(imported) == "interpreters"
        and path.name != "__init__.py"
        and method_of(imported) not in ("base", "budgeted", method_of(name_of(path)))
    }
    assert wrong == set()


@pytest.mark.parametrize("folder", ["lmac_td", "benchmarks"])
def test_no_file_is_long(folder):
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: n for name, n in lines.items() if n > LONGEST_FILE} == {}


def test_everything_public_has_a_docstring():
    missing = []
    for path in [*modules(), *sorted((ROOT / "benchmarks").rglob("*.py"))]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        missing += [] if ast.get_docstring(tree) else [str(path)]
        missing += [f"{path}: {name}" for name in undocumented(tree)]
    assert missing == []


def undocumented(node):
    """Public functions and classes without a docstring, methods included."""
    kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    for child in node.body:
        if isinstance(child, kinds) and not child.name.startswith("_"):
            if not ast.get_docstring(child):
                yield child.name
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child)
