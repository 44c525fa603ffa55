"""Before each build, sphinx-apidoc writes a page for each package of `tutorial_lib` to book/api."""

import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext import apidoc

BOOK = Path(__file__).parents[1]
# No pages for the tests, and none for what is only run: a contestant of the ladder, a command.
LEFT_OUT = "tests", "benchmarks/*_peer.py", "benchmarks/rung.py", "benchmarks/readme.py"


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension, before it looks for pages."""
    pages, package = BOOK / "api", BOOK.parent / "tutorial_lib"
    shutil.rmtree(pages, ignore_errors=True)  # those of packages that have gone
    template = str(Path(__file__).with_name("apidoc"))
    options = ["--no-toc", "--templatedir", template, "-q", "--output-dir", str(pages)]
    apidoc.main([*options, str(package), *(str(package / name) for name in LEFT_OUT)])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
