"""What the atlas says of an epilog's shapes, memory orders and refusals: found by running it."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Stage:
    """One stage: whether it changes the result, what else it reads, what else it leaves."""

    name: str
    changes: bool
    reads: Arrays
    leaves: Arrays


@dataclass(frozen=True)
class Facts:
    """One epilog at the sizes M, K or K_BACKWARD, N; DEFAULT as the plain product."""

    operands: Arrays
    inputs: Arrays
    stages: tuple[Stage, ...]
    result: np.ndarray
    outputs: Arrays
    always_column_major: bool
    refusals: tuple[str, ...]


def find(epilog: MatmulEpilog) -> Facts:
    """Run `epilog` on random operands, and again with one thing changed at a time."""
    refused = _refusal(epilog)
    if refused:
        refusals, runs = (f"always (`{refused}`)",), None
    else:
        found = {label: _refusal(epilog, **change) for label, change in PROBES.items()}
        refusals = tuple(f"{label} (`{error}`)" for label, error in found.items() if error)
        runs = epilog
    accepted = [order for order in "CF" if not _refusal(runs, a_order=order)]
    orders = {memory_order(_run(runs, a_order=order)[2]) for order in accepted}
    operands, inputs, result, outputs = _run(runs, a_order=accepted[0])
    stages = _stages(runs, operands, inputs) if runs else ()
    return Facts(operands, inputs, stages, result, outputs, orders == {"F"}, refusals)


def _run(
    epilog: MatmulEpilog | None,
    *,
    m: int = M,
    k: int = 0,
    n: int = N,
    a_order: str = "F",
    b_order: str = "C",
    c_order: str = "",
) -> tuple[Arrays, Arrays, np.ndarray, Arrays]:
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


def _refusal(epilog: MatmulEpilog | None, **change: Any) -> str:
    """The name of the exception with which the call is refused, empty if it is not."""
    try:
        _run(epilog, **change)
    except (AssertionError, ValueError, cuBLASLtError) as error:
        return type(error).__name__
    return ""


def _stages(epilog: MatmulEpilog, operands: Arrays, inputs: Arrays) -> tuple[Stage, ...]:
    """Run stage after stage; what a stage reads of the operands shows when they are changed."""
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
        stages.append(Stage(function.__name__, bool((d != before).any()), reads, leaves))
    return tuple(stages)
