"""What nvmath and cuBLASLt refuse, and the exceptions they refuse it with.

Types and meanings are those of nvmath-python 1.0 and of the cuBLASLt behind it; the words are
this book's. One thing is refused here only: a view that nvmath would read as other memory.
"""

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.layouts import Layout, memory_order
from tutorial_lib.reference.options import Algorithm, MatmulOptions

NOT_SUPPORTED = "CUBLAS_STATUS_NOT_SUPPORTED"  # what cuBLASLt answers


class InvalidMatmulState(Exception):
    """A Matmul was used after `free`."""


class cuBLASLtError(Exception):  # noqa: N801 (nvmath's name)
    """CuBLASLt itself refused: a combination that it does not support."""


def check_array(x: np.ndarray, name: str) -> None:
    """Whether it is an array at all."""
    if not isinstance(x, np.ndarray):
        raise ValueError(f"{name} must be a numpy.ndarray, not {type(x).__name__}")


def _check_operand(x: np.ndarray, name: str) -> None:
    check_array(x, f"operand {name}")
    if x.dtype not in (np.float32, np.float64):
        raise ValueError(f"operand {name} is {x.dtype}; the reference takes float32 and float64")
    if x.ndim != 2:
        hint = "" if name == "c" else " (nvmath also takes vectors and batches of a and b)"
        raise ValueError(f"operand {name} must have 2 dimensions, its shape is {x.shape}{hint}")
    if 0 in x.shape:
        raise ValueError(f"operand {name} has shape {x.shape}: each extent must be at least 1")


def check_operands(
    a: np.ndarray, b: np.ndarray, c: np.ndarray | None, beta: float | None, options: MatmulOptions
) -> None:
    """Whether ``alpha * a @ b + beta * c`` can be stated at all."""
    if c is None and options.inplace:
        raise ValueError("inplace=True writes the result into operand c, so c must be given")
    if c is not None and beta is None:
        raise ValueError("operand c is given, so beta must be given too")
    _check_operand(a, "a")
    _check_operand(b, "b")
    if a.dtype != b.dtype:
        raise ValueError(f"operands a and b must have one dtype, they have {a.dtype} and {b.dtype}")
    (m, k), n = a.shape, b.shape[1]
    if k != b.shape[0]:
        raise ValueError(f"a has {k} columns but b has {b.shape[0]} rows; both are the extent K")
    compute_type = options.compute_type
    if compute_type is not None and ("64F" in compute_type.name) != (a.dtype == np.float64):
        raise ValueError(f"{compute_type.name} does not compute with {a.dtype}")
    Layout.of(a).check_read_as_meant("operand a")
    Layout.of(b).check_read_as_meant("operand b")
    if c is not None:
        _check_operand(c, "c")
        _check_c(c, m, n, a.dtype, options.inplace)


def _check_c(c: np.ndarray, m: int, n: int, dtype: np.dtype, inplace: bool) -> None:
    if c.dtype != dtype:
        raise cuBLASLtError(f"{NOT_SUPPORTED}: operand c is {c.dtype}, a and b are {dtype}")
    if c.shape != (m, n) and (inplace or c.shape != (m, 1)):
        allowed = f"({m}, {n})" if inplace else f"({m}, {n}) or ({m}, 1)"
        raise ValueError(f"operand c must have shape {allowed}, it has {c.shape}")
    repeated = c.shape[1] == 1 and not inplace
    Layout.of(c).check_read_as_meant("operand c", columns=n if repeated else None)


def check_epilog_inputs(
    a: Layout,
    b: Layout,
    c: Layout | None,
    epilog: MatmulEpilog | None,
    inputs: dict[str, np.ndarray] | None,
) -> dict[str, np.ndarray]:
    """Whether `epilog` can follow this matmul with these inputs; returns those it will hold."""
    if epilog is None:
        if inputs is not None:
            logging.getLogger().warning(
                "Matmul: epilog inputs %s are ignored, since there is no epilog", sorted(inputs)
            )
        return {}
    if epilog not in epilogs.STAGES:  # DEFAULT is not, in nvmath either
        raise AssertionError("Not supported.")
    if not hasattr(epilog, "name"):
        raise AttributeError(f"epilog={epilog!r} has no name: pass a member of MatmulEpilog")
    bgrads = MatmulEpilog.BGRADA, MatmulEpilog.BGRADB
    if c is not None and memory_order(c) == "C" and epilog in bgrads:
        raise ValueError(f"{epilog.name} needs a column-major operand c")
    (m, k), n = a.shape, b.shape[1]
    names = epilogs.input_names(epilog)
    if k == 1 and names & {"relu_aux", "gelu_aux"}:
        raise ValueError(f"K=1 is not supported for {epilog.name}")
    if not names:
        inputs = {}
    elif names != set(inputs or {}):
        raise ValueError(
            f"{epilog.name} needs the epilog inputs {sorted(names)}, "
            f"it was given {sorted(inputs or {})}"
        )
    for name, x in inputs.items():
        check_array(x, f"epilog input {name!r}")
        _check_epilog_input(name, x, m, n, a.dtype)
    return dict(inputs)


