"""``make docs`` builds without a warning."""

import re
import subprocess
import sys

import pytest

from tests.pages import ROOT

pytest.importorskip("sphinx")
BeautifulSoup = pytest.importorskip("bs4").BeautifulSoup  # furo needs it, too


def test_the_docstrings_examples_of_the_extensions():
    for name in ("docstrings", "generated_pages"):
        done = subprocess.run(
            [sys.executable, "-m", "doctest", ROOT / "docs" / "_ext" / f"{name}.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_docs_build_without_a_warning(tmp_path):
    """The command of the Makefile, with the pages of this folder."""
    makefile = (ROOT / "Makefile").read_text()
    (options,) = re.findall(r"-m sphinx (.*) docs docs/_build/html", makefile)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", *options.split()),
            *("--doctree-dir", tmp_path / "doctrees", "docs", tmp_path / "html"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stderr, done.stderr[-3000:]
    reference = (
        tmp_path / "html" / "api" / "lmac_td.metrics.confidence.html"
    ).read_text()
    assert "average_increase" in reference
    assert "Parameters" in reference
    beside = links_beside(tmp_path / "html" / "api" / "lmac_td.metrics.confidence.html")
    assert {"../getting_started.html", "../papers/lmac.html"} < beside
    assert {"lmac_td.nn.html", "lmac_td.metrics.fidelity.html"} < beside
    assert "lmac_td.nn.unet.html" not in beside  # a branch of other pages


def links_beside(page):
    """Return the links of the navigation beside a page."""
    tree = BeautifulSoup(page.read_text(), "html.parser").find(class_="sidebar-tree")
    return {link["href"] for link in tree.find_all("a")}
