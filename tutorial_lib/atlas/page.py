"""The atlas's page, put together from `entries` and `facts`."""

import contextlib
import io
from functools import cache
from typing import Any

from tutorial_lib import results
from tutorial_lib.atlas import facts, picture
from tutorial_lib.atlas.entries import ENTRIES
from tutorial_lib.atlas.words import BITS, OPENING, SECTION
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog

find = cache(facts.find)


def write() -> str:
    """The whole page, as Markdown."""
    values = {
        "count": len(MatmulEpilog),
        "conformance": _conformance(),
        "m": facts.M,
        "n": facts.N,
        "k": facts.K,
        "k_backward": facts.K_BACKWARD,
        "mask_rows": epilogs.MASK_ROWS,
        "gelu_rows": epilogs.GELU_ROWS,
        "overview": _overview(),
        "bits": _bits(),
    }
    return OPENING % values + "".join(_section(epilog) for epilog in MatmulEpilog)


def slug(epilog: MatmulEpilog) -> str:
    """The epilog's name in file names and labels: ``relu-aux-bias``."""
    return epilog.name.lower().replace("_", "-")


def run(code: str) -> str:
    """What the code prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue().rstrip()


def _record() -> dict[str, Any] | None:
    try:
        return results.load("conformance")
    except FileNotFoundError:
        return None


def _conformance() -> str:
    record = _record()
    if record is None:
        return (
            "The reference has been held against nvmath's own planning code, "
            "but not yet against cuBLASLt on a GPU."
        )
    number = record["cublaslt"]
    return (
        f"The reference has been held against cuBLASLt {number // 10000}.{number // 100 % 100} on "
        f"{record['machine']}, in {record['matmul']['cases']:,} cases. Each entry says with what "
        "result; to disagree is to deviate by more than rounding, or to refuse alone."
    )


def _conformance_row(epilog: MatmulEpilog) -> list[tuple[str, str]]:
    """How many cases the reference and cuBLASLt computed alike, refused alike, and did not."""
    if (record := _record()) is None:
        return []
    counts = record["matmul"]["per_epilog"][epilog.name]
    text = f"{counts['computed']:,} cases computed alike, {counts['refused']:,} refused alike"
    text += f", {counts['disagree']:,} disagree" * bool(counts["disagree"])
    text += f"; largest deviation {counts['worst_deviation']:.1e}" * bool(counts["worst_deviation"])
    return [("on a GPU", text)]


def _overview() -> str:
    rows = [("epilog", "in → out", "result")]
    for epilog in MatmulEpilog:
        found = find(epilog)
        inputs, outputs = (", ".join(arrays) or "none" for arrays in (found.inputs, found.outputs))
        order = "column-major" if found.always_column_major else "order of `a`"
        if epilog not in epilogs.STAGES:
            order = "refused by nvmath 1.0"
        rows.append(
            (f"{{ref}}`{epilog.name} <epilog-{slug(epilog)}>`", f"{inputs} → {outputs}", order)
        )
    return _table(rows)


def _bits() -> str:
    rows = [("bit", "meaning", "members")]
    for bit in (1 << i for i in range(max(MatmulEpilog).bit_length())):
        members = ", ".join(epilog.name for epilog in MatmulEpilog if epilog & bit)
        rows.append((str(bit), BITS[bit], members))
    return _table(rows)


def _section(epilog: MatmulEpilog) -> str:
    entry, found = ENTRIES[epilog], find(epilog)
    example = entry.example(epilog.name)
    return SECTION % {
        "slug": slug(epilog),
        "name": epilog.name,
        "formula": entry.formula,
        "use": entry.use,
        "alt": picture.describe(epilog, found),
        "table": _facts_table(epilog, found),
        "example": example,
        "output": run(example),
    }


def _facts_table(epilog: MatmulEpilog, found: facts.Facts) -> str:
    bits = [str(1 << i) for i in reversed(range(epilog.bit_length())) if epilog >> i & 1]
    number = str(int(epilog)) + (" = " + " + ".join(bits)) * (len(bits) > 1)
    module = epilogs.__name__
    stages = ", ".join(f"{{py:func}}`{s.name} <{module}.{s.name}>`" for s in found.stages)
    k = found.operands["a"].shape[1]
    rows = [
        ("sizes", f"M = {facts.M}, K = {k}, N = {facts.N}"),
        ("number", number),
        ("stages", stages or "none"),
        ("extra inputs", _arrays(found.inputs)),
        ("result", _arrays({"d": found.result})),
        ("its order", "always column-major" if found.always_column_major else "that of `a`"),
        ("extra outputs", _arrays(found.outputs)),
        ("refused", "; ".join(found.refusals) or "none of the cases tried"),
        *_conformance_row(epilog),
    ]
    return _table(rows)


def _arrays(arrays: facts.Arrays) -> str:
    described = []
    for name, x in arrays.items():
        strides = tuple(stride // x.itemsize for stride in x.strides)
        described.append(f"`{name}` {x.shape}, {x.dtype}, strides {strides}")
    return "; ".join(described) or "none"


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
