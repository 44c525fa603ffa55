"""The atlas's pictures: an epilog as a column of boxes, from the operands to the result."""

from xml.sax.saxutils import escape

from tutorial_lib.atlas import facts
from tutorial_lib.reference.epilogs import MatmulEpilog

BLUE, ORANGE, INK, GRAY = "#2a6f97", "#b8551f", "#22272e", "#5b626d"  # those of fusion.svg
WIDTH, MIDDLE, LEFT, RIGHT = 340, 170, 114, 226  # of the picture, and of a box


def describe(epilog: MatmulEpilog, found: facts.Facts) -> str:
    """The picture in words: its alternative text."""
    operands = " and ".join(_named(found.operands))
    steps = [f"{epilog.name}, top to bottom: {operands} enter the matmul"]
    for stage in found.stages:
        does = [f"reads {name}" for name in _named(stage.reads)]
        does += [f"leaves {name}" for name in _named(stage.leaves)]
        steps.append(f"then {stage.name}" + ", which " * bool(does) + " and ".join(does))
    return "; ".join([*steps, f"the result is d {found.result.shape}."])


def draw(epilog: MatmulEpilog, found: facts.Facts) -> str:
    """The picture as SVG. A filled stage changes the result, an outlined one only looks at it."""
    height = 188 + 56 * len(found.stages)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="Segoe UI, Helvetica, Arial, sans-serif" '
        f'font-size="14" fill="{INK}" text-anchor="middle">',
        f"<title>{escape(describe(epilog, found))}</title>",
        '<defs><marker id="m" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{GRAY}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#fff"/>',
    ]
    for name, x in zip(_named(found.operands), (105, 235)):
        parts.append(f'<text x="{x}" y="28">{name}</text>')
    parts += [_arrow(105, 36, 145, 62), _arrow(235, 36, 195, 62), _box(64, "matmul", BLUE)]
    y = 64
    for stage in found.stages:
        parts.append(_arrow(MIDDLE, y + 36, MIDDLE, y + 54))
        y += 56
        parts.append(_box(y, stage.name, ORANGE, filled=stage.changes))
        for names, x, start, end in (
            (stage.reads, 54, 94, LEFT - 2),
            (stage.leaves, 288, RIGHT, RIGHT + 16),
        ):
            for name, array in names.items():
                parts.append(_arrow(start, y + 18, end, y + 18))
                parts.append(f'<text x="{x}" y="{y + 14}">{name}</text>')
                parts.append(f'<text x="{x}" y="{y + 31}">{array.shape}</text>')
    parts.append(_arrow(MIDDLE, y + 36, MIDDLE, y + 54))
    order = "always column-major" if found.always_column_major else "in the order of a"
    parts.append(f'<text x="{MIDDLE}" y="{y + 74}" font-weight="600">d {found.result.shape}</text>')
    parts.append(f'<text x="{MIDDLE}" y="{y + 94}">{order}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _named(arrays: facts.Arrays) -> list[str]:
    return [f"{name} {x.shape}" for name, x in arrays.items()]


def _arrow(x1: int, y1: int, x2: int, y2: int) -> str:
    line = f'stroke="{GRAY}" stroke-width="1.8" marker-end="url(#m)"'
    return f'<path d="M{x1} {y1}L{x2} {y2}" {line}/>'


def _box(y: int, name: str, color: str, *, filled: bool = True) -> str:
    fill, ink = (color, "#fff") if filled else ("#fff", color)
    return (
        f'<rect x="{LEFT}" y="{y}" width="{RIGHT - LEFT}" height="36" rx="7" fill="{fill}" '
        f'stroke="{color}" stroke-width="2"/>'
        f'<text x="{MIDDLE}" y="{y + 23}" fill="{ink}" font-weight="600">{name}</text>'
    )
