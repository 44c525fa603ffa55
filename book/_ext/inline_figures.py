"""Puts SVG figures into the page itself, where they take the colors of its theme.

A browser shows a file as an image in the file's own colors, and the theme lays a light plate behind
it on a dark page. Inlined, a color of the book becomes a property that book.css sets for light and
for dark pages. Ids and style rules are made those of the one figure.
"""

import html
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

# The names are those in book.css; what else is drawn keeps its color.
COLORS = {
    "#2a6f97": "blue",
    "#b8551f": "orange",
    "#666c76": "grey",
    "#cfe1ec": "pale-blue",
    "#f0d3c0": "pale-orange",
    "#d5d8dd": "pale-grey",
    "#5b626d": "line",
    "#22272e": "ink",
    "#000000": "ink",
    "#ffffff": "paper",
    "#fff": "paper",
}
COLOR = re.compile(rf"({'|'.join(COLORS)})\b")
UNUSED = re.compile(r"<(metadata|title|desc)\b.*?</\1>|<!--.*?-->", re.DOTALL)
IDS = re.compile(r'((?<=\s)id="|url\(#|href="#)')


def inline(svg: str, name: str, alt: str) -> str:
    """The element to stand in a page, in which `name` is unique, described by `alt`."""
    head, body = re.search(r"<svg\b(.*?)>(.*)", svg, re.DOTALL).groups()
    body = IDS.sub(rf"\g<1>{name}-", UNUSED.sub("", body))
    body = re.sub(r"(<style.*?>)(.*?)</style>", rf"\1#{name} {{\2}}</style>", body, flags=re.DOTALL)
    head = re.sub(r'(role|aria-\S+|height|id)="[^"]*"', "", head)  # as wide as there is room
    head += f' id="{name}" class="inline-figure" role="img" aria-label="{html.escape(alt)}"'
    return COLOR.sub(lambda found: f"var(--figure-{COLORS[found[0]]})", f"<svg{head}>{body}")


class InlineFigures(SphinxPostTransform):
    """Replaces images that are SVG, of notebooks and of pages, by what they show."""

    default_priority = 900  # after the outputs of notebooks have become images
    formats = ("html",)

    def run(self, **_: object) -> None:
        """Sphinx calls this for each page."""
        for i, image in enumerate(list(self.document.findall(nodes.image)), 1):
            path = Path(self.app.srcdir, image["uri"])
            if path.suffix == ".svg":
                name = f"figure-{Path(self.env.docname).name}-{i}"  # one of its kind in print, too
                svg = inline(path.read_text(encoding="utf-8"), name, image.get("alt", ""))
                image.replace_self(nodes.raw("", svg, format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""
    app.add_post_transform(InlineFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
