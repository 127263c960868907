"""Links of the pages lead somewhere, and files that they name exist; no network."""

import re

import pytest

from tests.pages import PAGES, PAPERS, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
# Files of the repository in backticks.
FOLDERS = "lmac_td|hparams|recipes|benchmarks|tests|docs"
FILE = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")
# Written by a command, or by a reader of the page.
MADE = {
    "hparams/centre.yaml",
    "hparams/energy.yaml",
    "hparams/my_parts.yaml",
    "docs/_build/html",
}

names = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(page):
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    found = set()
    for heading in HEADING.findall(text_of(page)):
        text = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page):
    for link in LINK.findall(text_of(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_files_of_the_repository_exist(page):
    for name in FILE.findall(text_of(page)):
        assert name in MADE or (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_no_absolute_path(page):
    text = page.read_text(encoding="utf-8").replace("/path/to/", "")
    assert not re.search(r"(?<![\w/.:)$<>])/(home|root|usr|opt|tmp|work|mnt)/", text)


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([a-z0-9_/]+)$", index, re.MULTILINE))
    docs = [page.relative_to(ROOT) for page in PAGES if page.name != "README.md"]
    pages = {"/".join(page.with_suffix("").parts[1:]) for page in docs}
    assert pages == listed | {"index"}
    papers = set(re.findall(r"^papers/([a-z0-9_]+)$", index, re.MULTILINE))
    assert papers == {page.stem for page in PAPERS}


def test_names_are_defined_where_the_page_says():
    page = (ROOT / "docs" / "where_to_find.md").read_text(encoding="utf-8")
    found = re.findall(r"`(\w+(?:\.\w+)?)` in\s`(lmac_td/[\w/]+\.py)`", page)
    assert len(found) >= 6
    for name, path in found:
        code = (ROOT / path).read_text(encoding="utf-8")
        for part in name.split("."):
            assert re.search(rf"(def|class) {part}\b", code), f"{name} in {path}"
