"""Options of the sanity checks: typed, and refused before anything is loaded."""

import pytest

from lmac_td.cli import randomise, roar, stability
from lmac_td.cli.sanity import read_options, require_ascending
from lmac_td.errors import SettingError


def read(command, *argv):
    return read_options(["a.yaml", *argv], command.OPTIONS, command.TYPES)


@pytest.mark.parametrize("command", [randomise, roar, stability])
def test_defaults_satisfy_their_own_types(command):
    assert command.OPTIONS.keys() == command.TYPES.keys()
    options, rest = read(command)
    assert vars(options) == command.OPTIONS
    assert rest == ["a.yaml"]
    for name, value in command.OPTIONS.items():
        again, _ = read(command, f"--{name}", str(value))
        assert again == options


def test_options_are_read_and_the_rest_is_the_recipes():
    argv = ("--roar_levels", "[0.1, 0.5]", "--lr", "2", "--repeats", "1e1")
    options, rest = read(roar, *argv, "--device", "cpu")
    assert options.roar_levels == [0.1, 0.5]
    assert options.repeats == 10
    assert rest == ["a.yaml", "--lr", "2", "--device", "cpu"]
    assert read(roar, "--roar_levels", "0.5")[0].roar_levels == [0.5]


@pytest.mark.parametrize(
    ("command", "name", "value", "remedy"),
    [
        (randomise, "n_clips", "1", "a whole number from 2"),
        (randomise, "n_clips", "2.5", "a whole number from 2"),
        (randomise, "randomisation_seed", "-1", "a whole number from 0"),
        (randomise, "norm_statistics", "none", "measured or fresh"),
        (stability, "stability_levels", "[3]", "a list of numbers from -100 to 0"),
        (stability, "noise_seed", "-1", "a whole number from 0"),
        (roar, "repeats", "0", "a whole number from 1"),
        (roar, "repeats", "many", "a whole number from 1"),
        (roar, "repeats", "True", "a whole number from 1"),
        (roar, "roar_levels", "[1.5]", "a list of numbers above 0 to 1"),
        (roar, "roar_levels", "[0]", "a list of numbers above 0 to 1"),
        (roar, "roar_levels", "[0.1", "a list of numbers above 0 to 1"),
        (roar, "roar_levels", "half", "a list of numbers above 0 to 1"),
        (roar, "roar_lr", "fast", "a number above 0"),
        (roar, "roar_lr", "nan", "a number above 0"),
        (roar, "roar_fill", "noise", "zero or mean"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(command, name, value, remedy):
    with pytest.raises(SettingError, match=f"give --{name} {remedy}") as error:
        read(command, f"--{name}", value)
    assert str(error.value).startswith(f"{name} is ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["roar_levels", "repeats"])
def test_an_option_without_a_value_is_refused(name):
    with pytest.raises(SettingError, match=f"--{name}"):
        read(roar, f"--{name}")


@pytest.mark.parametrize("levels", [[], [0.5, 0.1], [0.5, 0.5]])
def test_levels_ascend(levels):
    require_ascending("roar_levels", [0.1, 0.5], "[0.1]")
    with pytest.raises(SettingError, match="give --roar_levels in ascending order"):
        require_ascending("roar_levels", levels, "[0.1]")
