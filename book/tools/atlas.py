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
from tutorial_lib.benchmarks.case import ARITHMETICS
from tutorial_lib.benchmarks.profiler import role
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog

TOOLS = Path(__file__).parent
BOOK = TOOLS.parent
IMPORT = "from tutorial_lib.backend import MatmulEpilog, matmul, xp"
WIDE = (8192, N, K)  # where kernels are compared
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
        "launched": launched(epilog, found["operands"]["a"].shape[1]),
        "slug": epilog.name.lower().replace("_", "-"),
        "alt": describe(epilog, found),
        "bits": [1 << i for i in reversed(range(epilog.bit_length())) if epilog >> i & 1],
        "example": example,
        "output": run(example),
    }


@cache
def counted() -> dict[tuple[Any, ...], list[str]]:
    """What each kernel of a call does, by epilog, arithmetic and size, without memsets."""
    roles = {}
    for call in results.load("kernels")["calls"]:
        epilog = MatmulEpilog[call["epilog"] or "DEFAULT"]
        case = epilog, call["arithmetic"], (call["m"], call["n"], call["k"])
        roles[case] = [role(kernel["name"]) for kernel in call["kernels"]]
    return {case: [what for what in all_ if what != "memset"] for case, all_ in roles.items()}


def launched(epilog: MatmulEpilog, k: int) -> dict[tuple[int, ...], dict[str, list[str]]]:
    """What each kernel does, by size and arithmetic: at `WIDE`, and at `k` with fewer units too."""
    sizes = dict.fromkeys([WIDE, *((m, N, k) for m in (8192, 512, M))])
    return {size: {a: counted()[epilog, a, size] for a in ARITHMETICS} for size in sizes}


def alike(by_arithmetic: dict[str, list[str]]) -> str:
    """The kernels in words, with the arithmetics that launch the same ones side by side."""
    groups: dict[str, list[str]] = {}
    for arithmetic, roles in by_arithmetic.items():
        name = arithmetic.replace("tf32", "TF32")
        groups.setdefault(" + ".join(roles), []).append(name)
    return "; ".join(f"{', '.join(names)}: {kernels}" for kernels, names in groups.items())


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
    shared |= {"alike": alike, "WIDE": WIDE, "kernels": results.load("kernels")}
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
