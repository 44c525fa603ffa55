"""`python book/tools/print.py`: the built book as one PDF and one EPUB, linked on its first page.

All pages become one, in the order of the table of contents; Chromium typesets its mathematics and
prints it. The EPUB is taken from the same page, with the mathematics as MathML. Both lie in _build,
and copies of them beside the site's pages.
"""

import datetime
import posixpath
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import jinja2
import pikepdf
import yaml
from bs4 import BeautifulSoup, Tag
from ebooklib import epub
from playwright.sync_api import Browser, Page, sync_playwright

TOOLS = Path(__file__).parent
BUILD = TOOLS.parents[1] / "_build"
LANDING = "book/index.html"
NAME = "fusion-measured"
FLAGS = ["--no-sandbox", "--disable-gpu"]
# Of no use on paper. In place of a widget stands its sentence for readers without JavaScript.
LEFT_OUT = "script, link, .headerlink, .viewcode-link, .widget, .hide > summary, #downloads"
FOOTER = '<p style="font-size: 8pt; width: 100%; text-align: center"><span class="pageNumber"></p>'
# Of each formula, the MathML that MathJax gives to screen readers; then each page as XML.
AS_XHTML = """() => {
  for (const formula of document.querySelectorAll("mjx-container")) {
    const math = formula.querySelector("mjx-assistive-mml > math");
    for (const tag of [math, ...math.querySelectorAll("*")])
      for (const name of tag.getAttributeNames())
        if (name.startsWith("data-")) tag.removeAttribute(name);
    formula.replaceWith(math);
  }
  return [...document.querySelectorAll("article")].map((page) =>
    [page.id, new XMLSerializer().serializeToString(page)]);
}"""
XHTML = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en" xml:lang="en" data-theme="light">
<head><title>{}</title><link rel="stylesheet" href="book.css"/></head><body>{}</body></html>"""


def read(address: str) -> BeautifulSoup:
    """Parse a page of the site."""
    return BeautifulSoup((BUILD / "html" / address).read_bytes(), "html.parser")


def parts_of_the_book() -> list[SimpleNamespace]:
    """List the parts, each with its caption and pages, as the landing page's sidebar has them."""
    parts = [SimpleNamespace(caption="", pages=[])]
    for entry in read(LANDING).select("nav.bd-links p.caption, nav.bd-links a"):
        if entry.name == "p":
            parts.append(SimpleNamespace(caption=entry.get_text(), pages=[]))
        else:
            address = resolve(LANDING, entry["href"].replace("#", ""))
            title = entry.get_text().strip()
            parts[-1].pages.append(SimpleNamespace(address=address, title=title, id=label(address)))
    return parts


