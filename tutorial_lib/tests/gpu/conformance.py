"""One matmul computed twice, by the reference and by another library, and what differs.

The operands are small integers, whose sums float32 holds exactly: so results and masks must agree
to the last bit, zeros included, and only GELU is left to a tolerance.
"""

import itertools
import zlib
from typing import NamedTuple

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog

# M, N, K: ones, odd sizes, no multiples of 16, the edges of the padding, the network's own.
SHAPES = [(1, 1, 1), (1, 5, 3), (5, 1, 3), (5, 3, 1), (2, 2, 2), (17, 33, 9), (8, 16, 24)]
SHAPES += [(127, 3, 7), (128, 128, 64), (129, 5, 130)]
SHAPES += [(30, 256, 784), (10, 256, 30), (30, 256, 10), (10, 30, 256), (30, 784, 256)]
# Integers must agree exactly; where there is a tanh, relative to the largest value that it scales.
TOLERANCES = {"float32": 1e-5, "float64": 1e-13}
C_KINDS = ["none", "C", "F", "column", "inplace C", "inplace F"]
EPILOGS = [None, *MatmulEpilog]


class Case(NamedTuple):
    """One combination: what is asked of both libraries."""

    epilog: MatmulEpilog | None
    shape: tuple[int, int, int]
    orders: tuple[str, str]
    dtype: str
    c_kind: str

    @property
    def name(self):
        return "none" if self.epilog is None else self.epilog.name


def cases():
    """Every combination of epilog, shape, memory orders, dtype and kind of c."""
    orders = list(itertools.product("CF", repeat=2))
    return itertools.starmap(Case, itertools.product(EPILOGS, SHAPES, orders, TOLERANCES, C_KINDS))


def inputs_of(epilog, m, n, dtype, rng):
    """Some inputs of an epilog after an (m, n) result; none where it needs none, or is refused."""
    inputs = {
        "bias": rng.integers(-3, 4, m).astype(dtype),
        "relu_aux": epilogs.pack_mask(rng.random((m, n)) < 0.5),
        "gelu_aux": np.asarray(rng.uniform(-3, 3, epilogs.gelu_shape(m, n)), dtype, order="F"),
    }
    names = epilogs.input_names(epilog) if epilog in epilogs.STAGES else ()
    return {name: inputs[name] for name in names}


def named(result):
    """The result and the extra outputs by name, where they are."""
    d, outputs = result if isinstance(result, tuple) else (result, {})
    return {"result": d, **outputs}


def host(x, order="K"):
    return np.array(x.get() if hasattr(x, "get") else x, order=order)


def meaning(outputs, rows):
    """In NumPy, what means something: the padding of a mask and of a GELU input does not."""
    values = {name: host(x) for name, x in outputs.items()}
    if "relu_aux" in values:
        values["relu_aux"] = epilogs.unpack_mask(values["relu_aux"], rows)
    if "gelu_aux" in values:
        values["gelu_aux"] = values["gelu_aux"][:rows]
    return values


def operands(case):
    """The operands a, b and perhaps c, the arguments, and the epilog inputs, for one case."""
    m, n, k = case.shape
    rng = np.random.default_rng(zlib.crc32(repr(case).encode()))

    def integers(*shape, order="C"):
        return np.asarray(rng.integers(-3, 4, shape), case.dtype, order=order)

    tensors = [integers(m, k, order=case.orders[0]), integers(k, n, order=case.orders[1])]
    arguments = {"alpha": 2.0}
    if case.c_kind != "none":
        column = case.c_kind == "column"
        tensors.append(integers(m, 1) if column else integers(m, n, order=case.c_kind[-1]))
        arguments |= {"beta": -1.0, "options": {"inplace": case.c_kind.startswith("inplace")}}
    return tensors, arguments, inputs_of(case.epilog, m, n, case.dtype, rng)


def outcome(library, tensors, epilog, inputs, **arguments):
    """What a library makes of a matmul: {name: array}, or the exception that it raises."""
    epilog = None if epilog is None else library.MatmulEpilog(int(epilog))
    try:
        with library.Matmul(*tensors, **arguments) as mm:
            mm.plan(epilog=epilog, epilog_inputs=inputs or None)
            return named(mm.execute())
    except Exception as error:  # whatever it is: the other library must raise the same
        return error


