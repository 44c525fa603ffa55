"""The built pages as a reader meets them: whole offline, without errors, accessible, on a phone."""

import base64
import functools
import gzip
import http.server
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from bs4 import BeautifulSoup

from built import BOOK, PAGES, visiting
from tutorial_lib.plotting.style import TINTS

LOADED = "script[src], img[src], iframe[src], source[src], link[href]:not([rel=next], [rel=prev])"
STAND_INS = {"narrow": ("MathJax_Main-Regular", 70), "wide": ("MathJax_Typewriter-Regular", 140)}
LAYOUTS = [("screen", 360), ("screen", 1280), ("print", 680)]  # the last is A4 without its margins
pytestmark = pytest.mark.skipif(not PAGES, reason="needs the built book: make book")


@functools.cache
def read(path):
    return BeautifulSoup(path.read_text(), "html.parser")


@functools.cache
def anchors(path):
    return {"top"} | {tag["id"] for tag in read(path).select("[id]")}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_is_whole_and_every_picture_is_described(page):
    """Nothing comes from another host, no link is broken, no default value names a path here."""
    path, soup = BOOK / page, read(BOOK / page)
    assert str(BOOK.parents[1]) not in path.read_text()
    loaded = [tag.get("src") or tag.get("href") for tag in soup.select(LOADED)]
    assert [address for address in loaded if urlsplit(address).netloc] == []
    described = [picture.get("alt") for picture in soup.select("img")]
    described += [figure.get("aria-label") for figure in soup.select("svg.inline-figure")]
    assert all(text and not text.endswith((".png", ".svg")) for text in described)
    ids = [tag["id"] for tag in soup.select("svg.inline-figure, svg.inline-figure [id]")]
    assert len(ids) == len(set(ids)), "a figure would be drawn with parts of another"
    elsewhere = ".logo__image, .sd-card *, .dropdown-menu *"
    assert not soup.select(f"img[src$='.svg' i]:not({elsewhere})"), "in colors of its own"
    links = (urlsplit(unquote(link["href"])) for link in soup.select("a[href]"))
    for link in (link for link in links if not (link.scheme or link.netloc)):
        target = path.parent / link.path if link.path else path
        assert target.exists(), link
        assert not link.fragment or link.fragment in anchors(target), link


def test_the_site_is_light():
    files = [path for path in BOOK.rglob("*") if path.suffix not in {".pdf", ".epub"}]
    total = sum(path.stat().st_size for path in files if path.is_file())
    assert total < 40e6, f"the whole site has {total / 1e6:.1f} MB"


# In the browser.


@pytest.fixture(scope="module", params=PAGES, ids=str)
def opened(request, browser):
    """A page from the disk, its mathematics typeset, with all that is folded unfolded."""
    with visiting(browser) as visit:
        opened = visit((BOOK / request.param).as_uri(), is_mobile=True)  # no scroll bar beside it
        formulas = opened.locator(".math").count()
        opened.wait_for_function(f"document.querySelectorAll('mjx-container').length >= {formulas}")
        opened.evaluate("async () => { await window.MathJax?.startup?.promise }")  # all read aloud
        assert opened.locator("mjx-merror").count() == 0
        opened.add_script_tag(path=Path(__file__).with_name("pages.js"))
        opened.evaluate("unfold()")
        opened.add_style_tag(content="* { transition: none !important }")  # no color on its way
        yield opened


def test_nothing_is_cut_on_a_phone_a_screen_or_paper_in_any_font(opened):
    """In its own fonts, a narrow and a wide one; formulas and tables may scroll on a screen."""
    for name, (file, percent) in STAND_INS.items():
        data = base64.b64encode(next(BOOK.rglob(f"{file}.woff")).read_bytes()).decode()
        source = f"src: url(data:font/woff;base64,{data}); size-adjust: {percent}%"
        opened.add_style_tag(content=f"@font-face {{ font-family: {name}; {source} }}")
        opened.evaluate("(name) => document.fonts.load(`1em ${name}`)", name)
    cut = {}
    for font in ["inherit", *STAND_INS]:
        style = f":not(i, mjx-container *) {{ font-family: {font} !important }}"
        forced = opened.add_style_tag(content=style if font != "inherit" else "/* its own */")
        for media, width in LAYOUTS:
            opened.emulate_media(media=media)
            opened.set_viewport_size({"width": width, "height": 740})
            if found := opened.evaluate("(media) => tooWide(media)", media):
                cut[font, media, width] = found[:5]
        forced.evaluate("(style) => style.remove()")
    assert not cut


