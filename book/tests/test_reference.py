"""What readers look up in the built pages: the API, the bibliography, tables, and llms.txt."""

import functools
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import api_pages
from built import BOOK, PAGES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tutorial_lib"
API = [page for page in PAGES if page.parent.name == "api"]
TABLED = [page for page in PAGES if page.parts[0] == "book"]
NUMBER = re.compile(r"[−-]?[\d.,]+( ?%)?( \(.*\))?")
pytestmark = pytest.mark.skipif(not PAGES, reason="needs the built book: make book")


@functools.cache
def soup(page):
    return BeautifulSoup((BOOK / page).read_text(), "html.parser")


def test_each_package_has_a_page_and_each_module_a_heading():
    left_out = {path for name in api_pages.LEFT_OUT for path in PACKAGE.glob(name)}
    found = {}
    for module in sorted(PACKAGE.rglob("*.py")):
        if not left_out & {module, *module.parents}:
            package = ".".join(module.parent.relative_to(ROOT).parts)
            modules = found.setdefault(Path("book", "api", f"{package}.html"), [])
            modules += [module.stem] if not module.stem.startswith("_") else []
    assert sorted(found) == API
    for page, modules in found.items():
        headings = [heading.contents[0] for heading in soup(page).select("section section > h2")]
        assert headings == modules, page


@pytest.mark.parametrize("page", API, ids=str)
def test_a_page_of_the_api_is_short_enough_to_scroll_and_only_about_our_own_code(page, visit):
    opened = visit((BOOK / page).as_uri(), viewport={"width": 1280, "height": 800})
    assert opened.evaluate("document.documentElement.scrollHeight") < 15_000
    assert not opened.get_by_text("See also").count(), "a description that NumPy wrote"


def labels():
    """The label of each entry of the bibliography, by its anchor."""
    entries = soup("book/bibliography.html").select("div.citation")
    return {entry["id"]: entry.select_one(".label").get_text().strip("[]") for entry in entries}


def test_citations_are_the_labels_of_the_entries_that_they_link():
    known, cited = labels(), []
    assert len(set(known.values())) == len(known)
    for page in PAGES:
        for link in soup(page).select('a[href*="bibliography.html#"]'):
            cited.append((link.get_text(), known[link["href"].partition("#")[2]]))
    assert len(cited) > 20
    assert [pair for pair in cited if pair[0] != pair[1]] == []


def test_notebooks_cite_by_the_author_and_year_of_an_entry():
    years = {re.sub(r"[a-z]$", "", label) for label in labels().values()}
    cited = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cited |= set(re.findall(r"\[([^][]*, \d{4})[a-z]?\]\([^)]*bibliography", path.read_text()))
    assert len(cited) > 10
    assert cited <= years


def test_titles_keep_their_capitals():
    text = " ".join(soup("book/bibliography.html").get_text().split())
    titles = re.findall(r"\btitle = {(.*)},", (ROOT / "book" / "references.bib").read_text())
    assert len(titles) == len(labels())
    assert [title for title in titles if re.sub("[{}]", "", title) not in text] == []


@pytest.mark.parametrize("page", TABLED, ids=str)
def test_tables_have_named_columns_aligned_numbers_and_one_style_of_thousands(page):
    for table in soup(page).select("article table"):
        headings, rows = table.select("thead th"), table.select("tbody tr")
        assert all(heading.get_text(strip=True) for heading in headings)
        for column, heading in enumerate(headings):
            cells = [row.find_all(["td", "th"])[column] for row in rows]
            texts = [cell.get_text(" ", strip=True) for cell in cells]
            numbers = [text for text in texts if NUMBER.fullmatch(text)]
            if numbers and all(NUMBER.fullmatch(text) or text == "–" for text in texts):
                classes = {name for cell in [heading, *cells] for name in cell.get("class", ())}
                assert classes >= {"text-right"}, heading
                assert not classes & {"text-left", "text-center"}, heading
        body = " ".join(row.get_text(" ") for row in rows)
        assert not re.search(r"(?<![\w.,])\d{4,}(?![\w.,]|-\d\d)", body)


def test_llms_txt_has_its_form_and_leads_to_pages_that_are_there():
    text = (BOOK / "llms.txt").read_text()
    assert text == (ROOT / "llms.txt").read_text()
    lines = [line for line in text.splitlines() if line]
    assert lines[0].startswith("# ")
    assert lines[1].startswith("> ")
    listed = text.partition("\n## ")[2].splitlines()[1:]
    listed = [line for line in listed if line and not line.startswith("## ")]
    links = [re.fullmatch(r"- \[(.+)\]\((.+)\): .+", line).groups() for line in listed]
    assert links[0][1] == "_sources/book/patterns.md"
    for title, address in links:
        assert (BOOK / address).is_file(), address
        page = re.sub(r"^_sources/(.*)\..*", r"\1.html", address)
        heading = soup(page).h1.contents[0]
        assert title in (heading, {"What you can take into your own code": "Patterns"}.get(heading))
