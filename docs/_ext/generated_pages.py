"""Tables that Sphinx writes before it reads the pages: settings and metrics.

``docs/generated/settings.md`` lists what the recipes declare, ``docs/generated/metrics.md``
what ``lmac_td.metrics`` registers; [Recipes] and [Metrics] include them. So neither page
can miss a setting or a column.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HPARAMS = ROOT / "hparams"
# In the order in which a reader meets them.
FILES = (
    "base/data",
    "base/classifier",
    "base/training",
    "base/evaluation",
    "base/interpreter",
    "lmac_td",
    "lmac",
    "lmac_mel",
    "lmac_finetune",
    "l2i",
    "nmf",
    "baselines",
    "cnn14",
    "classifiers/huggingface",
    "classifiers/speechbrain",
    "classifiers/modules",
)
LINE = re.compile(r"^(\w+):[ \t]*(.*?)(?:[ \t]+#[ \t]*(.*))?$")


def table(header, rows):
    """A Markdown table; vertical bars in cells are escaped.

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
    """Values and comments of the keys at the top of a yaml file.

    Returns
    -------
    dict of str to (str, str)
        The value as it stands there, and its comments: those above it and behind it.
    str
        The comment at the head of the file.
    """
    found, above, head = {}, [], None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            above.append(line.lstrip("# ").strip())
            continue
        key = LINE.match(line)
        if head is None:
            head, above = " ".join(above), []
        if key:
            comments = [" ".join(above), key[3] or ""]
            found[key[1]] = key[2], "; ".join(c.rstrip(".") for c in comments if c)
        above = []
    return found, head


def code(text):
    return f"`{text}`" if text else ""


def settings_rows(name):
    """A row for every setting that a file declares, and what is built from them."""
    from lmac_td.experiment.settings import declarations
    from lmac_td.experiment.yaml_files import read_tree

    path = HPARAMS / f"{name}.yaml"
    lines, _ = read_lines(path)
    rows, built = [], []
    for setting in declarations(read_tree(path)).values():
        value, comment = lines.get(setting.name, ("", ""))
        if setting.is_object or value.startswith(("!new:", "!apply:", "!name:")):
            built.append(setting.name)
            continue
        kind = setting.summary().split("; ", 1)[1]
        default = "" if value == "!PLACEHOLDER" else value
        roles = ", ".join(setting.roles)
        rows.append([code(setting.name), code(default), kind, roles, comment])
    return rows, built


def size_rows(name):
    """The settings in which the sizes of a recipe differ."""
    from lmac_td.experiment.recipe import compose

    sizes = ("paper", "small", "demo")
    trees = [compose(HPARAMS / f"{name}.yaml", {"size": size}) for size in sizes]
    rows = []
    for key in trees[0]:
        values = [plain(tree[key]) for tree in trees]
        if None not in values and len(set(values)) > 1:
            rows.append([code(key), *map(code, values)])
    return [["setting", *sizes], *rows]


def plain(value):
    """A value as a recipe writes it; None for what is built."""
    tag = getattr(getattr(value, "tag", None), "value", None)
    if tag is not None:
        return f"{tag} {value.value}" if tag == "!ref" else None
    if isinstance(value, dict):
        return None
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def settings_page():
    """Markdown of every setting, a section a file."""
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
    parts += ["## Values by size", ""]
    for name in ("lmac_td", "lmac", "lmac_finetune", "l2i", "nmf", "cnn14"):
        header, *rows = size_rows(name)
        parts += [f"### Sizes of {name}.yaml", "", table(header, rows), ""]
    return "\n".join(parts)


def metrics_page():
    """Markdown of every registered metric, in the order of the table."""
    import lmac_td.metrics  # noqa: F401  (registers them)
    from lmac_td.metrics.registry import registered

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
