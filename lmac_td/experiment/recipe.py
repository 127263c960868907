"""Load a recipe: HyperPyYAML, plus one line that lets a recipe extend another.

``extends: base.yaml`` at the top of a recipe means: everything that file says, unless
said otherwise here; of a list of files, the later ones win. A mapping of names, such as
``conditions``, is merged name by name. All are merged before
references are resolved, so a recipe states only what makes it different, every
``!ref`` reaches all of it, and every setting can be given on the command line
(``--alpha 0.5``). HyperPyYAML's own ``!include:`` nests what it reads, out of the
command line's reach.
"""

import difflib
import io
import re
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

from lmac_td.errors import SettingError, UserError
from lmac_td.experiment.overlays import insert_overlays, recipe_of

EXTENDS = "extends"
REFERENCES = ("!ref", "!copy")


def compose(recipe, chosen=None):
    """Merge a recipe with the recipes it extends, tags and references untouched.

    Arguments
    ---------
    recipe : str or Path
        A yaml file; ``extends`` is read relative to its folder.
    chosen : dict, optional
        Settings of the command line, of which ``size`` and ``data`` choose overlays,
        see :mod:`lmac_td.experiment.overlays`.

    Returns
    -------
    ruamel.yaml.comments.CommentedMap
        Keys of the extended file first, in its order, but a key that refers to
        another stands before those that refer to it.

    Raises
    ------
    SettingError
        If the file is missing, is not valid yaml, or extends itself.
    """
    layers = [tree for _, tree in _read_layers(Path(recipe), ())]
    merged = ruamel.yaml.comments.CommentedMap()
    for layer in insert_overlays(layers, _read_overlay, chosen):
        _merge(merged, layer)
    return _in_order_of_references(merged)


def _in_order_of_references(tree):
    """Put each key that is a reference before the first key that refers to it.

    HyperPyYAML resolves a recipe from above: of `a: !ref <b>` it takes what b is by
    then, and if b is a reference below it, that is no value yet. Nothing is built in
    another order: a reference builds nothing of its own.
    """
    names = list(tree)
    for _ in tree:  # a circle, which HyperPyYAML refuses, would have no end
        move = next(
            (
                (place, name)
                for place, first in enumerate(names)
                for name in names[place + 1 :]
                if _tag(tree[name]) in REFERENCES and name in _referred_to(tree[first])
            ),
            None,
        )
        if move is None:
            break
        place, name = move
        names.remove(name)
        names.insert(place, name)
    if names == list(tree):
        return tree
    return ruamel.yaml.comments.CommentedMap((name, tree[name]) for name in names)


def _tag(node):
    return node.tag.value if hasattr(node, "tag") else None


def _referred_to(node):
    """The keys that the references of a node name."""
    if isinstance(node, (dict, list)):
        parts = node.values() if isinstance(node, dict) else node
        return {name for part in parts for name in _referred_to(part)}
    if _tag(node) not in REFERENCES:
        return set()
    return set(re.findall(r"<([^>.\[]+)", str(node.value)))


def _read_overlay(path):
    """Layers of a file and of what it extends, each with the stem of its file."""
    return [(path.stem, tree) for path, tree in _read_layers(path, ())]


def _read_layers(path, below):
    """Read a file and what it extends -> [(path, tree)], in the order of merging."""
    if path.resolve() in below:
        raise SettingError(f"{path} extends itself: change its `{EXTENDS}` line")
    if not path.exists():
        file, size = recipe_of(path)
        if file is not None:
            layers = _read_layers(file, below)
            return [*layers, (path, {"size": size})] if size else layers
    tree = _read_tree(path)
    bases = tree.pop(EXTENDS, [])
    layers = []
    for base in [bases] if isinstance(bases, str) else bases:
        layers += _read_layers(path.parent / base, (*below, path.resolve()))
    return [*layers, (path, tree)]


