"""What the tests of the book share: headless Chromium, and pages opened in it."""

import contextlib
import shutil
import subprocess

import pytest

from built import need_book

FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS = [f"--{flag}" for flag in f"{FLAGS} disable-component-update disable-sync".split()]
UNWANTED = ["--hide-scrollbars"]  # Playwright's own: a reader sees them
LOCAL = ("file:", "data:", "blob:", "http://127.0.0.1:")


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
    """Opens an address; at the end no page has complained, or asked another host for anything."""
    trouble = []
    with contextlib.ExitStack() as contexts:

        def open_page(address, **options):
            context = browser.new_context(**options)
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(10_000)
            page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("requestfailed", lambda r: trouble.append(f"failed: {r.url}"))
            page.on("request", lambda r: None if r.url.startswith(LOCAL) else trouble.append(r.url))
            page.goto(address)
            page.wait_for_load_state("load")
            return page

        yield open_page
    assert trouble == []
