"""The Matmul of nvmath on NumPy, with cuBLASLt's habits where a caller sees them.

A result is column-major where an epilog needs it. Operands are held, not copied: change a weight in
place and the next `execute` reads the change. Misuse raises what nvmath raises. Source:
`nvmath.linalg.advanced.Matmul <https://docs.nvidia.com/cuda/nvmath-python/>`_, version 1.0, for 2-D
operands in float32 and float64.
"""

import functools
import logging
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.checks import (
    InvalidMatmulState,
    check_epilog_inputs,
    check_matches,
    check_operands,
    cuBLASLtError,
    memory_order,
)
from tutorial_lib.reference.epilogs import MatmulEpilog

__all__ = [
    "InvalidMatmulState",
    "Matmul",
    "MatmulComputeType",
    "MatmulEpilog",
    "MatmulOptions",
    "cuBLASLtError",
    "matmul",
]


class MatmulComputeType(IntEnum):
    """The arithmetic that cuBLASLt may use.

    The reference computes in the operands' own type whichever is asked for.
    """

    COMPUTE_32F = 68
    COMPUTE_32F_PEDANTIC = 69
    COMPUTE_64F = 70
    COMPUTE_64F_PEDANTIC = 71
    COMPUTE_32F_FAST_16F = 74
    COMPUTE_32F_FAST_16BF = 75
    COMPUTE_32F_FAST_TF32 = 77


@dataclass
class MatmulOptions:
    """`inplace`: the result overwrites `c`.

    `compute_type`: accepted as nvmath accepts it, without effect here.
    """

    inplace: bool = False
    compute_type: int | None = None

    def __post_init__(self) -> None:
        if self.compute_type is not None:
            self.compute_type = MatmulComputeType(self.compute_type)


def _scale(value: float | None, default: float, dtype: np.dtype, name: str) -> np.floating:
    try:
        return dtype.type(default if value is None else value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} cannot be converted to {dtype}") from error


def _alive(method):
    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        if self._freed:
            raise InvalidMatmulState("this Matmul was freed; make a new one")
        return method(self, *args, **kwargs)

    return guarded


