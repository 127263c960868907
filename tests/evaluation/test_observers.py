"""What is done with every explained batch besides the table."""

from types import SimpleNamespace

import pytest

from lmac_td.evaluation import observers


class Collected(list):
    """A table, or Quantus, that notes what it is given."""

    def add(self, *arguments):
        self.append(arguments)

    add_without_target = add


@pytest.fixture
def saved(monkeypatch):
    """Arguments of every call of save_samples."""
    calls = []
    monkeypatch.setattr(
        observers, "save_samples", lambda *args, parts: calls.append((*args, parts))
    )
    return calls


def test_observers_are_called_in_order_and_none_is_left_out():
    calls = []
    on_batch = observers.all_of(
        lambda *args: calls.append(("first", *args)),
        None,
        lambda *args: calls.append(("second", *args)),
    )
    on_batch("clean", "lmac", "decided", "explained")
    rest = ("clean", "lmac", "decided", "explained")
    assert calls == [("first", *rest), ("second", *rest)]


@pytest.mark.parametrize("names", [("lmac",), ("lmac", "l2i")])
def test_samples_of_methods_are_saved_and_of_references_not(saved, tmp_path, names):
    methods = {name: SimpleNamespace(parts=f"parts of {name}") for name in names}
    on_batch = observers.sample_keeper(tmp_path, methods, "stft", ["dog"], {"a"})
    for row in (*names, "identity"):
        on_batch("clean", row, "decided", "explained")
    folders = [call[0] for call in saved]
    several = len(names) > 1
    assert folders == [tmp_path / "clean" / (n if several else "") for n in names]
    for name, call in zip(names, saved, strict=True):
        assert call[1:] == (
            "decided", "explained", "stft", ["dog"], {"a"}, f"parts of {name}",
        )  # fmt: skip


def test_a_method_table_is_of_its_methods():
    table, methods = Collected(), {"l2i": "the interpreter"}
    on_batch = observers.method_table_filler(table, methods)
    for row in ("l2i", "identity"):
        on_batch("clean", row, "decided", "explained")
    observers.without_target_filler(table, methods)("clean", "silent clips")
    assert table == [
        ("clean", "decided", "explained", "the interpreter"),
        ("clean", "silent clips", "the interpreter"),
    ]
    assert observers.method_table_filler(None, methods) is None
    assert observers.without_target_filler(None, methods) is None
    # A table need not take clips without a target.
    assert observers.without_target_filler(object(), methods) is None


def test_quantus_scores_every_row():
    quantus, rows = Collected(), {"lmac": 1, "identity": 2}
    on_batch = observers.quantus_scorer(quantus, rows)
    for row in rows:
        on_batch("clean", row, SimpleNamespace(clip_ids=["a"]), "explained")
    assert quantus == [
        ("clean", row, ["a"], "explained", interpreter)
        for row, interpreter in rows.items()
    ]
    assert observers.quantus_scorer(None, rows) is None
