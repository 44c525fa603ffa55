"""What the atlas says of an epilog's shapes, memory orders and refusals: found by running it."""

from typing import Any

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.layouts import memory_order
from tutorial_lib.reference.matmul import matmul
from tutorial_lib.reference.refusals import cuBLASLtError

M, K, N = 30, 784, 256  # the hidden layer of the book's network
K_BACKWARD = 10  # on the way back through it, the sum runs over the ten outputs
# What may be refused: changes to an accepted call.
PROBES: dict[str, dict[str, Any]] = {
    "`K` = 1": {"k": 1},
    "a result of one row": {"m": 1},
    "a result of one column": {"n": 1},
    "a row-major `a`": {"a_order": "C"},
    "a column-major `b`": {"b_order": "F"},
    "a row-major `c`": {"c_order": "C"},
}
Arrays = dict[str, np.ndarray]


def find(epilog: MatmulEpilog) -> dict[str, Any]:
    """Run `epilog` on random operands, and again with one thing changed at a time.

    The arrays that go in and come out, stage by stage, at the sizes M, K or K_BACKWARD, N; whether
    the result is always column-major; and what is refused. DEFAULT counts as the plain product.
    """
    if refused := refusal(epilog):
        refusals, runs = [f"always (`{refused}`)"], None
    else:
        found = {label: refusal(epilog, **change) for label, change in PROBES.items()}
        refusals = [f"{label} (`{error}`)" for label, error in found.items() if error]
        runs = epilog
    accepted = [order for order in "CF" if not refusal(runs, a_order=order)]
    orders = {memory_order(run(runs, a_order=order)[2]) for order in accepted}
    operands, inputs, result, outputs = run(runs, a_order=accepted[0])
    return {
        "operands": operands,
        "inputs": inputs,
        "stages": run_stages(runs, operands, inputs) if runs else [],
        "result": result,
        "outputs": outputs,
        "always_column_major": orders == {"F"},
        "refusals": refusals,
    }


def run(
    epilog: MatmulEpilog | None, m=M, k=0, n=N, a_order="F", b_order="C", c_order=""
) -> tuple[Arrays, Arrays, np.ndarray, Arrays]:
    """Operands, extra inputs, result and extra outputs of one call; without an order, no c."""
    rng = np.random.default_rng(0)
    names = epilogs.input_names(epilog) if epilog in epilogs.STAGES else set()
    k = k or (K if names <= {"bias"} else K_BACKWARD)

    def random(rows: int, columns: int, order: str = "C") -> np.ndarray:
        return np.array(rng.standard_normal((rows, columns)), np.float32, order=order)

    a, b = random(m, k, a_order), random(k, n, b_order)
    c = {"c": random(m, n, c_order), "beta": 1} if c_order else {}
    inputs = {}
    for name in names:  # what a backward epilog reads is what its forward epilog leaves
        if name == "bias":
            inputs[name] = random(m, 1).ravel()
        else:
            inputs |= matmul(random(m, k), b, epilog=MatmulEpilog[name.upper()])[1]
    result = matmul(a, b, **c, epilog=epilog, epilog_inputs=inputs or None)
    result, outputs = result if isinstance(result, tuple) else (result, {})
    return {"a": a, "b": b}, inputs, result, outputs


def refusal(epilog: MatmulEpilog | None, **change: Any) -> str:
    """The name of the exception with which the call is refused, empty if it is not."""
    try:
        run(epilog, **change)
    except (AssertionError, ValueError, cuBLASLtError) as error:
        return type(error).__name__
    return ""


def run_stages(epilog: MatmulEpilog, operands: Arrays, inputs: Arrays) -> list[dict[str, Any]]:
    """What each stage does: its name, whether it changes the result, what it reads and leaves.

    Which operand a stage reads shows when that operand is changed.
    """
    call = epilogs.Call(**operands, inputs=inputs)
    d, stages = call.a @ call.b, []
    for function in epilogs.STAGES[epilog]:
        before, known = d.copy(), set(call.outputs)
        function(d, call)
        leaves = {name: x for name, x in call.outputs.items() if name not in known}
        reads = {name: inputs[name] for name in [epilogs.INPUTS.get(function)] if name}
        for operand, x in operands.items():
            other = epilogs.Call(**operands | {operand: x + 1}, inputs=inputs)
            function(before.copy(), other)
            if any((other.outputs[name] != leaves[name]).any() for name in leaves):
                reads[operand] = x
        does = {"changes": (d != before).any(), "reads": reads, "leaves": leaves}
        stages.append({"name": function.__name__, **does})
    return stages
