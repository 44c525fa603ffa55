"""One matmul computed twice, by the reference and by another library, and what differs.

The operands are small integers, whose sums float32 holds exactly: so results and masks must agree
to the last bit, zeros included, and only GELU is left to a tolerance.
"""

import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog

# M, N, K: ones, odd sizes, no multiples of 16, the edges of the padding, the network's own.
SHAPES = [
    (1, 1, 1),
    (1, 5, 3),
    (5, 1, 3),
    (5, 3, 1),
    (2, 2, 2),
    (17, 33, 9),
    (8, 16, 24),
    (127, 3, 7),
    (128, 128, 64),
    (129, 5, 130),
    (30, 256, 784),
    (10, 256, 30),
    (30, 256, 10),
    (10, 30, 256),
    (30, 784, 256),
]
DTYPES = ["float32", "float64"]
C_KINDS = ["none", "C", "F", "column", "inplace C", "inplace F"]
EPILOGS = [None, *MatmulEpilog]


@dataclass(frozen=True)
class Case:
    """One combination: what is asked of both libraries."""

    epilog: MatmulEpilog | None
    shape: tuple[int, int, int]
    orders: tuple[str, str]
    dtype: str
    c_kind: str

    @property
    def name(self) -> str:
        """The epilog's name; `none` without one."""
        return "none" if self.epilog is None else self.epilog.name


def cases() -> Iterator[Case]:
    """Every combination of epilog, shape, memory orders, dtype and kind of c."""
    orders = list(itertools.product("CF", repeat=2))
    for parts in itertools.product(EPILOGS, SHAPES, orders, DTYPES, C_KINDS):
        yield Case(*parts)