def resolve(page: str, path: str) -> str:
    """Return the address in the site of what a page names by a relative path, or of itself."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page


def label(address: str, fragment: str = "") -> str:
    """Return an id for a page, or a place in it, that no other page has."""
    return f"page-{Path(address).stem}" + (f"--{fragment}" if fragment else "")


def rewritten(address: str, addresses: set[str], deeper: bool) -> Tag:
    """Return the text of a page: all unfolded, its ids and links those of the book."""
    article = read(address).select_one("article.bd-article")
    for tag in article.select(LEFT_OUT):
        tag.decompose()
    for tag in article.select("noscript"):
        tag.unwrap()
    for tag in article.select("details"):
        tag.name = "div"
    for tag in article.select("summary"):
        tag.name = "p"
    for heading in article.select("h1, h2, h3, h4, h5"):
        heading.name = f"h{int(heading.name[1]) + deeper}"
    for tag in article.select("[id]:not(svg, svg *)"):  # figures have their page in their ids
        tag["id"] = label(address, tag["id"])
    for tag in article.select("[src]"):
        tag["src"] = "html/" + resolve(address, tag["src"])
    for link in article.select("a[href]"):
        url = urlsplit(link["href"])
        target = resolve(address, url.path)
        if url.netloc or url.scheme:
            continue
        if target in addresses:
            link["href"] = "#" + label(target, url.fragment)
        else:  # the source code and the index, which only the site has
            link.unwrap()
    return article


def combine(parts: list[SimpleNamespace], title: str, author: str) -> str:
    """Return one page with all pages of the parts, to be stored in `BUILD`."""
    addresses = {page.address for part in parts for page in part.pages}
    for part in parts:
        for page in part.pages:
            article = rewritten(page.address, addresses, deeper=bool(part.caption))
            page.html = article.decode_contents()
    landing = read(LANDING)
    [mathjax] = landing.select("script[src*=mathjax]")
    template = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        (TOOLS / "print.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(
        title=title,
        author=author,
        date=f"{datetime.date.today():%B %Y}",
        parts=parts,
        css=(TOOLS / "print.css").read_text(encoding="utf-8"),
        mathjax="html/" + resolve(LANDING, mathjax["src"]),
        styles=[
            "html/" + resolve(LANDING, link["href"])
            for link in landing.select("link[rel=stylesheet]")
        ],
    )


def typeset(browser: Browser, path: Path) -> Page:
    """Open a combined page; return it once MathJax has set its formulas."""
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(path.as_uri())
    page.wait_for_function("window.MathJax?.startup?.promise")
    page.evaluate("() => MathJax.startup.promise")
    return page


def write_pdf(page: Page, path: Path, author: str) -> None:
    """Print a typeset page on A4, with bookmarks and page numbers."""
    page.pdf(
        path=path,
        format="A4",
        margin={"top": "16mm", "bottom": "18mm", "left": "15mm", "right": "15mm"},
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOTER,
        outline=True,
        tagged=True,
    )
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        pdf.docinfo["/Author"] = author
        pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.generate)  # half the size


class Chapter(epub.EpubHtml):
    """A page of the EPUB whose text is stored as it is."""

    def get_content(self, default: Any = None) -> bytes:
        """Return the text."""
        return self.content


def ebook(page: Page, parts: list[SimpleNamespace], title: str, author: str) -> epub.EpubBook:
    """Return the EPUB of a typeset page."""
    book = epub.EpubBook()
    book.set_identifier(NAME)
    book.set_title(title)
    book.set_language("en")
    book.add_author(author)
    style = epub.EpubItem("style", "book.css", "text/css", read_css())
    book.add_item(style)
    titles = {each.id: each.title for part in parts for each in part.pages}
    chapters, files, colors = {}, set(), light_colors()
    for name, xhtml in page.evaluate(AS_XHTML):
        files |= set(re.findall(r' src="([^"]+)"', xhtml))
        # A reader of EPUBs may know no custom properties, and keeps its own colors of the page.
        xhtml = re.sub(r"var\(--figure-([\w-]+)\)", lambda found: colors[found[1]], xhtml)
        # "#page--place" and "#page" are now in the page's own file.
        xhtml = re.sub(r'href="#((page-.*?)(--[^"]*)?)"', r'href="\2.xhtml#\1"', xhtml)
        chapter = Chapter(uid=name, file_name=f"{name}.xhtml", title=titles.get(name, title))
        chapter.content = XHTML.format(chapter.title, xhtml).encode()
        kinds = {"mathml": "<math", "svg": "<svg"}
        chapter.properties = [kind for kind, tag in kinds.items() if tag in xhtml]
        chapters[name] = chapter
        book.add_item(chapter)
    for number, file in enumerate(sorted(files)):
        kind = {".svg": "image/svg+xml", ".png": "image/png"}[Path(file).suffix]
        book.add_item(epub.EpubItem(f"image-{number}", file, kind, (BUILD / file).read_bytes()))
    book.spine = list(chapters.values())
    for part in parts:
        pages = [chapters[each.id] for each in part.pages]
        book.toc += [(epub.Section(part.caption), pages)] if part.caption else pages
    book.add_item(nav := epub.EpubNav())
    nav.add_item(style)
    book.add_item(epub.EpubNcx())
    return book


def read_css() -> str:
    """Return the EPUB's style sheet: its own and the colors of code."""
    pygments = (BUILD / "html" / "_static" / "pygments.css").read_text(encoding="utf-8")
    return (TOOLS / "epub.css").read_text(encoding="utf-8") + pygments


def light_colors() -> dict[str, str]:
    """Return the colors of figures on a light page, which the site's style sheet sets first."""
    css = (BUILD / "html" / "_static" / "book.css").read_text(encoding="utf-8")
    return {"paper": "#fff"} | dict(reversed(re.findall(r"--figure-([\w-]+): (#\w+);", css)))


def link_downloads() -> None:
    """Copy both files into the site, and link them below the landing page's title."""
    landing = BUILD / "html" / LANDING
    links = []
    for kind in ("pdf", "epub"):
        file = shutil.copy(BUILD / f"{NAME}.{kind}", BUILD / "html")
        size = Path(file).stat().st_size / 1e6
        links.append(f'<a href="../{NAME}.{kind}">{kind.upper()}</a> ({size:.1f} MB)')
    line = f'</h1>\n<p id="downloads">Download the whole book: {" or ".join(links)}.</p>'
    html = re.sub(r'\n<p id="downloads">.*</p>', "", landing.read_text(encoding="utf-8"))
    article, rest = html.split('<article class="bd-article">')
    rest = rest.replace("</h1>", line, 1)
    landing.write_text(f'{article}<article class="bd-article">{rest}', encoding="utf-8")


def main() -> None:
    """Write the combined page, the PDF and the EPUB."""
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if chromium is None:
        sys.exit("needs Chromium or Chrome on the PATH")
    config = yaml.safe_load((BUILD.parent / "_config.yml").read_text(encoding="utf-8"))
    about = config["title"], config["author"]
    parts = parts_of_the_book()
    combined = BUILD / f"{NAME}.html"
    combined.write_text(combine(parts, *about), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = typeset(browser, combined)
        write_pdf(page, BUILD / f"{NAME}.pdf", about[1])
        epub.write_epub(str(BUILD / f"{NAME}.epub"), ebook(page, parts, *about))
        browser.close()
    link_downloads()


if __name__ == "__main__":
    main()
