"""The printed book: one page of all pages, the PDF and the EPUB made from it, and their links."""

import re
import unicodedata
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from built import PAGES

pytestmark = pytest.mark.skipif(not PAGES, reason="needs the built book: make book")
press = pytest.importorskip("print", reason="needs the packages of `make pdf`")
pypdf = pytest.importorskip("pypdf", reason="needs pypdf")
TITLE, AUTHOR = "Three pages", "Nobody"


@pytest.fixture(scope="module")
def parts():
    """Of the book, the first page, chapter 3, which has numbered equations, and the glossary."""
    landing, _, problem, *_, reference, _ = press.parts_of_the_book()
    problem.pages = [page for page in problem.pages if "gradients" in page.address]
    reference.pages = [page for page in reference.pages if "glossary" in page.address]
    return [landing, problem, reference]


@pytest.fixture(scope="module")
def combined(parts):
    return press.combine(parts, TITLE, AUTHOR)


@pytest.fixture(scope="module")
def typeset(browser, combined):
    path = press.BUILD / "three-pages.html"
    path.write_text(combined, encoding="utf-8")
    yield press.typeset(browser, path)
    path.unlink()


@pytest.fixture(scope="module")
def pdf(typeset, tmp_path_factory):
    path = tmp_path_factory.mktemp("print") / "book.pdf"
    press.write_pdf(typeset, path, AUTHOR)
    return pypdf.PdfReader(path)


def squeezed(text):
    """Without spaces, which a PDF does not store, each ligature as its letters, and only ASCII: in
    some fonts one glyph stands for the letter sigma and the sign of a sum."""
    return re.sub(r"[^!-~]+", "", unicodedata.normalize("NFKC", text))


def test_the_contents_list_every_page_of_the_site():
    listed = [page.address for part in press.parts_of_the_book() for page in part.pages]
    assert sorted(listed) == sorted(page.as_posix() for page in PAGES)


def test_the_combined_page_is_whole_and_its_links_stay_inside(combined):
    soup = BeautifulSoup(combined, "html.parser")
    ids = [tag["id"] for tag in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in soup.select("a[href]")]
    assert len(links) > 50
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all(link.startswith(("#", "https://")) for link in links)
    drawn = {tag["xlink:href"][1:] for tag in soup.select("svg use")}
    assert len(drawn) > 5
    assert drawn | set(re.findall(r"url\(#(.+?)\)", combined)) <= set(ids)
    files = [tag.get("src") or tag["href"] for tag in soup.select("[src], link")]
    assert [file for file in files if not (press.BUILD / file.partition("?")[0]).is_file()] == []


def test_all_is_unfolded_and_the_headings_are_below_their_part(combined):
    soup = BeautifulSoup(combined, "html.parser")
    assert soup.select("details, summary, .widget, .headerlink") == []
    assert [tag.get_text() for tag in soup.select("h1")] == [
        "Fusion, measured",
        "The problem",
        "Reference",
    ]
    assert [tag.get_text()[:2] for tag in soup.select("#page-03_gradients h2")] == ["3."]


def test_the_pdf_has_the_text_the_equations_the_code_and_the_solutions(pdf, combined):
    text = "".join(re.sub(r"\d+\s*$", "", page.extract_text()) for page in pdf.pages)
    text = squeezed(text)
    chapter = BeautifulSoup(combined, "html.parser").select_one("#page-03_gradients")
    for tag in chapter.select("h2, h3, pre, p"):
        if not tag.select(".math"):
            for line in tag.get_text().splitlines():
                assert squeezed(line) in text, line
    numbers = re.findall(r"\\qquad *\((3\.\d+)\)", chapter.get_text())
    assert len(numbers) > 5
    assert all(f"({number})" in text for number in numbers)


def test_the_pdf_has_bookmarks_page_numbers_and_inner_links(pdf):
    assert (pdf.metadata.title, pdf.metadata.author) == (TITLE, AUTHOR)
    outline = [entry.title for entry in pdf.outline if not isinstance(entry, list)]
    assert outline == ["Fusion, measured", "The problem", "Reference"]
    number = len(pdf.pages)
    assert pdf.pages[-1].extract_text().rstrip().endswith(str(number))
    links = [note.get_object() for page in pdf.pages for note in page.get("/Annots", ())]
    outer = [link["/A"]["/URI"] for link in links if "/URI" in link.get("/A", ())]
    assert len(links) > len(outer) + 50
    assert [address for address in outer if not address.startswith("https://")] == []


def test_the_epub_is_whole_with_its_mathematics_as_mathml(typeset, parts, tmp_path, pdf):
    """After the PDF: the formulas of the page are replaced."""
    path = tmp_path / "book.epub"
    press.epub.write_epub(str(path), press.ebook(typeset, parts, TITLE, AUTHOR))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[0] == "mimetype"
        names = {name for name in archive.namelist() if name.endswith(".xhtml")}
        pages = {Path(name).name: ET.fromstring(archive.read(name)) for name in names}
        files = set(archive.namelist())
        chapter = archive.read("EPUB/page-03_gradients.xhtml").decode()
    assert "stroke: #2a6f97" in chapter
    assert "var(--" not in chapter
    ids = {(name, tag.get("id")) for name, page in pages.items() for tag in page.iter()}
    for name, page in pages.items():
        tags = list(page.iter())
        assert not [tag for tag in tags if tag.tag.endswith("mjx-container") or "mjx" in tag.tag]
        assert {f"EPUB/{tag.get('src')}" for tag in tags if tag.get("src")} <= files
        for href in (tag.get("href") for tag in tags if tag.tag.endswith("}a")):
            target, _, fragment = (href or "").partition("#")
            if href and not href.startswith("https://"):
                assert target in pages, href
                assert not fragment or (target or name, fragment) in ids, href
    math = "{http://www.w3.org/1998/Math/MathML}math"
    assert len(list(pages["page-03_gradients.xhtml"].iter(math))) > 50


def test_the_landing_page_links_both_files_once(tmp_path, monkeypatch):
    (tmp_path / "html" / "book").mkdir(parents=True)
    landing = tmp_path / "html" / "book" / "index.html"
    landing.write_bytes((press.BUILD / "html" / "book" / "index.html").read_bytes())
    for kind in ("pdf", "epub"):
        (tmp_path / f"{press.NAME}.{kind}").write_bytes(b"book")
    monkeypatch.setattr(press, "BUILD", tmp_path)
    for _ in range(2):
        press.link_downloads()
    links = BeautifulSoup(landing.read_bytes(), "html.parser").select("h1 + #downloads a")
    assert [link.get_text() for link in links] == ["PDF", "EPUB"]
    assert all((landing.parent / link["href"]).is_file() for link in links)


def test_on_paper_folded_code_is_open_without_the_words_to_fold_it(visit):
    page = visit((press.BUILD / "html" / "notebooks" / "03_gradients.html").as_uri())
    labels = page.locator("details.hide > summary")
    assert labels.first.is_visible()
    page.emulate_media(media="print")
    page.wait_for_function("!document.querySelector('details:not([open])')")
    assert not labels.first.is_visible()
    assert page.locator("details.hide pre").first.is_visible()
