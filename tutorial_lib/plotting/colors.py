"""The book's three colors: matmuls, elementwise steps, everything else."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BLUE, ORANGE, GREY = "#2a6f97", "#d1662b", "#8a8f98"


def colored(
    named: Mapping[str, Any], colors: Sequence[str] = (BLUE, ORANGE, GREY)
) -> Iterator[tuple[tuple[str, Any], str]]:
    """Each (name, value) with a color; ValueError for more names than colors."""
    if len(named) > len(colors):
        raise ValueError(f"a figure has colors for {len(colors)} names, not for {list(named)}")
    return zip(named.items(), colors)
