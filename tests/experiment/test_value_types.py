"""Types of settings: what is read as a person means it, and what is refused."""

import pytest

from lmac_td.experiment.scalar_types import Limits, WrongValueError
from lmac_td.experiment.value_types import (
    describe_types,
    parse_type,
    read_value,
)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("bool", "no", False),
        ("bool", "off", False),
        ("bool", "False", False),
        ("bool", "YES", True),
        ("bool", "on", True),
        ("bool", True, True),
        ("int", "3", 3),
        ("int", "1e3", 1000),
        ("int", 4.0, 4),
        ("int", "-2", -2),
        ("float", "1e1", 10.0),
        ("float", ".5", 0.5),
        ("float", "1", 1),
        ("float", 3, 3),
        ("str", "no", "no"),
        ("str", "1e3", "1e3"),
        ("path", 2024, "2024"),
        ("path", "run #2", "run #2"),
        ("path", "a: b", "a: b"),
        ("path", "a=b", "a=b"),
        ("path", "'quoted'", "'quoted'"),
        ("path", '"quoted"', '"quoted"'),
        ("path", "null", "null"),
        ("path", "[a]", "[a]"),
        ("path", "two\nlines: 3", "two\nlines: 3"),
        ("list[int]", "[4, 5]", [4, 5]),
        ("list[int]", "4, 5", [4, 5]),
        ("list[int]", "5", [5]),
        ("list[int]", 5, [5]),
        ("list[int]", [1.0, 2], [1, 2]),
        ("list[float]", "[0.1, 1]", [0.1, 1]),
        ("list[str]", "[no, 1e3]", ["no", "1e3"]),
        ("list[int or str]", "[block1, 2]", ["block1", 2]),
        ("str or list[str]", "clean", "clean"),
        ("str or list[str]", "[clean, speech]", ["clean", "speech"]),
        ("int or str", "3", 3),
        ("int or str", "auto", "auto"),
        ("dict", "{layer1: {offset_samples: 3}}", {"layer1": {"offset_samples": 3}}),
        ("dict", {"a": 1}, {"a": 1}),
    ],
)
def test_what_is_given_is_read_as_it_is_meant(kind, given, value):
    read = read_value(parse_type(kind), given, Limits())
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("bool", "maybe"), ("bool", 2), ("bool", None), ("bool", "2"),
        ("int", "2.5"), ("int", "many"), ("int", True), ("int", "10**20"), ("int", ""),
        ("int", "[3]"), ("int", "inf"), ("int", "1e400"),
        ("float", "much"), ("float", "nan"), ("float", "inf"), ("float", False),
        ("float", "1" + 400 * "0"), ("float", None),
        ("str", None), ("str", []), ("str", ""), ("str", "  "),
        ("path", "x" * 5000), ("path", "x" * 300), ("path", "a\0b"), ("path", {}),
        ("path", "<seed>"), ("path", "(1, 2)"),
        ("list[int]", "[[5]]"), ("list[int]", "[4"), ("list[int]", "[a]"),
        ("list[int]", "{a: 1}"), ("list[int]", [[5]]), ("list[int]", None),
        ("dict", "a"), ("dict", "[1]"), ("dict", 3), ("dict", "{a: !new:x {}}"),
        ("object", 3), ("object", "x"), ("callable", 3), ("torch.nn.Module", 3),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(kind, given):
    with pytest.raises(WrongValueError):
        read_value(parse_type(kind), given, Limits())


@pytest.mark.parametrize(
    ("limits", "fits", "fails"),
    [
        (Limits(min=0), [0, 5], [-1]),
        (Limits(above=0), [0.1], [0, -1]),
        (Limits(max=1), [1, -3], [1.5]),
        (Limits(min=0, max=1), [0, 1], [2, -1]),
    ],
)
def test_limits_hold_for_numbers_and_for_lists_of_them(limits, fits, fails):
    number, numbers = parse_type("float"), parse_type("list[float]")
    for value in fits:
        assert read_value(number, value, limits) == value
        assert read_value(numbers, [value, value], limits) == [value, value]
    for value in fails:
        with pytest.raises(WrongValueError):
            read_value(number, value, limits)
        with pytest.raises(WrongValueError):
            read_value(numbers, [fits[0], value], limits)


def test_choices_hold_for_texts():
    kind, limits = parse_type("int or str"), Limits(min=0, choices=("auto",))
    assert read_value(kind, "auto", limits) == "auto"
    assert read_value(kind, "2", limits) == 2
    for wrong in ("many", "-1", 2.5):
        with pytest.raises(WrongValueError):
            read_value(kind, wrong, limits)


@pytest.mark.parametrize("name", ["number", "list", "list[number]", "", "Int", "a b"])
def test_an_unknown_type_is_refused(name):
    with pytest.raises(ValueError, match="no type"):
        parse_type(name)


def test_messages_name_what_is_asked_for():
    def asked(kind, **limits):
        return describe_types(parse_type(kind), Limits(**limits))

    assert asked("float", min=0, max=1) == "a number from 0 to 1"
    assert asked("int", above=0) == "a whole number above 0"
    assert asked("str", choices=("stft", "mel")) == "stft or mel"
    assert asked("list[int]", min=1).startswith("a list of whole numbers from 1")
    assert asked("list[float or str]", max=1, choices=["all"]).endswith(
        "numbers to 1 or all, such as [0.1, 0.5]"
    )
    assert asked("list[float]", max=1).endswith("numbers to 1, such as [0.1, 0.5]")
    assert asked("bool") == "True or False"
    assert asked("int or str", choices=("auto",)) == "a whole number or auto"
