"""Checks of single values name the setting and what to give instead."""

import math

import pytest

from lmac_td.errors import CheckpointError, SettingError
from lmac_td.validation import as_setting_error, require_choice, require_number


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "1", None, [1]])
def test_what_is_no_number_above_zero_is_refused(value):
    with pytest.raises(
        SettingError, match=r"^lr is .*: give --lr a number above 0\.0$"
    ):
        require_number("lr", value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, -math.inf])
def test_bounds_are_named(value):
    with pytest.raises(SettingError, match=r"give --alpha a number from 0 to 1$"):
        require_number("alpha", value, least=0, most=1)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_bounds_themselves_are_allowed(value):
    require_number("alpha", value, least=0, most=1)


def test_choices_are_named():
    require_choice("domain", "mel", ("stft", "mel"))
    with pytest.raises(SettingError, match=r"^domain is 1: give --domain stft or mel$"):
        require_choice("domain", 1, ("stft", "mel"))


def test_what_a_network_raises_is_a_sentence():
    sentence = r"^it fails \(KeyError: 'x'\): fix it$"
    with (
        pytest.raises(SettingError, match=sentence),
        as_setting_error("it fails", "fix it"),
    ):
        raise KeyError("x")


def test_a_users_mistake_keeps_its_own_sentence():
    with (
        pytest.raises(CheckpointError, match=r"^weights are missing$"),
        as_setting_error("it fails", "fix it"),
    ):
        raise CheckpointError("weights are missing")
