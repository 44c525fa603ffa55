"""Every algorithm that cuBLASLt offers for the network's matmuls: is it right, does it repeat?

The operands are small integers, which float32 and TF32 hold exactly, as they do all sums of their
products: so every algorithm must give the reference's result to the last bit. Whether it repeats
is asked with numbers whose sums are rounded, where another order of summing would show.
"""

import functools
from typing import Any

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.options import MatmulComputeType

LIMIT = 64  # how many algorithms cuBLASLt is asked for
INPUTS, OUTPUTS, BATCH = 784, 10, 256
WIDTHS = [30, 512, 8192]
ARITHMETICS = {"float32": None, "tf32": int(MatmulComputeType.COMPUTE_32F_FAST_TF32)}

# By name: the shapes of a and b (H is the width) and their memory orders, as the networks have
# them; the epilog; whether the result is added to c, in place, and the memory order of that c.
MATMULS: dict[str, tuple] = {
    "hidden": (("H", INPUTS), "C", (INPUTS, BATCH), "F", "RELU_AUX_BIAS", None),
    "output": ((OUTPUTS, "H"), "C", ("H", BATCH), "F", "BIAS", None),
    "grad_output": ((OUTPUTS, BATCH), "F", (BATCH, "H"), "C", None, None),
    "grad_relu": (("H", OUTPUTS), "F", (OUTPUTS, BATCH), "F", "DRELU_BGRAD", None),
    "grad_hidden": (("H", BATCH), "F", (BATCH, INPUTS), "C", None, None),
    "update hidden": (("H", BATCH), "F", (BATCH, INPUTS), "C", None, "C"),
    "update hidden, images column-major": (("H", BATCH), "F", (BATCH, INPUTS), "F", None, "C"),
    "update output": ((OUTPUTS, BATCH), "F", (BATCH, "H"), "C", None, "C"),
    "update output and bias": (("H", BATCH), "F", (BATCH, OUTPUTS), "C", "BGRADB", "F"),
}


@functools.cache
def operands(
    name: str, width: int, *, integers: bool = True
) -> tuple[list, dict[str, Any], dict[str, Any]]:
    """The operands a, b and perhaps c, the arguments, and the epilog inputs, in NumPy."""
    shape_a, order_a, shape_b, order_b, epilog, order_c = MATMULS[name]
    rng = np.random.default_rng(width)

    def numbers(shape: Any, order: str = "C") -> np.ndarray:
        shape = [width if extent == "H" else extent for extent in shape]
        x = rng.integers(-3, 4, shape) if integers else rng.standard_normal(shape, np.float32)
        return np.asarray(x, np.float32, order=order)

    tensors, arguments = [numbers(shape_a, order_a), numbers(shape_b, order_b)], {}
    m, n = len(tensors[0]), tensors[1].shape[1]
    if order_c:
        tensors.append(numbers((m, n), order_c))
        arguments = {"alpha": -0.5, "beta": 1.0, "options": {"inplace": True}}
    given = {"bias": numbers((m,)), "relu_aux": epilogs.pack_mask(rng.random((m, n)) < 0.5)}
    names = epilogs.input_names(MatmulEpilog[epilog]) if epilog else ()
    return tensors, arguments, {name: given[name] for name in names}


def _named(result: Any) -> dict[str, Any]:
    d, outputs = result if isinstance(result, tuple) else (result, {})
    return {"result": d, **outputs}


@functools.cache
def truth(name: str, width: int) -> dict[str, np.ndarray]:
    """What the reference makes of it: the result and the extra outputs by name."""
    tensors, arguments, inputs = operands(name, width)
    epilog = MatmulEpilog[MATMULS[name][4]] if MATMULS[name][4] else None
    tensors = tensors[:2] + [c.copy(order="K") for c in tensors[2:]]
    return _named(
        reference.matmul(*tensors, epilog=epilog, epilog_inputs=inputs or None, **arguments)
    )


def _equal(xp: Any, x: dict[str, Any], y: dict[str, Any], rows: int) -> bool:
    """Bit for bit, on the device; of a mask only the rows that mean something."""
    if set(x) != set(y):
        return False
    for name in x:
        if name == "relu_aux":
            masks = (z.get() if hasattr(z, "get") else z for z in (x[name], y[name]))
            if not np.array_equal(*(epilogs.unpack_mask(mask, rows) for mask in masks)):
                return False
        elif not bool(xp.array_equal(x[name], y[name])):
            return False
    return True


def _copy(xp: Any, x: Any) -> Any:
    return xp.array(x, order="K")


def count(library: Any, xp: Any, name: str, width: int, arithmetic: str) -> dict[str, Any]:
    """Candidates, those that agree with the reference, and those that repeat bit for bit.

    Those that do not agree are listed as `wrong`, by rank and number, if there are any.
    """

    def on_device(integers: bool) -> tuple[list, dict[str, Any]]:
        tensors, _, inputs = operands(name, width, integers=integers)
        return [_copy(xp, x) for x in tensors], {key: _copy(xp, x) for key, x in inputs.items()}

    def run(algorithm: Any) -> dict[str, Any]:
        if c:
            c[0][...] = original
        return {key: _copy(xp, x) for key, x in _named(mm.execute(algorithm=algorithm)).items()}

    tensors, inputs = on_device(True)
    a, b, *c = tensors
    original = _copy(xp, c[0]) if c else None
    arguments = operands(name, width)[1]
    options = arguments.get("options", {}) | {"compute_type": ARITHMETICS[arithmetic]}
    epilog = library.MatmulEpilog[MATMULS[name][4]] if MATMULS[name][4] else None
    expected = {key: _copy(xp, x) for key, x in truth(name, width).items()}
    with library.Matmul(*tensors, **arguments | {"options": options}) as mm:
        plan = {"epilog": epilog, "epilog_inputs": inputs or None}
        algorithms = mm.plan(preferences={"limit": LIMIT}, **plan)
        agree = [_equal(xp, expected, run(algorithm), len(a)) for algorithm in algorithms]
        (a, b, *c), inputs = on_device(False)
        original = _copy(xp, c[0]) if c else None
        mm.reset_operands(a=a, b=b, c=c[0] if c else None, epilog_inputs=inputs or None)
        repeat = [_equal(xp, run(one), run(one), len(a)) for one in algorithms]
    found = {"candidates": len(algorithms), "agree": sum(agree), "repeat": sum(repeat)}
    wrong = [
        f"{rank}: algorithm {getattr(algorithms[rank], 'algorithm_id', '')}"
        for rank, right in enumerate(agree)
        if not right
    ]
    return found | ({"wrong": wrong} if wrong else {})


def count_all(library: Any, xp: Any, widths: list[int] = WIDTHS) -> dict[str, dict[str, dict]]:
    """The counts by matmul, width and arithmetic: ``{"hidden 30": {"tf32": {…}}}``."""
    return {
        f"{name} {width}": {
            arithmetic: count(library, xp, name, width, arithmetic) for arithmetic in ARITHMETICS
        }
        for name in MATMULS
        for width in widths
    }