def _read_tree(path):
    try:
        tree = ruamel.yaml.YAML().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingError(
            f"{path} does not exist: name a recipe such as hparams/lmac_td.yaml"
        ) from error
    except (OSError, UnicodeDecodeError, ruamel.yaml.error.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise SettingError(f"{path} cannot be read as yaml: {problem}") from error
    if not isinstance(tree, dict):
        raise SettingError(f"{path} holds no settings: it must map names to values")
    return tree


def _merge(merged, tree):
    """Take over the keys of a file; of plain mappings, such as conditions, theirs."""
    for name, value in tree.items():
        if _is_plain_mapping(value) and _is_plain_mapping(merged.get(name)):
            both = merged[name].copy()
            both.update(value)
            value = both
        merged[name] = value


def _is_plain_mapping(value):
    # Not one that builds an object: half of its arguments would be another's.
    return isinstance(value, dict) and value.tag.value is None


def compose_text(recipe, chosen=None):
    """The merged recipe of :func:`compose`, as yaml text.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "shared.yaml").write_text("lr: 0.1\\nseed: 1\\n")
    >>> _ = (folder / "mine.yaml").write_text("extends: shared.yaml\\nlr: 0.2\\n")
    >>> print(compose_text(folder / "mine.yaml").strip())
    lr: 0.2
    seed: 1
    """
    return _dump(compose(recipe, chosen))


def _dump(tree):
    text = io.StringIO()
    ruamel.yaml.YAML().dump(tree, text)
    return text.getvalue()


def parse_arguments(argv):
    """SpeechBrain's command line: ``recipe.yaml --device cuda --any_setting value``.

    Arguments
    ---------
    argv : list of str
        Without the program's name.

    Returns
    -------
    recipe : str
    run_opts : RunOptions
        Those of SpeechBrain's Brain (``--device``, ``--precision``, ...).
    overrides : str
        The remaining settings as yaml.

    Raises
    ------
    SettingError
        If no recipe comes first, or an argument has no name or no value.
    """
    if not argv or argv[0].startswith("-"):
        raise SettingError(
            "name a recipe first, then settings, as in hparams/lmac_td.yaml --alpha 0.5"
        )
    recipe, run_opts, overrides = RunOptions.from_command_line_args(list(argv))
    try:
        values = ruamel.yaml.YAML(typ="safe").load(overrides) if overrides else {}
    except ruamel.yaml.error.YAMLError:
        values = None
    if not isinstance(values, dict):
        raise SettingError(
            f"the command line's settings cannot be read ({overrides!r}): "
            "write each as --name value"
        )
    for name, value in values.items():
        if value is None:
            raise SettingError(f"--{name} has no value: write --{name} VALUE")
    return recipe, run_opts, overrides


def read_overrides(overrides):
    """Settings of a command line, as yaml or as a dictionary -> a dictionary."""
    if isinstance(overrides, str):
        overrides = ruamel.yaml.YAML(typ="safe").load(overrides)
    return overrides or {}


def load_recipe(recipe, overrides=""):
    """Build everything a recipe describes.

    Arguments
    ---------
    recipe : str or Path
    overrides : str or dict
        Settings that replace the file's, as yaml or as a dictionary.

    Returns
    -------
    dict

    Raises
    ------
    SettingError
        If a setting is unknown (the nearest name is offered) or its value cannot work.
    """
    given = read_overrides(overrides)
    tree = compose(recipe, given)
    for name in given:
        if name not in tree:
            near = difflib.get_close_matches(str(name), list(tree), n=1)
            hint = f"did you mean --{near[0]}?" if near else "see the file's settings"
            raise SettingError(f"{recipe} has no setting named {name!r}: {hint}")
    try:
        return load_hyperpyyaml(_dump(tree), overrides or None)
    except UserError:
        raise
    except Exception as error:  # whatever the classes that it names raise
        # Constructors check their own arguments; HyperPyYAML adds its own lines.
        problem = " ".join(str(error).split())
        if not isinstance(error, (ValueError, TypeError, ImportError)):
            problem = f"{type(error).__name__}: {problem}"
        raise SettingError(f"{recipe} cannot be built: {problem}") from error
