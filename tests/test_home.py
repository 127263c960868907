"""Users without a name or a home, as in containers."""

import os
import pwd
from pathlib import Path

import pytest

from lmac_td import home
from lmac_td.home import complete_environment

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
VARIABLES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", *NAMES)


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A user whom the system does not know, with an empty environment."""

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(home.tempfile, "tempdir", str(tmp_path))
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    monkeypatch.setattr(os, "environ", environment)
    return environment


def own(tmp_path):
    return tmp_path / f"lmac-td-{os.getuid()}"


def test_a_user_without_a_name_and_a_home_gets_both(nobody, tmp_path):
    complete_environment()
    folder = own(tmp_path)
    assert nobody["LOGNAME"] == f"user-{os.getuid()}"
    assert nobody["HOME"] == str(folder)
    assert Path(nobody["XDG_CACHE_HOME"]).is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_is_set_stays(nobody, tmp_path):
    given = {"USER": "me", "HOME": str(tmp_path), "XDG_CACHE_HOME": "/elsewhere"}
    nobody |= given
    complete_environment()
    assert {k: v for k, v in nobody.items() if k in VARIABLES} == given
    assert not own(tmp_path).exists()


@pytest.mark.parametrize("place", ["/proc/home", "relative"])
def test_a_home_that_cannot_be_written_to_keeps_its_name(
    nobody, tmp_path, monkeypatch, place
):
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(home.os, "access", lambda path, mode: False)
    nobody["HOME"] = place
    complete_environment()
    assert nobody["HOME"] == place
    assert nobody["XDG_CACHE_HOME"] == str(own(tmp_path) / ".cache")


def test_a_folder_that_others_may_write_to_is_not_used(nobody, tmp_path):
    own(tmp_path).mkdir()
    own(tmp_path).chmod(0o777)
    complete_environment()
    assert "XDG_CACHE_HOME" not in nobody
    own(tmp_path).rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    own(tmp_path).symlink_to(tmp_path / "elsewhere")
    complete_environment()
    assert "XDG_CACHE_HOME" not in nobody