def _check_epilog_input(name: str, x: np.ndarray, m: int, n: int, dtype: np.dtype) -> None:
    shapes = {
        "bias": [(m,), (m, 1)],
        "relu_aux": [epilogs.mask_shape(m, n)],
        "gelu_aux": [(-(-m // epilogs.GELU_ROWS) * epilogs.GELU_ROWS, n)],
    }[name]
    if x.shape not in shapes:
        raise ValueError(
            f"epilog input {name!r} must have shape {' or '.join(map(str, shapes))}, "
            f"it has {x.shape}"
        )
    if x.strides[0] != x.itemsize:
        raise ValueError(
            f"epilog input {name!r} must be column-major, with stride 1 along its rows; "
            f"its strides are {x.strides} bytes"
        )
    if x.ndim == 2 and x.shape[1] > 1 and x.strides[1] != x.shape[0] * x.itemsize:
        raise ValueError(
            f"the columns of epilog input {name!r} must follow one another in memory, or nvmath "
            f"would read other memory: copy it first; its strides are {x.strides} bytes"
        )
    expected = np.dtype(np.uint8) if name == "relu_aux" else dtype
    if x.dtype != expected:
        error = cuBLASLtError if name == "bias" else ValueError
        raise error(f"epilog input {name!r} must be {expected}, it is {x.dtype}")


def check_supported(
    earlier: set[MatmulEpilog], epilog: MatmulEpilog | None, a: Layout, b: Layout, c: Layout | None
) -> None:
    """What cuBLASLt refuses, as tried on an H200 (cuBLASLt 13.1).

    `earlier` are the epilogs of earlier plans of the same Matmul. nvmath describes the matmul to
    cuBLASLt once, and a plan with another epilog finds what the old one left: cuBLASLt refuses
    some such pairs, computes others wrongly, and a few right. All are refused here.
    """
    if earlier - {epilog}:
        names = ", ".join(sorted(e.name for e in earlier - {epilog}))
        raise cuBLASLtError(
            f"{NOT_SUPPORTED}: this Matmul was planned with {names} before, which nvmath does not "
            "undo: make another Matmul"
        )
    if c is not None and memory_order(c) == "C" and epilog in epilogs.COLUMN_MAJOR:
        raise cuBLASLtError(f"{NOT_SUPPORTED}: {epilog.name} needs a column-major operand c")
    if epilog == MatmulEpilog.BGRADA and memory_order(a) == "C":
        raise cuBLASLtError(f"{NOT_SUPPORTED}: BGRADA needs a column-major operand a")
    if epilog == MatmulEpilog.BGRADB and memory_order(b) == "F":
        raise cuBLASLtError(f"{NOT_SUPPORTED}: BGRADB needs a row-major operand b")


def check_algorithms(algorithms: Iterable[Any]) -> tuple[Algorithm, ...]:
    """Whether these are algorithms of a plan."""
    algorithms = tuple(algorithms)
    if not algorithms:
        raise IndexError("the algorithms passed to plan() must be at least one")
    if not all(isinstance(algorithm, Algorithm) for algorithm in algorithms):
        raise AssertionError("the algorithms passed to plan() must be those that a plan returned")
    return algorithms


def check_matches(new: np.ndarray, held: Layout, name: str) -> None:
    """Whether an operand may take the place of the one that the plan holds."""
    for what, ours, theirs in (
        ("dtype", held.dtype, new.dtype),
        ("shape", held.shape, new.shape),
        ("strides", held.strides, new.strides),
    ):
        if ours != theirs:
            raise ValueError(f"the {what} of {name} must stay {ours}, the new one has {theirs}")