def run(library, case, to_device):
    """What a library makes of a case, its operands moved by `to_device`."""
    tensors, arguments, inputs = operands(case)
    inputs = {name: to_device(x) for name, x in inputs.items()}
    return outcome(library, map(to_device, tensors), case.epilog, inputs, **arguments)


def layout(x):
    """Shape, dtype, and strides in elements, of a NumPy or a CuPy array."""
    return x.shape, str(x.dtype), tuple(stride // x.itemsize for stride in x.strides)


def differences(case, ours, theirs):
    """What the two disagree about, in words, and the worst deviation of a value, relative to 1."""
    kinds = [type(x).__name__ if isinstance(x, Exception) else "computes" for x in (ours, theirs)]
    if kinds != ["computes"] * 2:
        return ([] if len({*kinds}) == 1 else ["reference {}, library {}".format(*kinds)]), 0.0
    if set(ours) != set(theirs):
        return [f"outputs {sorted(ours)} and {sorted(theirs)}"], 0.0
    found, worst = [], 0.0
    values, others = (meaning(x, case.shape[0]) for x in (ours, theirs))
    for name, x in values.items():
        y, layouts = others[name], (layout(ours[name]), layout(theirs[name]))
        if layouts[0] != layouts[1]:
            found.append(f"{name}: layouts {layouts[0]} and {layouts[1]}")
        elif x.dtype == bool:
            if not np.array_equal(x, y):
                found.append(f"{name}: {np.count_nonzero(x != y)} bits differ")
        else:
            deviation = float(np.abs(x - y).max()) / _scale(case)
            worst = max(worst, deviation)
            if not deviation <= TOLERANCES[case.dtype] * ("GELU" in case.name):
                found.append(f"{name}: values deviate by {deviation:.1e}")
    return found, worst


def _scale(case):
    """The largest value before the epilog; for sums of it, times the columns that are summed."""
    (a, b, *c), arguments, _ = operands(case)
    d = arguments["alpha"] * (a @ b) + (arguments["beta"] * c[0] if c else 0)
    return max(1.0, float(np.abs(d).max())) * (case.shape[1] if "BGRAD" in case.name else 1)


def nan_under_relu(library, to_device):
    """Whether NaN passes RELU and RELU_AUX, for several K: {epilog: {K: kept}}."""
    kept = {"RELU": {}, "RELU_AUX": {}}
    for name, k in itertools.product(kept, (1, 2, 16, 784)):
        a, b = np.zeros((30, k), np.float32), np.ones((k, 256), np.float32)
        a[3, 0] = np.nan
        result = outcome(library, (to_device(a), to_device(b)), MatmulEpilog[name], None)["result"]
        kept[name][str(k)] = bool(np.isnan(host(result)[3, 0]))
    return kept


def compare_all(library, to_device):
    """Run all cases; counts per epilog, the worst deviation, and every kind of disagreement."""
    per_epilog, disagreements = {}, {}
    for case in cases():
        ours, theirs = run(reference, case, lambda x: x), run(library, case, to_device)
        found, worst = differences(case, ours, theirs)
        none_yet = {"computed": 0, "refused": 0, "disagree": 0, "worst_deviation": 0.0}
        count = per_epilog.setdefault(case.name, none_yet)
        computed = "refused" if isinstance(ours, Exception) else "computed"
        count["disagree" if found else computed] += 1
        count["worst_deviation"] = max(count["worst_deviation"], worst)
        where = f"{case.shape} {''.join(case.orders)} {case.dtype} c={case.c_kind}"
        detail = f" [{theirs}]"[:160] if isinstance(theirs, Exception) else ""
        for text in found:
            disagreements.setdefault(f"{case.name}: {text}", []).append(where + detail)
    number = sum(1 for _ in cases())
    return {"cases": number, "per_epilog": per_epilog, "disagreements": disagreements}
