"""What nvmath-python 1.0 and cuBLASLt refuse, with their exceptions, in this book's words.

One thing is refused here only: a view that nvmath would read as other memory.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tutorial_lib.reference import epilogs, tensors
from tutorial_lib.reference.epilogs import Array, Arrays, MatmulEpilog
from tutorial_lib.reference.layouts import HALF, Layout, batch_of, memory_order
from tutorial_lib.reference.options import Algorithm, MatmulOptions

NOT_SUPPORTED = "CUBLAS_STATUS_NOT_SUPPORTED"  # what cuBLASLt answers


class InvalidMatmulState(Exception):
    """A Matmul was used after `free`."""


class cuBLASLtError(Exception):  # noqa: N801 (nvmath's name)
    """CuBLASLt itself refused: a combination that it does not support."""


def _check_array(x: Any, name: str) -> None:
    if not isinstance(x, np.ndarray):
        raise ValueError(f"{name} must be a numpy.ndarray or torch.Tensor, not {type(x).__name__}")


def _check_package(x: Any, name: str, package: str) -> None:
    """Whether an array comes from the package of operand a; TypeError if not."""
    if tensors.package(x) != package:
        raise TypeError(f"{name} is of {tensors.package(x)}, but operand a is of {package}")


def _check_shape(x: Array, name: str, allowed: list[tuple[int, ...]]) -> None:
    if x.shape not in allowed:
        shapes = " or ".join(map(str, allowed))
        raise ValueError(f"{name} must have shape {shapes}, it has {x.shape}")


def _check_operand(x: Array, name: str) -> None:
    _check_array(x, f"operand {name}")
    if x.dtype.name not in (*HALF, "float32", "float64"):
        taken = "float16, bfloat16, float32 and float64"
        raise ValueError(f"operand {name} is {x.dtype}; the reference takes {taken}")
    if x.ndim not in (2, 3):
        hint = "" if name == "c" else " (nvmath also takes vectors, and more dimensions of a batch)"
        needed = f"operand {name} must have 2 dimensions, or 3 in a batch"
        raise ValueError(f"{needed}; its shape is {x.shape}{hint}")
    if 0 in x.shape:
        raise ValueError(f"operand {name} has shape {x.shape}: each extent must be at least 1")


def check_operands(given: dict[str, Any], beta: float | None, options: MatmulOptions) -> Arrays:
    """Whether ``alpha * a @ b + beta * c`` can be stated at all; returns what it will hold."""
    held = {name: tensors.received(x) for name, x in given.items()}
    a, b, c = map(held.get, "abc")
    if c is None and options.inplace:
        raise ValueError("inplace=True writes the result into operand c, so c must be given")
    if c is not None and beta is None:
        raise ValueError("operand c is given, so beta must be given too")
    for name, x in held.items():
        _check_operand(x, name)
    if a.dtype != b.dtype:
        raise ValueError(f"operands a and b must have one dtype, they have {a.dtype} and {b.dtype}")
    for name, x in given.items():
        _check_package(x, f"operand {name}", tensors.package(given["a"]))
    (*_, m, k), (*_, rows, n) = a.shape, b.shape
    if k != rows:
        raise ValueError(f"a has {k} columns but b has {rows} rows; both are the extent K")
    batch = batch_of(a, b)
    if not {a.shape[:-2], b.shape[:-2]} <= {(), batch}:
        raise ValueError(f"the batches of a {a.shape[:-2]} and b {b.shape[:-2]} must be the same")
    half, kind = a.dtype.name in HALF, getattr(options.compute_type, "name", None)
    if kind and (("64F" in kind) != (a.dtype == np.float64) or (half and "FAST" in kind)):
        raise ValueError(f"{kind} does not compute with {a.dtype}")
    Layout.of(a).check_read_as_meant("operand a")
    Layout.of(b).check_read_as_meant("operand b")
    if c is not None:
        if c.dtype != a.dtype and not (half and c.dtype == np.float32):
            raise cuBLASLtError(f"{NOT_SUPPORTED}: operand c is {c.dtype}, a and b are {a.dtype}")
        allowed = [(m, n)] if options.inplace else [(m, n), (m, 1)]
        batched = [(*batch, *shape) for shape in allowed]
        _check_shape(c, "operand c", batched if options.inplace or not batch else batched + allowed)
        repeated = c.shape[-1] == 1 and not options.inplace
        Layout.of(c).check_read_as_meant("operand c", columns=n if repeated else None)
        if options.inplace and not Layout.of(c).is_unique():
            raise ValueError(f"operand c has strides {c.strides} bytes: its matrices overlap")
    return held


def check_inputs(
    layouts: dict[str, Layout], epilog: MatmulEpilog | None, inputs: Arrays | None, package: str
) -> Arrays:
    """Whether `epilog` can follow this matmul with these inputs; returns those it will hold."""
    if epilog is None:
        return {}
    a, c = layouts["a"], layouts.get("c")
    if epilog not in epilogs.STAGES:  # DEFAULT is not, in nvmath either
        raise AssertionError("Not supported.")
    if not hasattr(epilog, "name"):
        raise AttributeError(f"epilog={epilog!r} has no name: pass a member of MatmulEpilog")
    if c is not None and memory_order(c) == "C" and epilog.name in ("BGRADA", "BGRADB"):
        raise ValueError(f"{epilog.name} needs a column-major operand c")
    names = epilogs.input_names(epilog)
    if a.shape[-1] == 1 and names & {"relu_aux", "gelu_aux"}:
        raise ValueError(f"K=1 is not supported for {epilog.name}")
    given = dict(inputs or {}) if names else {}
    if names != set(given):
        needed = f"{epilog.name} needs the epilog inputs {sorted(names)}"
        raise ValueError(f"{needed}, it was given {sorted(given)}")
    for name, x in given.items():
        what = f"epilog input {name!r}"
        _check_array(tensors.as_array(x), what)
        _check_package(x, what, package)
        _check_epilog_input(name, tensors.as_array(x), what, layouts)
    return {name: tensors.received(x) for name, x in given.items()}


def _check_epilog_input(name: str, x: Array, what: str, layouts: dict[str, Layout]) -> None:
    a, b = layouts["a"], layouts["b"]
    m, n, batch = a.shape[-2], b.shape[-1], batch_of(a, b)
    dtype = layouts.get("c", a).dtype  # of the result
    shapes, expected, error = {
        "bias": ([(m,), (m, 1)], dtype, cuBLASLtError),
        "relu_aux": ([epilogs.mask_shape(m, n)], np.dtype(np.uint8), ValueError),
        "gelu_aux": ([epilogs.gelu_shape(m, n)], dtype, ValueError),
    }[name]
    if batch:
        shapes.append((*batch, *shapes[-1]))
    _check_shape(x, what, shapes)
    strides = f"its strides are {x.strides} bytes"
    matrix = x[:, None] if x.ndim == 1 else x
    *step, down, right = matrix.strides
    rows, columns = matrix.shape[-2:]
    if down != x.itemsize:
        raise ValueError(f"{what} must be column-major, with stride 1 along its rows; {strides}")
    if columns > 1 and right != rows * x.itemsize:
        gap = f"the columns of {what} must follow one another in memory"
        raise ValueError(f"{gap}, or nvmath would read other memory: copy it first; {strides}")
    if step and batch > (1,) and (step[0] < 0 or step[0] % x.itemsize):
        raise ValueError(f"the matrices of {what} must be whole elements apart; {strides}")
    if name != "bias" and step and 0 < step[0] < rows * columns * x.itemsize:
        raise AssertionError(f"the matrices of {what} must not overlap; {strides}")
    if x.dtype != expected:
        raise error(f"{what} must be {expected}, it is {x.dtype}")


def check_supported(
    earlier: set[MatmulEpilog], epilog: MatmulEpilog | None, a: Layout, b: Layout, c: Layout | None
) -> None:
    """What cuBLASLt refuses, as tried on an H200 (cuBLASLt 13.1).

    A plan after `earlier` ones with another epilog finds what they left: cuBLASLt refuses some such
    pairs, computes others wrongly, and a few right; here, none passes.
    """
    others = sorted(other.name for other in earlier - {epilog})
    if others:
        before = f"this Matmul was planned with {', '.join(others)} before, which nvmath"
        raise cuBLASLtError(f"{NOT_SUPPORTED}: {before} does not undo: make another Matmul")
    for operand, order, refused_by, needed in (
        (c, "C", epilogs.COLUMN_MAJOR, "a column-major operand c"),
        (a, "C", {MatmulEpilog.BGRADA}, "a column-major operand a"),
        (b, "F", {MatmulEpilog.BGRADB}, "a row-major operand b"),
    ):
        if operand is not None and epilog in refused_by and memory_order(operand) == order:
            raise cuBLASLtError(f"{NOT_SUPPORTED}: {epilog.name} needs {needed}")


def check_algorithms(algorithms: Iterable[Any]) -> tuple[Algorithm, ...]:
    """Whether these are algorithms of a plan."""
    algorithms = tuple(algorithms)
    if not algorithms:
        raise IndexError("the algorithms passed to plan() must be at least one")
    if not all(isinstance(algorithm, Algorithm) for algorithm in algorithms):
        raise AssertionError("the algorithms passed to plan() must be those that a plan returned")
    return algorithms


def check_matches(new: Any, layout: Layout, name: str, package: str) -> None:
    """Whether an array may take the place of the one called `name`."""
    what = f"operand {name}" if name in "abc" else f"epilog input {name!r}"
    x = tensors.as_array(new)
    _check_array(x, what)
    for part in ("dtype", "shape", "strides"):
        ours, theirs = getattr(layout, part), getattr(x, part)
        if part == "strides":
            if tensors.package(new) != package:  # nvmath looks at the device first
                raise ValueError(f"{what} must stay an array of {package}")
            theirs = theirs if package == "numpy" else ours  # a tensor is copied, however it lies
        if ours != theirs:
            raise ValueError(f"the {part} of {what} must stay {ours}, the new one has {theirs}")
