"""Headless Chromium over the built book: ``_build/html``, or the folder that `BOOK_HTML` names."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

BOOK = Path(os.environ.get("BOOK_HTML") or Path(__file__).parents[2] / "_build" / "html").resolve()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS = [f"--{flag}" for flag in f"{FLAGS} disable-component-update disable-sync".split()]
PAGES = sorted(
    p.relative_to(BOOK) for f in ("book", "notebooks") for p in (BOOK / f).glob("*.html")
)


def need_book() -> None:
    """Skip where the book has not been built."""
    if not PAGES:
        pytest.skip(f"needs the built book: make book (there is none in {BOOK})")


@contextlib.contextmanager
def chromium() -> Iterator:
    """The browser, or a skip that says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the PATH, from Debian: apt-get install chromium")
    need_book()
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
