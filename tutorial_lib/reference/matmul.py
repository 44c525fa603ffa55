"""The Matmul of nvmath on NumPy, with cuBLASLt's habits where a caller sees them.

A result is column-major where an epilog needs it. Operands are held, not copied: change a weight in
place and the next `execute` reads the change. Misuse raises what nvmath raises. Source:
`nvmath.linalg.advanced.Matmul <https://docs.nvidia.com/cuda/nvmath-python/>`_, version 1.0, for 2-D
operands in float32 and float64.
"""

import functools
import logging
from typing import Any, TypeAlias

import numpy as np

from tutorial_lib.reference import checks, epilogs, graphs
from tutorial_lib.reference.checks import InvalidMatmulState, cuBLASLtError
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.options import MatmulComputeType, MatmulOptions, as_options

__all__ = [
    "InvalidMatmulState",
    "Matmul",
    "MatmulComputeType",
    "MatmulEpilog",
    "MatmulOptions",
    "cuBLASLtError",
    "matmul",
]

Array: TypeAlias = np.ndarray
Inputs: TypeAlias = dict[str, np.ndarray]
Result: TypeAlias = np.ndarray | tuple[np.ndarray, dict[str, np.ndarray]]


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
    The result (M, N) takes the memory order of c if there is one, else column-major if the epilog
    needs it, else the order of a. Raises ValueError for operands that do not fit together,
    TypeError for operands that are not NumPy arrays. A `stream` is accepted; NumPy has none.
    """

    def __init__(
        self,
        a: Array,
        b: Array,
        /,
        c: Array | None = None,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        options: MatmulOptions | dict[str, Any] | None = None,
        stream: Any = None,
    ) -> None:
        self._freed, self._planned, self._capture = False, False, None
        self.options = as_options(options)
        if c is None and beta is not None:
            logging.getLogger().warning("Matmul: beta=%s is ignored, there is no operand c", beta)
        checks.check_operands(a, b, c, beta, self.options)
        self.a, self.b, self.c = a, b, c
        self.alpha = _scale(alpha, 1, a.dtype, "alpha")
        self.beta = _scale(beta if c is not None else 0, 0, a.dtype, "beta")

    @_alive
    def plan(
        self,
        *,
        preferences: Any = None,
        algorithms: Any = None,
        epilog: MatmulEpilog | None = None,
        epilog_inputs: Inputs | None = None,
        stream: Any = None,
    ) -> tuple[str, ...]:
        """Choose the epilog, hold its inputs, return the algorithms, of which NumPy has one.

        Raises ValueError for a missing, surplus or ill-shaped epilog input, AssertionError for
        DEFAULT, which nvmath does not take (plan without an epilog), cuBLASLtError where cuBLASLt
        does not support the combination.
        """
        graphs.refuse("planning a matmul")
        self._inputs = checks.check_epilog_inputs(self.a, self.b, self.c, epilog, epilog_inputs)
        self._epilog = epilog
        self._order = checks.memory_order(self.a if self.c is None else self.c)
        if self.c is None and epilog in epilogs.COLUMN_MAJOR:
            self._order = "F"
        self.algorithms = ("numpy.matmul",)
        self._planned = True
        return self.algorithms

    @_alive
    def autotune(
        self,
        iterations: int = 10,
        prune: int | None = None,
        release_workspace: bool = False,
        stream: Any = None,
    ) -> None:
        """Nothing to choose between: NumPy has one algorithm. RuntimeError before `plan`."""
        self._require_plan("Autotuning")

    @_alive
    def execute(
        self, *, algorithm: Any = None, release_workspace: bool = False, stream: Any = None
    ) -> Result:
        """The result (M, N); with extra outputs, the pair (result, {name: output}).

        Raises RuntimeError before `plan`, InvalidMatmulState after `free`.
        """
        self._require_plan("Execution")
        self._capture = graphs.recording
        scales = self.alpha, self.beta
        d, outputs = graphs.launch(self._computed, self.a, self.b, self.c, *scales, self._inputs)
        return (d, outputs) if outputs else d

    @_alive
    def _computed(
        self,
        a: Array,
        b: Array,
        c: Array | None,
        alpha: np.floating,
        beta: np.floating,
        inputs: Inputs,
    ) -> tuple[Array, Inputs]:
        d = np.empty((a.shape[0], b.shape[1]), a.dtype, order=self._order)
        if self._order == "F":  # a column-major product is the row-major one of the transposes
            np.matmul(b.T, a.T, out=d.T)
        else:
            np.matmul(a, b, out=d)
        if alpha != 1:
            d *= alpha
        if c is not None:
            d += beta * c
        call = epilogs.Call(a, b, inputs)
        if self._epilog is not None:
            epilogs.apply(self._epilog, d, call)
        if self.options.inplace:
            c[...] = d
            d = c
        return d, call.outputs

    @_alive
    def reset_operands(
        self,
        *,
        a: Array | None = None,
        b: Array | None = None,
        c: Array | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        epilog_inputs: Inputs | None = None,
        stream: Any = None,
    ) -> None:
        """Hold other operands, of the same shape, strides and dtype; those not named stay.

        Raises ValueError for a mismatch or if nothing is named, KeyError for an epilog input that
        the plan does not have, InvalidMatmulState after `free`. If it raises, nothing has changed.
        """
        if all(value is None for value in (a, b, c, alpha, beta, epilog_inputs)):
            raise ValueError("reset_operands needs at least one operand")
        if c is not None and self.c is None:
            raise ValueError("this Matmul was made without an operand c, so c cannot be reset")
        for name, operand in (("a", a), ("b", b), ("c", c)):
            if operand is not None:
                checks.check_matches(operand, getattr(self, name), f"operand {name}")
        held = self._inputs if self._planned else {}
        for name, operand in (epilog_inputs or {}).items():
            checks.check_matches(operand, held[name], f"epilog input {name!r}")
        alpha = _scale(alpha, self.alpha, self.a.dtype, "alpha")
        beta = _scale(beta, self.beta, self.a.dtype, "beta")
        self.reset_operands_unchecked(
            a=a, b=b, c=c, alpha=alpha, beta=beta, epilog_inputs=epilog_inputs
        )

    def reset_operands_unchecked(
        self,
        *,
        a: Array | None = None,
        b: Array | None = None,
        c: Array | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        epilog_inputs: Inputs | None = None,
        stream: Any = None,
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
        """Let go of operands and plan. Freeing twice is allowed, other use afterwards is not.

        RuntimeError in a capture that has executed it: nvmath waits for its last call.
        """
        if self._capture is not None and self._capture is graphs.recording:
            graphs.refuse("freeing a matmul that the capture has executed")
        self.a = self.b = self.c = self._inputs = None
        self._freed = True

    def __enter__(self) -> "Matmul":
        return self

    def __exit__(self, *exception: object) -> None:
        self.free()

    def _require_plan(self, what: str) -> None:
        if not self._planned:
            raise RuntimeError(f"{what} cannot be performed before plan() has been called")


def matmul(
    a: Array,
    b: Array,
    /,
    c: Array | None = None,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    epilog: MatmulEpilog | None = None,
    epilog_inputs: Inputs | None = None,
    options: MatmulOptions | dict[str, Any] | None = None,
    stream: Any = None,
) -> Result:
    """One matmul, stated, planned, executed and freed: see `Matmul`."""
    with Matmul(a, b, c, alpha=alpha, beta=beta, options=options) as mm:
        mm.plan(epilog=epilog, epilog_inputs=epilog_inputs)
        return mm.execute()