class Matmul:
    """``epilog(alpha * a @ b + beta * c)``: stated once, planned once, executed many times.

    a (M, K), b (K, N), c (M, N) or (M, 1), all float32 or all float64, each row- or column-major.
    The result (M, N) takes the memory order of `c` if there is one, else column-major if the
    epilog needs it, else the order of `a`. Raises ValueError for operands that do not fit
    together, TypeError for operands that are not NumPy arrays.
    """

    def __init__(self, a, b, /, c=None, *, alpha=None, beta=None, options=None, stream=None):
        self._freed, self._planned = False, False
        self.options = (
            MatmulOptions(**options) if isinstance(options, dict) else options or MatmulOptions()
        )
        if c is None and beta is not None:
            logging.getLogger().warning(
                "Matmul: beta=%s is ignored, since there is no operand c", beta
            )
        check_operands(a, b, c, beta, self.options)
        self.a, self.b, self.c = a, b, c
        self.alpha = _scale(alpha, 1, a.dtype, "alpha")
        self.beta = _scale(beta if c is not None else 0, 0, a.dtype, "beta")

    @_alive
    def plan(
        self, *, preferences=None, algorithms=None, epilog=None, epilog_inputs=None, stream=None
    ) -> tuple[str, ...]:
        """Choose the epilog, hold its inputs, return the algorithms, of which NumPy has one.

        Raises ValueError for a missing, surplus or ill-shaped epilog input, AssertionError for
        DEFAULT, which nvmath does not take (plan without an epilog), cuBLASLtError where cuBLASLt
        does not support the combination.
        """
        self._inputs = check_epilog_inputs(self.a, self.b, self.c, epilog, epilog_inputs)
        self._epilog = epilog
        self._order = memory_order(self.a if self.c is None else self.c)
        if self.c is None and epilog not in (
            None,
            MatmulEpilog.RELU,
            MatmulEpilog.GELU,
            MatmulEpilog.BGRADA,
        ):
            self._order = "F"
        self.algorithms = ("numpy.matmul",)
        self._planned = True
        return self.algorithms

    @_alive
    def autotune(self, iterations=10, prune=None, release_workspace=False, stream=None) -> None:
        """Nothing to choose between: NumPy has one algorithm.

        Raises RuntimeError before `plan`.
        """
        self._require_plan("Autotuning")

    @_alive
    def execute(self, *, algorithm=None, release_workspace=False, stream=None):
        """The result (M, N), or, if the epilog leaves extra outputs, the pair (result, {name:
        output}).

        Raises RuntimeError before `plan`, InvalidMatmulState after `free`.
        """
        self._require_plan("Execution")
        d = np.empty((self.a.shape[0], self.b.shape[1]), self.a.dtype, order=self._order)
        if self._order == "F":  # a column-major product is the row-major product of the transposes
            np.matmul(self.b.T, self.a.T, out=d.T)
        else:
            np.matmul(self.a, self.b, out=d)
        if self.alpha != 1:
            d *= self.alpha
        if self.c is not None:
            d += self.beta * self.c
        call = epilogs.Call(self.a, self.b, self._inputs)
        if self._epilog is not None:
            epilogs.apply(self._epilog, d, call)
        if self.options.inplace:
            self.c[...] = d
            d = self.c
        return (d, call.outputs) if call.outputs else d

    @_alive
    def reset_operands(
        self, *, a=None, b=None, c=None, alpha=None, beta=None, epilog_inputs=None, stream=None
    ) -> None:
        """Hold other operands, of the same shape, strides and dtype; those not named stay.

        Raises ValueError for a mismatch or if nothing is named, KeyError for an epilog input that
        the plan does not have, InvalidMatmulState after `free`. Nothing is changed when it
        raises.
        """
        if all(value is None for value in (a, b, c, alpha, beta, epilog_inputs)):
            raise ValueError("reset_operands needs at least one operand")
        if c is not None and self.c is None:
            raise ValueError("this Matmul was made without an operand c, so c cannot be reset")
        new = {name: value for name, value in (("a", a), ("b", b), ("c", c)) if value is not None}
        for name, operand in new.items():
            check_matches(operand, getattr(self, name), f"operand {name}")
        for name, operand in (epilog_inputs or {}).items():
            check_matches(
                operand, (self._inputs if self._planned else {})[name], f"epilog input {name!r}"
            )
        new_alpha = _scale(alpha, self.alpha, self.a.dtype, "alpha")
        new_beta = _scale(beta, self.beta, self.a.dtype, "beta")
        self.reset_operands_unchecked(
            a=a, b=b, c=c, alpha=new_alpha, beta=new_beta, epilog_inputs=epilog_inputs
        )

    def reset_operands_unchecked(
        self, *, a=None, b=None, c=None, alpha=None, beta=None, epilog_inputs=None, stream=None
    ) -> None:
        """`reset_operands` without a single check: wrong operands give wrong results."""
        self.a = self.a if a is None else a
        self.b = self.b if b is None else b
        self.c = self.c if c is None else c
        self.alpha = self.alpha if alpha is None else alpha
        self.beta = self.beta if beta is None else beta
        if epilog_inputs:
            self._inputs.update(epilog_inputs)

    def free(self) -> None:
        """Let go of the operands and the plan.

        Freeing twice is allowed, any other use afterwards is not.
        """
        self.a = self.b = self.c = self._inputs = None
        self._freed = True

    def __enter__(self) -> "Matmul":
        return self

    def __exit__(self, *exception) -> None:
        self.free()

    def _require_plan(self, what: str) -> None:
        if not self._planned:
            raise RuntimeError(f"{what} cannot be performed before plan() has been called")


def matmul(
    a,
    b,
    /,
    c=None,
    *,
    alpha=None,
    beta=None,
    epilog=None,
    epilog_inputs=None,
    options=None,
    stream=None,
):
    """One matmul, stated, planned, executed and freed: see `Matmul`."""
    with Matmul(a, b, c, alpha=alpha, beta=beta, options=options) as mm:
        mm.plan(epilog=epilog, epilog_inputs=epilog_inputs)
        return mm.execute()