def test_the_text_of_figures_can_be_read_on_a_phone(opened):
    opened.emulate_media(media="screen")
    opened.set_viewport_size({"width": 360, "height": 740})
    assert [text for text in opened.evaluate("figureTexts()") if text[0] < 8.99] == []


def test_a_page_is_accessible_and_printed_in_black_on_white(opened):
    """In a light and a dark theme; exempt are the list items of Sphinx's bibliography."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    axe.axe_script += "; rememberColors(axe.commons.color)"
    opened.evaluate("keepOneTokenOfEachClass()")
    opened.set_viewport_size({"width": 1280, "height": 720})
    serious = {}
    for theme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        opened.emulate_media(media="screen", color_scheme=theme)
        options = {"resultTypes": ["violations"], "preload": False, **rules}
        for found in axe.run(opened, options=options).response["violations"]:
            own = found["id"] == "aria-required-children" and "bibliography" in opened.url
            if found["impact"] in ("serious", "critical") and not own:
                serious[theme, found["id"]] = [node["target"] for node in found["nodes"]][:5]
    assert not serious
    assert opened.evaluate("ink()") != ["rgb(0, 0, 0) on rgba(0, 0, 0, 0)"]
    opened.emulate_media(media="print")
    assert opened.evaluate("ink()") == ["rgb(0, 0, 0) on rgba(0, 0, 0, 0)"]


def contrast(color, ground):
    """By WCAG's formula, of two colors of three numbers up to 255."""
    light = []
    for parts in (color, ground):
        linear = [((x / 255 + 0.055) / 1.055) ** 2.4 if x > 10 else x / 3295 for x in parts]
        light.append(np.dot(linear, [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_have_enough_contrast_in_either_theme(theme, visit):
    opened = visit((BOOK / "notebooks/07_is_it_fused.html").as_uri(), color_scheme=theme)
    opened.add_script_tag(path=Path(__file__).with_name("pages.js"))
    colors = {name: np.array(color) for name, color in opened.evaluate("figureColors()").items()}
    paper, ink = colors["paper"], colors["ink"]
    assert (contrast(paper, [0, 0, 0]) < 2) == (theme == "dark"), "no light plate"
    for name in ("ink", "blue", "orange", "grey", "line"):
        assert contrast(colors[name], paper) >= 4.5, name
    for name in ("pale-blue", "pale-orange", "pale-grey"):
        assert contrast(ink, colors[name]) >= 4.5, name
    for end in (0.0, 1.0):  # of the tints of cells, which lie on paper
        opacity = TINTS(end)[3]
        hue = colors["orange" if end else "blue"]
        assert contrast(ink, opacity * hue + (1 - opacity) * paper) >= 4.5, end


@pytest.fixture
def server():
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(BOOK))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.mark.parametrize("page", ["book/index.html", "notebooks/03_gradients.html"])
def test_a_first_page_is_light_over_the_wire(page, server, visit):
    """A server such as GitHub Pages sends each file gzipped."""
    opened = visit(server + page)
    opened.wait_for_timeout(500)  # for what scripts load
    loaded = opened.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    paths = {unquote(urlsplit(address).path).lstrip("/") for address in [page, *loaded]}
    sent = sum(len(gzip.compress((BOOK / path).read_bytes())) for path in paths)
    assert len(paths) > 10
    assert sent < 1.5e6, f"{page} costs {sent / 1e6:.2f} MB"


def test_a_solution_is_folded_on_the_screen_and_open_on_paper(visit):
    opened = visit((BOOK / "notebooks" / "10_your_own_epilog.html").as_uri())
    solutions = opened.locator("details.solution")
    titles = solutions.locator("summary").all_inner_texts()
    assert titles == [f"Solution of exercise 10.{i}" for i in (1, 2, 3)]
    assert opened.locator("details.solution .cell").count() == 3
    assert not opened.locator("details.solution[open]").count()
    assert opened.locator("p", has_text="Exercise 10.2:").is_visible(), "not folded with the first"
    opened.emulate_media(media="print")
    opened.wait_for_function("document.querySelectorAll('details.solution[open]').length == 3")


def test_search_finds_an_epilog(server, visit):
    opened = visit(server + "search.html?q=DRELU")
    opened.wait_for_selector("#search-results li a")
    assert "epilog" in " ".join(opened.locator("#search-results li a").all_inner_texts())
