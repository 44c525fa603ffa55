"""`python book/tools/paths.py` writes reading times into the landing page and the paths' page.

In a line that links to chapters, pages, or sections of them, "N min", "N minutes" or "N hours" is
the time to read all of these. A section ends at the next heading. A link to a path stands for the
links in its table, and so does a time in a line of the path that has no link. Reading takes one
minute for 200 words and 20 seconds for each equation on a line of its own, each block of code in a
page, and each cell of a notebook that has an output.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from docutils.nodes import make_id
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

BOOK = Path(__file__).parents[1]
PATHS, INDEX = BOOK / "paths.md", BOOK / "index.md"
MARKDOWN = MarkdownIt().enable("table").use(dollarmath_plugin)
LINK = re.compile(r"\]\(([^):]+\.(?:ipynb|md))(?:#([\w-]+))?\)")
LOOKED_AT = "fence", "math_block", "math_block_label"
STATED = re.compile(r"[\d.]+(\s(?:min|minutes|hours))\b")
Part = tuple[str, int, str]  # a section's anchor, words, and what takes a look: code or an equation


@cache
def parts(path: Path) -> list[Part]:
    """What there is to read in a notebook or page, in order."""
    text = path.read_text(encoding="utf-8")
    cells = [{"cell_type": "markdown", "source": [text]}]
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
    found, anchor = [], ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            found += [(anchor, 0, source)] * bool(cell["outputs"])
            continue
        kind = ""
        for token in MARKDOWN.parse(source):
            if token.type == "inline":
                if kind == "heading_open":
                    anchor = make_id(token.content)
                words = " ".join(each.content or " " for each in token.children).split()
                found.append((anchor, sum(bool(re.search(r"\w", word)) for word in words), ""))
            elif token.type in LOOKED_AT and not token.info.startswith("{"):  # no directive
                found.append((anchor, 0, token.content))
            kind = token.type
    return found


def linked(text: str) -> Iterator[Part]:
    """What a reader reads who follows all links of the text."""
    for file, anchor in LINK.findall(text):
        path = (BOOK / file).resolve()
        if path == PATHS and anchor:
            yield from linked(path_of(anchor))
            continue
        those = [part for part in parts(path) if anchor in ("", part[0])]
        if not those:
            raise ValueError(f"{path.name} has no section {anchor!r}")
        yield from those


def path_of(anchor: str) -> str:
    """The table of the path with this anchor."""
    for section in sections():
        if make_id(section.partition("\n")[0]) == anchor:
            return "\n".join(re.findall(r"(?m)^\|.*", section))
    raise ValueError(f"{PATHS.name} has no path {anchor!r}")


def sections() -> list[str]:
    """The page of the paths in parts that begin with a heading."""
    return re.split(r"(?m)^(?=## )", PATHS.read_text(encoding="utf-8"))


def minutes(text: str) -> float:
    """How long it takes to read all that the text links to."""
    return sum(words / 200 + bool(look) / 3 for _, words, look in linked(text))


def stated(text: str) -> str:
    """The text with its times computed; a time in a line without links is that of all its lines."""

    def computed(line: str) -> str:
        time = minutes(line if LINK.search(line) else "\n".join(re.findall(r"(?m)^\|.*", text)))
        hours = f"{round(time / 30) / 2:g}"
        return STATED.sub(lambda m: (hours if "hours" in m[1] else f"{time:.0f}") + m[1], line)

    return "\n".join(computed(line) if STATED.search(line) else line for line in text.split("\n"))


def main() -> None:
    """Write the times into the pages."""
    PATHS.write_text("".join(map(stated, sections())), encoding="utf-8")
    INDEX.write_text(stated(INDEX.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
