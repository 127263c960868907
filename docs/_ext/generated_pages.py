"""Tables that Sphinx writes before it reads the pages: settings and metrics.

``docs/generated/settings.md`` lists what the recipes declare and
``docs/generated/metrics.md`` what ``lmac_td.metrics`` registers. The pages on recipes
and metrics include them, so neither can miss a setting or a column.
"""

import itertools
import re
from pathlib import Path

import ruamel.yaml

import lmac_td.metrics  # noqa: F401  (registers the metrics)
from lmac_td.experiment.recipe import compose
from lmac_td.experiment.settings import declarations
from lmac_td.metrics.registry import registered

ROOT = Path(__file__).parents[2]
HPARAMS = ROOT / "hparams"
# In the order of the page.
FILES = (
    "base/data",
    "base/classifier",
    "base/training",
    "base/evaluation",
    "base/interpreter",
    "base/plateau",
    "lmac_td",
    "lmac",
    "lmac_mel",
    "lmac_finetune",
    "l2i",
    "nmf",
    "flint",
    "vibi",
    "budgeted",
    "evidence",
    "mask_optimisation",
    "perturbation",
    "baselines",
    "cnn14",
    "classifiers/huggingface",
    "classifiers/speechbrain",
    "classifiers/modules",
    "classifiers/cnn14_cosine",
)
SIZED = (
    "lmac_td",
    "lmac",
    "lmac_finetune",
    "l2i",
    "nmf",
    "flint",
    "vibi",
    "budgeted",
    "evidence",
    "mask_optimisation",
    "perturbation",
    "cnn14",
)
LINE = re.compile(r"^(\w+):[ \t]*(.*?)(?:[ \t]+#[ \t]*(.*))?$")


def table(header, rows):
    """Return a Markdown table; vertical bars in cells are escaped.

    Example
    -------
    >>> print(table(["a"], [["1 | 2"]]))
    | a |
    | --- |
    | 1 \\| 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def read_lines(path):
    """Return values and comments of the keys at the top of a yaml file.

    Returns
    -------
    dict of str to (str, str, str)
        The value as written, the comment after it, and the comment above it,
        which may describe several keys.
    str
        The first paragraph of the comment at the head of the file.
    """
    found, above, head = {}, [], None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            above.append(line.lstrip("# ").strip())
            continue
        if head is None:
            head = " ".join(itertools.takewhile(bool, above))
            above = []
        key = LINE.match(line)
        if key:
            found[key[1]] = key[2], key[3] or "", " ".join(above).rstrip(".")
        above = []
    return found, head


def code(text):
    return f"`{text}`" if text else ""


def type_of(setting):
    """Describe the type and limits of a setting in a few words."""
    limits, kind = setting.limits, setting.type
    bounds = [
        f"{word} {bound}"
        for word, bound in (
            ("above", limits.above),
            ("from", limits.min),
            ("to", limits.max),
        )
        if bound is not None
    ]
    choices = " | ".join(limits.choices)
    if choices:
        kind = re.sub(r"( or )?str$", "", kind)
    parts = [" ".join([kind, *bounds]).strip(), choices]
    if setting.optional:
        parts.append("null")
    return " or ".join(part for part in parts if part)


def settings_rows(name):
    """Return one row per setting that a file declares, and what is built from them."""
    path = HPARAMS / f"{name}.yaml"
    tree = ruamel.yaml.YAML().load(path.read_text(encoding="utf-8"))
    lines, _ = read_lines(path)
    declared = declarations(tree)
    rows, built = [], []
    # Some are declared for files that extend this one, which give the value.
    for key in dict.fromkeys([*lines, *declared]):
        if key not in declared:
            continue
        setting, (value, behind, above) = declared[key], lines.get(key, ("", "", ""))
        if setting.is_object or value.startswith(("!new:", "!apply:", "!name:")):
            built.append(key)
            continue
        if above:
            rows.append([f"*{above}*", "", "", "", ""])
        if value == "!PLACEHOLDER" or key not in lines:
            default = ""
        else:
            default = value or plain(tree[key])
        roles = ", ".join(setting.roles)
        rows.append([code(key), code(default), type_of(setting), roles, behind])
    return rows, built


def values_by(axis, recipe, names, leave_out=()):
    """Return a table of the settings in which the overlays of an axis differ."""
    trees = [compose(HPARAMS / f"{recipe}.yaml", {axis: name}) for name in names]
    rows = []
    for key in trees[0]:
        values = [plain(tree[key]) for tree in trees]
        if None not in values and len(set(values)) > 1 and key not in leave_out:
            rows.append([code(key), *map(code, values)])
    return table(["setting", *names], rows)


def names_of(axis, default):
    """Return the overlays of an axis, the recipe's own values first."""
    others = sorted(path.stem for path in (HPARAMS / axis).glob("*.yaml"))
    return [default, *others]


def data_settings():
    """Return the settings that the data overlays set."""
    found = {"size", "data"}
    for path in (HPARAMS / "data").glob("*.yaml"):
        found |= set(ruamel.yaml.YAML().load(path.read_text(encoding="utf-8")))
    return found


def plain(value):
    """Return a value as a recipe writes it; None for what is built."""
    tag = getattr(getattr(value, "tag", None), "value", None)
    if tag is not None:
        return f"{tag} {value.value}" if tag == "!ref" else None
    if isinstance(value, dict):
        return None
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def settings_page():
    """Return all settings as Markdown, one section per file."""
    parts = []
    for name in FILES:
        rows, built = settings_rows(name)
        if not rows and not built:
            continue
        _, head = read_lines(HPARAMS / f"{name}.yaml")
        parts += [f"### {name}.yaml", "", head, ""]
        if rows:
            header = ["setting", "default", "type", "role", "meaning"]
            parts += [table(header, rows), ""]
        if built:
            parts += [f"Objects: {', '.join(map(code, built))}.", ""]
    data, sizes = names_of("data", "esc50"), names_of("size", "paper")
    parts += ["## Values by data layout", ""]
    parts += [values_by("data", "lmac_td", data, {"data"}), ""]
    parts += ["## Values by size", ""]
    for name in SIZED:
        text = values_by("size", name, sizes, data_settings())
        parts += [f"### Sizes of {name}.yaml", "", text, ""]
    return "\n".join(parts)


def metrics_page():
    """Markdown of every registered metric, in the order of the table."""
    rows = []
    for metric in registered():
        low, high = metric.range
        bounds = "any" if low == -high == float("-inf") else f"{low:g} to {high:g}"
        rows.append(
            [
                metric.name,
                metric.group,
                metric.better or "–",
                bounds.replace("inf", "∞"),
                ", ".join(metric.statistics) if metric.printed else "in files only",
                ", ".join(metric.needs) or "–",
            ]
        )
    return table(["column", "group", "better", "range", "printed", "needs"], rows)


def write(app):
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    for name, page in (("settings", settings_page), ("metrics", metrics_page)):
        text, path = page() + "\n", folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
