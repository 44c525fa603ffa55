"""Headless Chromium over the built book: ``_build/html``, or the folder that `BOOK_HTML` names."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BOOK = Path(os.environ.get("BOOK_HTML") or Path(__file__).parents[2] / "_build" / "html").resolve()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
LISTER = shutil.which("fc-list")
FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS = [f"--{flag}" for flag in f"{FLAGS} disable-component-update disable-sync".split()]
UNWANTED = ["--hide-scrollbars"]  # Playwright's own: a reader sees them
PAGES = sorted(
    p.relative_to(BOOK) for f in ("book", "notebooks") for p in (BOOK / f).rglob("*.html")
)

# Fonts that every machine has: two of MathJax's, which the book carries, at another size.
STAND_INS = {"narrow": ("MathJax_Main-Regular", 70), "wide": ("MathJax_Typewriter-Regular", 140)}
MEASURE = """async (families) => {
  await Promise.all(families.map((family) => document.fonts.load(`1em ${family}`)));
  const pen = document.createElement("canvas").getContext("2d");
  const sample = "abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  return families.map((family) => {
    pen.font = `100px ${family}`;
    return pen.measureText(sample).width / sample.length;
  });
}"""


def need_book() -> None:
    """Skip where the book has not been built."""
    if not PAGES:
        pytest.skip(f"needs the built book: make book (there is none in {BOOK})")


def installed_fonts() -> set[str]:
    """The families that fontconfig lists, as CSS writes them."""
    listed = subprocess.check_output([LISTER, ":", "family"], text=True)
    return {json.dumps(name) for name in listed.replace("\n", ",").split(",") if name}


@contextlib.contextmanager
def chromium() -> Iterator:
    """The browser, or a skip that says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the PATH, from Debian: apt-get install chromium")
    if LISTER and not installed_fonts():
        pytest.skip("Chromium needs a font, from Debian: apt-get install fonts-dejavu-core")
    need_book()
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, ignore_default_args=UNWANTED
        )
        yield browser
        browser.close()


def extreme_fonts(page) -> list[str]:
    """The narrowest and the widest font, as CSS writes them, of the stand-ins and the installed.

    `page` is an open page of the book; it gets the stand-ins.
    """
    for name, (file, percent) in STAND_INS.items():
        data = base64.b64encode(next(BOOK.rglob(f"{file}.woff")).read_bytes()).decode()
        source = f"src: url(data:font/woff;base64,{data}); size-adjust: {percent}%"
        page.add_style_tag(content=f"@font-face {{ font-family: {name}; {source} }}")
    families = {*STAND_INS, *(installed_fonts() if LISTER else ())}
    widths = dict(zip(families, page.evaluate(MEASURE, list(families))))
    assert widths["narrow"] < 45 < 70 < widths["wide"], "the stand-ins were not loaded"
    return [min(widths, key=widths.get), max(widths, key=widths.get)]
