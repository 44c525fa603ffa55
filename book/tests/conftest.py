"""What the tests of the book share: headless Chromium, and pages opened in it."""

import shutil
import subprocess

import pytest

from built import need_book, visiting

FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS = [f"--{flag}" for flag in f"{FLAGS} disable-component-update disable-sync".split()]
UNWANTED = ["--hide-scrollbars"]  # Playwright's own: a reader sees them


@pytest.fixture(scope="session")
def browser():
    """The browser, or a skip that says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs Chromium on the PATH, from Debian: apt-get install chromium")
    if shutil.which("fc-list") and not subprocess.check_output(["fc-list"]):
        pytest.skip("Chromium needs a font, from Debian: apt-get install fonts-dejavu-core")
    need_book()
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=FLAGS, ignore_default_args=UNWANTED)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    with visiting(browser) as open_page:
        yield open_page