def operands(case: Case) -> tuple[list[np.ndarray], dict[str, Any], dict[str, np.ndarray]]:
    """The operands a, b and perhaps c, the arguments, and the epilog inputs, for one case."""
    m, n, k = case.shape
    rng = np.random.default_rng(zlib.crc32(repr(case).encode()))

    def integers(*shape: int, order: str = "C") -> np.ndarray:
        return np.asarray(rng.integers(-3, 4, shape), case.dtype, order=order)

    a, b = integers(m, k, order=case.orders[0]), integers(k, n, order=case.orders[1])
    arguments: dict[str, Any] = {"alpha": 2.0}
    tensors = [a, b]
    if case.c_kind != "none":
        order = case.c_kind[-1] if case.c_kind != "column" else "C"
        tensors.append(integers(m, 1 if case.c_kind == "column" else n, order=order))
        arguments |= {"beta": -1.0, "options": {"inplace": case.c_kind.startswith("inplace")}}
    named = {
        "bias": integers(m),
        "relu_aux": epilogs.pack_mask(rng.random((m, n)) < 0.5),
        "gelu_aux": np.asfortranarray(rng.uniform(-3, 3, (-(-m // 8) * 8, n)).astype(case.dtype)),
    }
    names = epilogs.input_names(case.epilog) if case.epilog in epilogs.STAGES else set()
    return tensors, arguments, {name: named[name] for name in sorted(names)}


def run(library: Any, case: Case, to_device: Callable[[np.ndarray], Any]) -> Any:
    """What one library makes of a case: {name: array}, or the exception that it raises."""
    tensors, arguments, inputs = operands(case)
    tensors = [to_device(x) for x in tensors]
    inputs = {name: to_device(x) for name, x in inputs.items()}
    epilog = None if case.epilog is None else library.MatmulEpilog(int(case.epilog))
    try:
        with library.Matmul(*tensors, **arguments) as mm:
            mm.plan(epilog=epilog, epilog_inputs=inputs or None)
            result = mm.execute()
    except Exception as error:  # whatever it is: the other library must raise the same
        return error
    d, outputs = result if isinstance(result, tuple) else (result, {})
    return {"result": d, **outputs}


def differences(case: Case, ours: Any, theirs: Any) -> tuple[list[str], float]:
    """What the two disagree about, in words, and the worst deviation of a value, relative to 1."""
    if isinstance(ours, Exception) or isinstance(theirs, Exception):
        ours, theirs = (
            type(x).__name__ if isinstance(x, Exception) else "computes" for x in (ours, theirs)
        )
        return ([] if ours == theirs else [f"reference {ours}, library {theirs}"]), 0.0
    found, worst = [], 0.0
    if set(ours) != set(theirs):
        return [f"outputs {sorted(ours)} and {sorted(theirs)}"], 0.0
    for name, x in ours.items():
        y = theirs[name]
        layouts = [
            (z.shape, str(z.dtype), tuple(s // z.itemsize for s in z.strides)) for z in (x, y)
        ]
        if layouts[0] != layouts[1]:
            found.append(f"{name}: layouts {layouts[0]} and {layouts[1]}")
            continue
        x, y = (
            _meaning(case, name, x),
            _meaning(case, name, np.asarray(y.get() if hasattr(y, "get") else y)),
        )
        if x.dtype == bool:
            if not np.array_equal(x, y):
                found.append(f"{name}: {np.count_nonzero(x != y)} bits differ")
            continue
        deviation = float(np.abs(x - y).max()) / _scale(case)
        worst = max(worst, deviation)
        if not deviation <= tolerance(case):
            found.append(f"{name}: values deviate by {deviation:.1e}")
    return found, worst


def tolerance(case: Case) -> float:
    """Exact for integers; where there is a tanh, relative to the largest value that it scales."""
    if "GELU" not in case.name:
        return 0.0
    return 1e-5 if case.dtype == "float32" else 1e-13


def _scale(case: Case) -> float:
    """The largest value before the epilog; for sums of it, times the columns that are summed."""
    tensors, arguments, _ = operands(case)
    d = arguments["alpha"] * (tensors[0] @ tensors[1])
    if len(tensors) == 3:
        d = d + arguments["beta"] * tensors[2]
    return max(1.0, float(np.abs(d).max())) * (case.shape[1] if "BGRAD" in case.name else 1)


def _meaning(case: Case, name: str, x: np.ndarray) -> np.ndarray:
    """The part of an output that means something: a mask's and a GELU input's padding do not."""
    if name == "relu_aux":
        return epilogs.unpack_mask(x, case.shape[0])
    return x[: case.shape[0]] if name == "gelu_aux" else x


def nan_under_relu(library: Any, to_device: Callable[[np.ndarray], Any]) -> dict[str, dict]:
    """Whether NaN passes RELU and RELU_AUX, for several K: {epilog: {K: kept}}."""
    kept: dict[str, dict[str, bool]] = {"RELU": {}, "RELU_AUX": {}}
    for name, k in itertools.product(kept, (1, 2, 16, 784)):
        a, b = np.zeros((30, k), np.float32), np.ones((k, 256), np.float32)
        a[3, 0] = np.nan
        epilog = library.MatmulEpilog[name]
        result = library.matmul(to_device(a), to_device(b), epilog=epilog)
        d = result[0] if isinstance(result, tuple) else result
        kept[name][str(k)] = bool(np.isnan(np.asarray(d.get() if hasattr(d, "get") else d)[3, 0]))
    return kept


def compare_all(library: Any, to_device: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """Run all cases; counts per epilog, the worst deviation, and every kind of disagreement."""
    per_epilog: dict[str, dict[str, Any]] = {}
    disagreements: dict[str, list[str]] = {}
    for case in cases():
        ours, theirs = run(reference, case, lambda x: x), run(library, case, to_device)
        found, worst = differences(case, ours, theirs)
        count = per_epilog.setdefault(
            case.name, {"computed": 0, "refused": 0, "disagree": 0, "worst_deviation": 0.0}
        )
        key = "disagree" if found else "refused" if isinstance(ours, Exception) else "computed"
        count[key] += 1
        count["worst_deviation"] = max(count["worst_deviation"], worst)
        for text in found:
            where = f"{case.shape} {''.join(case.orders)} {case.dtype} c={case.c_kind}"
            detail = f" [{theirs}]" if isinstance(theirs, Exception) else ""
            disagreements.setdefault(f"{case.name}: {text}", []).append(where + detail[:160])
    return {
        "cases": sum(1 for _ in cases()),
        "per_epilog": per_epilog,
        "disagreements": disagreements,
    }
