"""`python book/tools/atlas.py` writes book/epilogs.md and book/_static/epilogs/*.svg anew.

The words are in entries.yaml and in the two templates; the facts come from running the reference.
"""

import contextlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from facts import K_BACKWARD, Arrays, K, M, N, find
from tutorial_lib import results
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog

TOOLS = Path(__file__).parent
BOOK = TOOLS.parent
IMPORT = "from tutorial_lib.backend import MatmulEpilog, matmul, xp"
ENTRIES = yaml.safe_load((TOOLS / "entries.yaml").read_text(encoding="utf-8"))


def run(code: str) -> str:
    """What the code prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue().rstrip()


@cache
def section(epilog: MatmulEpilog) -> dict[str, Any]:
    """What the templates show of one epilog."""
    entry, found = ENTRIES[epilog.name], find(epilog)
    example = "\n".join([IMPORT, *entry["example"]])
    return {
        **entry,
        **found,
        "epilog": epilog,
        "slug": epilog.name.lower().replace("_", "-"),
        "alt": describe(epilog, found),
        "bits": [1 << i for i in reversed(range(epilog.bit_length())) if epilog >> i & 1],
        "example": example,
        "output": run(example),
    }


def describe(epilog: MatmulEpilog, found: dict[str, Any]) -> str:
    """The picture in words: its alternative text."""
    steps = [
        f"{epilog.name}, top to bottom: {' and '.join(named(found['operands']))} enter the matmul"
    ]
    for stage in found["stages"]:
        does = [f"reads {name}" for name in named(stage["reads"])]
        does += [f"leaves {name}" for name in named(stage["leaves"])]
        steps.append(f"then {stage['name']}" + ", which " * bool(does) + " and ".join(does))
    return "; ".join([*steps, f"the result is d {found['result'].shape}."])


def named(arrays: Arrays) -> list[str]:
    """Each array by its name and shape."""
    return [f"{name} {x.shape}" for name, x in arrays.items()]


def in_memory(arrays: Arrays) -> str:
    """Each array's name, shape, dtype and strides, which count elements."""
    described = []
    for name, x in arrays.items():
        strides = tuple(stride // x.itemsize for stride in x.strides)
        described.append(f"`{name}` {x.shape}, {x.dtype}, strides {strides}")
    return "; ".join(described) or "none"


def files() -> dict[Path, str]:
    """Every file of the atlas, by its path, as it should be."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TOOLS),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    sections = [section(epilog) for epilog in MatmulEpilog]
    shared = {"M": M, "K": K, "N": N, "K_BACKWARD": K_BACKWARD, "epilogs": epilogs}
    shared |= {"in_memory": in_memory, "record": results.load("conformance")}
    page = templates.get_template("epilogs.md.jinja").render(shared, sections=sections)
    picture = templates.get_template("epilog.svg.jinja")
    folder = BOOK / "_static" / "epilogs"
    pictures = {folder / f"{each['slug']}.svg": picture.render(each) for each in sections}
    return {BOOK / "epilogs.md": page} | pictures


def main() -> None:
    """Write the files."""
    made = files()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    print(f"Written: {len(made)} files in book/")


if __name__ == "__main__":
    main()
