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
from tutorial_lib.reference.layouts import Layout, memory_order
from tutorial_lib.reference.options import (
    Algorithm,
    MatmulComputeType,
    MatmulOptions,
    MatmulPlanPreferences,
    as_options,
)

__all__ = [
    "Algorithm",
    "InvalidMatmulState",
    "Matmul",
    "MatmulComputeType",
    "MatmulEpilog",
    "MatmulOptions",
    "MatmulPlanPreferences",
    "cuBLASLtError",
    "matmul",
]

Array: TypeAlias = np.ndarray
Inputs: TypeAlias = dict[str, np.ndarray]
Options: TypeAlias = MatmulOptions | dict[str, Any]
Preferences: TypeAlias = MatmulPlanPreferences | dict[str, Any]
Result: TypeAlias = np.ndarray | tuple[np.ndarray, dict[str, np.ndarray]]


def _set_scale(scale: np.ndarray, value: float | None, name: str) -> None:
    """Write a number into ``scale`` (1,), which is how nvmath converts it; None changes nothing."""
    try:
        if value is not None:
            scale[0] = value
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} cannot be converted to {scale.dtype}") from error


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
    needs it, else the order of a. Raises ValueError for operands that do not fit together, that
    are not NumPy arrays, or whose rows or columns overlap, repeat or run backwards: nvmath would
    read other memory. A `stream` is accepted; NumPy has none.
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
        options: Options | None = None,
        stream: Any = None,
    ) -> None:
        self._freed, self._planned = False, False
        self.options = as_options(MatmulOptions, options)
        checks.check_operands(a, b, c, beta, self.options)
        self.a, self.b, self.c = a, b, c
        self.alpha, self.beta = np.ones(1, a.dtype), np.zeros(1, a.dtype)
        _set_scale(self.alpha, alpha, "alpha")
        self._set_beta(beta)
        self._layouts = {"a": Layout.of(a), "b": Layout.of(b)}
        if c is not None:
            self._layouts["c"] = Layout.of(c)
        self._inputs: Inputs = {}
        self._earlier: set[MatmulEpilog] = set()  # epilogs of all plans

    @_alive
    def plan(
        self,
        *,
        preferences: Preferences | None = None,
        algorithms: Any = None,
        epilog: MatmulEpilog | None = None,
        epilog_inputs: Inputs | None = None,
        stream: Any = None,
    ) -> tuple[Algorithm, ...]:
        """Choose the epilog, hold its inputs, return the algorithms, of which NumPy has one.

        Raises ValueError for a missing, surplus or ill-shaped epilog input, AssertionError for
        DEFAULT, which nvmath does not take (plan without an epilog), and for algorithms that no
        plan returned, TypeError for preferences that do not exist, cuBLASLtError where cuBLASLt
        does not support the combination, or after a plan with another epilog. After an error the
        Matmul is not planned.
        """
        graphs.refuse("planning a matmul")
        self._planned, self._inputs = False, {}
        as_options(MatmulPlanPreferences, preferences)
        a, b, c = map(self._layouts.get, "abc")
        self._inputs = checks.check_epilog_inputs(a, b, c, epilog, epilog_inputs)
        self._input_layouts = {name: Layout.of(x) for name, x in self._inputs.items()}
        earlier = set(self._earlier)
        if epilog is not None:
            self._earlier.add(epilog)
        given = (Algorithm(),) if algorithms is None else algorithms
        self.algorithms = checks.check_algorithms(given)
        checks.check_supported(earlier, epilog, a, b, c)
        self._epilog = epilog
        self._order = memory_order(c or a)
        if c is None and epilog in epilogs.COLUMN_MAJOR:
            self._order = "F"
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
        self,
        *,
        algorithm: Algorithm | None = None,
        release_workspace: bool = False,
        stream: Any = None,
    ) -> Result:
        """The result (M, N); with extra outputs, the pair (result, {name: output}).

        Raises RuntimeError before `plan`, ValueError for an algorithm that the plan did not
        return, InvalidMatmulState after `free`.
        """
        self._require_plan("Execution")
        if algorithm is not None and algorithm not in self.algorithms:
            raise ValueError("the algorithm is none of those that plan() returned")
        alpha, beta = graphs.plain([self.alpha, self.beta])  # on the host
        if self.c is None and beta[0] != 0:
            raise AssertionError("beta was reset unchecked, but there is no operand c")
        operands = {"a": self.a, "b": self.b, "c": self.c}
        d, outputs = graphs.launch(self._computed, operands, self._inputs, alpha[0], beta[0])
        if self.options.inplace:
            d = self.c
        return (d, outputs) if outputs else d

    @_alive
    def _computed(
        self, operands: Inputs, inputs: Inputs, alpha: np.floating, beta: np.floating
    ) -> tuple[Array | None, Inputs]:
        """What the memory of the operands gives, read as the plan reads it."""
        a, b = (self._layouts[name].read(operands[name]) for name in "ab")
        c = None if operands["c"] is None else self._layouts["c"].read(operands["c"])
        inputs = {name: self._input_layouts[name].read(x) for name, x in inputs.items()}
        d, outputs = epilogs.compute(a, b, c, alpha, beta, inputs, self._epilog, self._order)
        if not self.options.inplace:
            return d, outputs
        c[...] = d
        return None, outputs

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
        the plan does not have, InvalidMatmulState after `free`. What comes before the culprit in
        the order alpha, beta, a, b, c, epilog inputs has then been changed, as in nvmath.
        """
        if c is not None and self.c is None:
            raise ValueError("this Matmul was made without an operand c, so c cannot be reset")
        if all(value is None for value in (a, b, c, alpha, beta, epilog_inputs)):
            raise ValueError("reset_operands needs at least one operand")
        _set_scale(self.alpha, alpha, "alpha")
        self._set_beta(beta)
        for name, operand in (("a", a), ("b", b), ("c", c)):
            if operand is not None:
                checks.check_array(operand, f"operand {name}")
                checks.check_matches(operand, self._layouts[name], f"operand {name}")
                setattr(self, name, operand)
        for name, operand in (epilog_inputs or {}).items():
            checks.check_array(operand, f"epilog input {name!r}")
            held = self._inputs[name], self._input_layouts[name]
            checks.check_matches(operand, held[1], f"epilog input {name!r}")
            self._inputs[name] = operand

    @_alive
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
        """`reset_operands` without a look at shape, strides or dtype: it swaps pointers.

        The next `execute` reads the new memory with the layout of the old operand. What comes of a
        wrong one are wrong numbers; ValueError where they would lie outside the array's memory.
        """
        if beta is not None:
            self.beta[0] = beta
        if alpha is not None:
            self.alpha[0] = alpha
        for name, operand in (("a", a), ("b", b), ("c", c)):
            if operand is not None:
                if name not in self._layouts:
                    raise IndexError("this Matmul was made without an operand c")
                setattr(self, name, operand)
        for name, operand in (epilog_inputs or {}).items():
            if name not in self._inputs:
                raise KeyError(name)
            self._inputs[name] = operand

    def free(self) -> None:
        """Let go of operands and plan. Freeing twice is allowed, other use afterwards is not."""
        self.a = self.b = self.c = self._inputs = None
        self._freed = True

    def __enter__(self) -> "Matmul":
        return self

    def __exit__(self, *exception: object) -> None:
        self.free()

    def _set_beta(self, beta: float | None) -> None:
        if beta is not None and self.c is None:
            logging.getLogger().warning("Matmul: beta=%s is ignored, there is no operand c", beta)
        else:
            _set_scale(self.beta, beta, "beta")

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
    options: Options | None = None,
    preferences: Preferences | None = None,
    stream: Any = None,
) -> Result:
    """One matmul, stated, planned, executed and freed: see `Matmul`."""
    with Matmul(a, b, c, alpha=alpha, beta=beta, options=options) as mm:
        mm.plan(epilog=epilog, epilog_inputs=epilog_inputs, preferences=preferences)
        return mm.execute()
