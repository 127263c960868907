"""Sources of pretrained models: a folder, an address or a hub id."""

import pytest

from lmac_td.errors import CheckpointError
from lmac_td.model_sources import (
    ADDRESS,
    FOLDER,
    HUB_ID,
    kind_of_source,
    require_source,
)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("here", FOLDER),
        ("owner/here", FOLDER),
        ("owner/name", HUB_ID),
        ("owner/name-2.5_x", HUB_ID),
        ("http://example.org/a", ADDRESS),
        ("https://example.org/a/b", ADDRESS),
        ("file", None),
        ("owner/file", None),
        ("no_such", None),
        ("./no/such", None),
        ("../name", None),
        ("./name", None),
        ("/name", None),
        ("~/name", None),
        ("a/b/c", None),
        ("nobody/", None),
        ("own er/name", None),
        ("owner/name\0", None),
        ("", None),
    ],
)
def test_kinds(tmp_path, monkeypatch, source, kind):
    monkeypatch.chdir(tmp_path)
    for folder in ("here", "owner/here"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("file", "owner/file"):
        (tmp_path / file).touch()
    assert kind_of_source(source) == kind


def test_a_refused_source_is_named_with_the_reason(tmp_path):
    (tmp_path / "file").touch()
    for source, reason in (
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "none", "does not exist"),
        ("https://example.org/a", "is an address"),
    ):
        with pytest.raises(CheckpointError) as raised:
            require_source(source, "give another", setting="model: ")
        assert str(raised.value) == f"model: {source} {reason}: give another"
    assert require_source("https://example.org/a", "", (ADDRESS,)) == ADDRESS
