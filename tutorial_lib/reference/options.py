"""How a matmul is to be computed: what nvmath's options offer and this book uses."""

import logging
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class MatmulComputeType(IntEnum):
    """The arithmetic that cuBLASLt may use. The reference computes in the operands' own type, and
    in float32 with operands of float16 and bfloat16, which allow COMPUTE_32F and its pedantic."""

    COMPUTE_32F = 68
    COMPUTE_32F_PEDANTIC = 69
    COMPUTE_64F = 70
    COMPUTE_64F_PEDANTIC = 71
    COMPUTE_32F_FAST_16F = 74
    COMPUTE_32F_FAST_16BF = 75
    COMPUTE_32F_FAST_TF32 = 77


@dataclass
class MatmulOptions:
    """`inplace`: the result overwrites c. `compute_type`: accepted, without effect here. `logger`:
    what is told of each phase, at INFO; None for the root logger."""

    inplace: bool = False
    compute_type: int | None = None
    logger: logging.Logger | None = None

    def __post_init__(self) -> None:
        if self.compute_type is not None:
            self.compute_type = MatmulComputeType(self.compute_type)


@dataclass
class MatmulPlanPreferences:
    """What cuBLASLt's search for algorithms is told; NumPy has one algorithm, so without effect."""

    reduction_scheme_mask: int | None = None
    max_waves_count: float | None = None
    numerical_impl_mask: int | None = None
    limit: int | None = None


class Algorithm:
    """One way to compute a planned matmul, as `plan` returns it; `execute` takes it back."""


def coerce(cls: type, options: Any) -> Any:
    """Options from an object, a dict of its fields or, for the defaults, None; else TypeError."""
    if options is None or isinstance(options, dict):
        return cls(**(options or {}))
    if not isinstance(options, cls):
        raise TypeError(f"options must be {cls.__name__} or a dict, not {type(options).__name__}")
    return options
