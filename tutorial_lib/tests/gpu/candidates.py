"""Every algorithm that cuBLASLt offers for the network's matmuls: is it right, does it repeat?

The operands are small integers, which float32 and TF32 hold exactly, as they do all sums of their
products: so every algorithm must give the reference's result to the last bit. Whether it repeats
is asked with numbers whose sums are rounded, where another order of summing would show.
"""

import numpy as np

from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.options import MatmulComputeType
from tutorial_lib.tests.gpu.conformance import inputs_of, meaning, named, outcome

LIMIT = 64  # how many algorithms cuBLASLt is asked for
INPUTS, OUTPUTS, BATCH = 784, 10, 256
WIDTHS = [30, 512, 8192]
ARITHMETICS = {"float32": None, "tf32": int(MatmulComputeType.COMPUTE_32F_FAST_TF32)}

# By name: the shapes of a and b (H is the width) and their memory orders, as the networks have
# them; the epilog; whether the result is added to c, in place, and the memory order of that c.
MATMULS = {
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


def operands(name, width, integers=True):
    """The operands a, b and perhaps c, the arguments, and the epilog inputs, in NumPy."""
    shape_a, order_a, shape_b, order_b, epilog, order_c = MATMULS[name]
    rng = np.random.default_rng(width)

    def numbers(shape, order):
        shape = [width if extent == "H" else extent for extent in shape]
        x = rng.integers(-3, 4, shape) if integers else rng.standard_normal(shape, np.float32)
        return np.asarray(x, np.float32, order=order)

    tensors, arguments = [numbers(shape_a, order_a), numbers(shape_b, order_b)], {}
    m, n = len(tensors[0]), tensors[1].shape[1]
    if order_c:
        tensors.append(numbers((m, n), order_c))
        arguments = {"alpha": -0.5, "beta": 1.0, "options": {"inplace": True}}
    return tensors, arguments, inputs_of(epilog and MatmulEpilog[epilog], m, n, np.float32, rng)


def _equal(x, y):
    return set(x) == set(y) and all(np.array_equal(x[name], y[name]) for name in x)


def count(library, xp, name, width, arithmetic):
    """Candidates, those that agree with the reference, and those that repeat bit for bit.

    Those that do not agree are listed as `wrong`, by rank and number, if there are any.
    """
    epilog = MATMULS[name][4]
    tensors, arguments, inputs = operands(name, width)
    rows = len(tensors[0])

    def run(algorithm):
        if c:
            c[0][...] = original
        return meaning(named(mm.execute(algorithm=algorithm)), rows)

    def on_device(tensors, inputs):
        tensors = [xp.array(x, order="K") for x in tensors]
        return tensors, {key: xp.array(x, order="K") for key, x in inputs.items()} or None

    (a, b, *c), given = on_device(tensors, inputs)
    original = c[0].copy() if c else None
    truth = outcome(reference, tensors, epilog and MatmulEpilog[epilog], inputs, **arguments)
    truth = meaning(truth, rows)
    arguments["options"] = arguments.get("options", {}) | {"compute_type": ARITHMETICS[arithmetic]}
    plan = {"epilog": epilog and library.MatmulEpilog[epilog], "epilog_inputs": given}
    with library.Matmul(a, b, *c, **arguments) as mm:
        algorithms = mm.plan(preferences={"limit": LIMIT}, **plan)
        agree = [_equal(truth, run(algorithm)) for algorithm in algorithms]
        rounded, _, inputs = operands(name, width, integers=False)
        (a, b, *c), given = on_device(rounded, inputs)
        original = c[0].copy() if c else None
        mm.reset_operands(a=a, b=b, c=c[0] if c else None, epilog_inputs=given)
        repeat = [_equal(run(one), run(one)) for one in algorithms]
    found = {"candidates": len(algorithms), "agree": sum(agree), "repeat": sum(repeat)}
    ranked = enumerate(getattr(algorithm, "algorithm_id", "") for algorithm in algorithms)
    wrong = [f"{rank}: algorithm {number}" for rank, number in ranked if not agree[rank]]
    return found | ({"wrong": wrong} if wrong else {})


def count_all(library, xp, widths=WIDTHS):
    """The counts by matmul, width and arithmetic: ``{"hidden 30": {"tf32": {…}}}``."""
    return {
        f"{name} {width}": {how: count(library, xp, name, width, how) for how in ARITHMETICS}
        for name in MATMULS
        for width in widths
    }
