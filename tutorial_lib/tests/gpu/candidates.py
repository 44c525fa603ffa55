"""Every algorithm that cuBLASLt offers for the network's matmuls: is it right, does it repeat?

The operands are small integers, which float32 and TF32 hold exactly, as they do all sums of their
products: so every algorithm must give the reference's result to the last bit. Whether it repeats
is asked with numbers whose sums are rounded, where another order of summing would show.
"""

import numpy as np

from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.options import MatmulComputeType
from tutorial_lib.tests.gpu.conformance import Case, meaning, named, operands, outcome

LIMIT = 64  # how many algorithms cuBLASLt is asked for
WIDTHS = [30, 512, 8192]
ARITHMETICS = {"float32": None, "tf32": int(MatmulComputeType.COMPUTE_32F_FAST_TF32)}

# By name, as the networks have them: the epilog; M, N and K (H is the width); the memory orders of
# a and b; and what is done with c.
MATMULS = {
    "hidden": ("RELU_AUX_BIAS", "H", 256, 784, "CF", "none"),
    "output": ("BIAS", 10, 256, "H", "CF", "none"),
    "grad_output": (None, 10, "H", 256, "FC", "none"),
    "grad_relu": ("DRELU_BGRAD", "H", 256, 10, "FF", "none"),
    "grad_hidden": (None, "H", 784, 256, "FC", "none"),
    "update hidden": (None, "H", 784, 256, "FC", "inplace C"),
    "update hidden, images column-major": (None, "H", 784, 256, "FF", "inplace C"),
    "update output": (None, 10, "H", 256, "FC", "inplace C"),
    "update output and bias": ("BGRADB", "H", 10, 256, "FC", "inplace F"),
}


def _equal(x, y):
    return set(x) == set(y) and all(np.array_equal(x[name], y[name]) for name in x)


def count(library, xp, name, width, arithmetic):
    """Candidates, those that agree with the reference, and those that repeat bit for bit.

    Those that do not agree are listed as `wrong`, by rank and number, if there are any.
    """
    epilog, *shape, orders, c_kind = MATMULS[name]
    shape = tuple(width if extent == "H" else extent for extent in shape)
    case = Case(epilog and MatmulEpilog[epilog], shape, orders, "float32", c_kind)
    tensors, arguments, inputs = operands(case)

    def run(algorithm):
        if c:
            c[0][...] = original
        return meaning(named(mm.execute(algorithm=algorithm)), shape[0])

    def on_device(tensors, inputs):
        tensors = [xp.array(x, order="K") for x in tensors]
        return tensors, {key: xp.array(x, order="K") for key, x in inputs.items()} or None

    (a, b, *c), given = on_device(tensors, inputs)
    original = c[0].copy() if c else None
    truth = meaning(outcome(reference, tensors, case.epilog, inputs, **arguments), shape[0])
    arguments["options"] = arguments.get("options", {}) | {"compute_type": ARITHMETICS[arithmetic]}
    plan = {"epilog": epilog and library.MatmulEpilog[epilog], "epilog_inputs": given}
    with library.Matmul(a, b, *c, **arguments) as mm:
        algorithms = mm.plan(preferences={"limit": LIMIT}, **plan)
        agree = [_equal(truth, run(algorithm)) for algorithm in algorithms]
        rounded, _, inputs = operands(case, integers=False)
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
