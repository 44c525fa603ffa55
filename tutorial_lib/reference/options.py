"""How a matmul is to be computed: what nvmath's MatmulOptions offers and this book uses."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class MatmulComputeType(IntEnum):
    """The arithmetic that cuBLASLt may use. The reference computes in the operands' own type."""

    COMPUTE_32F = 68
    COMPUTE_32F_PEDANTIC = 69
    COMPUTE_64F = 70
    COMPUTE_64F_PEDANTIC = 71
    COMPUTE_32F_FAST_16F = 74
    COMPUTE_32F_FAST_16BF = 75
    COMPUTE_32F_FAST_TF32 = 77


@dataclass
class MatmulOptions:
    """`inplace`: the result overwrites c. `compute_type`: accepted, without effect here."""

    inplace: bool = False
    compute_type: int | None = None

    def __post_init__(self) -> None:
        if self.compute_type is not None:
            self.compute_type = MatmulComputeType(self.compute_type)


def as_options(options: "MatmulOptions | dict[str, Any] | None") -> MatmulOptions:
    """Options from an object, from a dict of its fields, or the defaults from None."""
    if isinstance(options, dict):
        return MatmulOptions(**options)
    if options is None:
        return MatmulOptions()
    if not isinstance(options, MatmulOptions):
        raise TypeError(f"options must be MatmulOptions or a dict, not {type(options).__name__}")
    return options
