"""Takes off each page what the theme adds and this book does not use; adds links to its source.

Each page links the repository, and a notebook opens in Colab or Binder. This needs a public
repository, OWNER/NAME, in the environment variable `BOOK_REPOSITORY`, which the publishing workflow
sets; else there are no such buttons.

What is taken off:

- sphinx-thebe's scripts, added twice, which would run code on a server elsewhere;
- Font Awesome's script (1.5 MB): its style sheet draws the same icons from fonts;
- source maps, which only the theme's authors need;
- a second label on the search button, other than the text that it shows.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

UNUSED = (
    r"<script[^>]*>const THEBE_JS_URL[^<]*</script>\n?",
    r'<script type="text/x-thebe-config">.*?</script>\n?',
    r"<script[^>]*sphinx-thebe[^>]*></script>\n?",
    r"<link[^>]*sphinx-thebe[^>]*/>\n?",
    r"<script[^>]*/scripts/fontawesome\.js[^>]*></script>\n?",
    r'(?<=title="Search") aria-label="Search"(?=[^>]*>\s*<i[^>]*></i>\s*<span)',
)
DESCRIPTION = r'<meta [^>]*(?:"og:|"twitter:|"description")[^>]*>'


def add_launch_buttons(app: Sphinx, config: Config) -> None:
    """Point the theme at the repository, and at its branch of notebooks that need nothing else."""
    if repository := os.environ.get("BOOK_REPOSITORY"):
        owner, name = repository.split("/")
        config.ogp_site_url = f"https://{owner.lower()}.github.io/{name}/"  # for previews of links
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{repository}",
            "repository_branch": "launch",
            "use_repository_button": True,
            "launch_buttons": {
                "colab_url": "https://colab.research.google.com",
                "notebook_interface": "jupyterlab",
                "binderhub_url": "https://mybinder.org",
            },
        }


def strip_pages(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages once all are written; describe the root, a redirect, like its target."""
    if exception or app.builder.format != "html":
        return
    unused = re.compile("|".join(UNUSED), re.DOTALL)
    for page in Path(app.outdir).rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        page.write_text(unused.sub("", html), encoding="utf-8")
    root, landing = (Path(app.outdir) / name for name in ("index.html", "book/index.html"))
    described = re.findall(DESCRIPTION, landing.read_text(encoding="utf-8"))
    root.write_text("\n".join([root.read_text(encoding="utf-8"), *described]), encoding="utf-8")
    static = Path(app.outdir) / "_static"
    for file in [*static.glob("scripts/fontawesome.js"), *static.rglob("*.map")]:
        file.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""
    app.connect("config-inited", add_launch_buttons)
    app.connect("build-finished", strip_pages, priority=900)  # after the root is written
    return {"parallel_read_safe": True, "parallel_write_safe": True}
