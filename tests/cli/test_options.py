"""Options of all command lines: typed, and refused by name before anything is read."""

import argparse
import contextlib
import importlib
import io
from pathlib import Path

import pytest

from lmac_td.cli import convert, draw_samples, randomise, roar, stability
from lmac_td.cli.options import Read, path, text
from lmac_td.cli.sanity import read_options
from lmac_td.errors import SettingError
from tests.commands import ROOT

# What each command needs besides the option that is tried.
COMMANDS = {
    "explain": [["dog.wav"]],
    "page": [["results"]],
    "compare": [["run"]],
    "draw_samples": [["run", "figure.png"]],
    "listening_test": [["export", "run", "--out=a"], ["read", "a", "b", "--out=a"]],
    "convert": [["lmac", "psi.ckpt", "--out=a"]],
    "cross_validate": [["a.yaml"]],
    "sweep": [["a.yaml"]],
    "benchmark": [["a.yaml"]],
    "evaluate": [["a.yaml"]],
}
NO_NUMBER = [
    *("", " ", "x", "nan", "inf", "-inf", "1e400", "1" + "0" * 400, "[[1]]", "{", "["),
    *("True", "None", "a/b", "1:30", "1e300", "\udcff", "<a>", "(1, 2)"),
]


def modules_with_options():
    """The commands whose command line argparse reads, options of recipes aside."""
    files = sorted((ROOT / "lmac_td" / "cli").glob("*.py"))
    return {
        f.stem for f in files if "argparse.ArgumentParser(\n" in f.read_text("utf-8")
    }


def parsers():
    for name, lines in COMMANDS.items():
        parser = importlib.import_module(f"lmac_td.cli.{name}")._parser()
        for line in lines:
            yield name, parser, line


def actions(parser, line):
    """What takes a value in a parser, and in that of the verb of the line."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from actions(action.choices[line[0]], line)
        elif action.nargs != 0:
            yield action


ALL = [
    (name, parser, line, action)
    for name, parser, line in parsers()
    for action in actions(parser, line)
]
EACH = pytest.mark.parametrize(
    ("name", "parser", "line", "action"),
    ALL,
    ids=[f"{name}-{line[0]}-{action.dest}" for name, _, line, action in ALL],
)
OPTIONS = [case for case in ALL if case[3].option_strings]


def wrong_values(action):
    if action.choices:
        return ["", "no_such_choice", "1", "nan"]
    if not isinstance(action, Read):
        return ["", " ", "\n"]
    limits = action.const.limits
    lowest = limits.min if limits.above is None else limits.above
    wrong = [*NO_NUMBER, str(lowest - 1), str(limits.max + 1), str(limits.max * 1e9)]
    return wrong + ([str(limits.above)] if limits.min is None else [])


def read(parser, line, option, value, n_values):
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            words = [*line, option, *[value] * n_values]
            if n_values == 1:
                words = [*line, f"{option}={value}"]
            parser.parse_known_args(words)
        except SettingError as error:
            return str(error)
        except SystemExit:  # argparse prints one line
            return errors.getvalue().splitlines()[-1]
    return None


def test_all_commands_are_here():
    assert modules_with_options() == set(COMMANDS)


@EACH
def test_what_takes_a_value_has_a_type(name, parser, line, action):
    if isinstance(action, Read):
        assert action.const.name == action.dest
        limits = action.const.limits
        assert limits.max is not None
        assert limits.min is not None or limits.above is not None
    else:
        assert action.choices or action.type in (text, path)


@pytest.mark.parametrize(
    ("name", "parser", "line", "action"),
    OPTIONS,
    ids=[f"{name}-{line[0]}-{action.dest}" for name, _, line, action in OPTIONS],
)
def test_a_wrong_value_is_refused_by_name(name, parser, line, action):
    option = action.option_strings[0]
    for value in wrong_values(action):
        n_values = action.nargs if isinstance(action.nargs, int) else 1
        sentence = read(parser, line, option, value, n_values)
        assert sentence is not None, f"{name} {option} accepts {value!r:.60}"
        assert option in sentence
        assert len(sentence) < 400


@pytest.mark.parametrize("command", [randomise, roar, stability])
def test_options_of_sanity_checks_refuse_the_same(command):
    for name, types in command.TYPES.items():
        if "float" not in types["type"] and "int" not in types["type"]:
            continue
        lowest = types.get("min", types.get("above"))
        for value in [*NO_NUMBER, str(lowest - 1), str(types["max"] + 1)]:
            with pytest.raises(SettingError, match=f"{name} is .*give --{name}"):
                read_options([f"--{name}={value}"], command.OPTIONS, command.TYPES)


def test_how_many_values_are_refused():
    """The figure of docs/reliability.md; see it with ``pytest -s``."""
    n_values = sum(len(wrong_values(action)) for *_, action in OPTIONS)
    print(f"{n_values} wrong values of {len(OPTIONS)} options")
    assert n_values > 250


def test_names_of_files_may_have_any_bytes():
    assert path("caf\udce9 <1> (2).wav") == Path("caf\udce9 <1> (2).wav")


def test_a_figure_of_an_unknown_kind(tmp_path):
    with pytest.raises(SettingError, match=r"end its name in \.png, \.pdf or \.svg"):
        draw_samples.main([str(tmp_path), "figure.doc"])


def test_nothing_is_written_for_an_empty_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        convert.main(["lmac", "psi.ckpt", "--out", ""])
    assert leaving.value.code == 2
    assert not any(tmp_path.iterdir())
