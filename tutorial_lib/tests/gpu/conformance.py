"""One matmul computed twice, by the reference and by another library, and what differs.

The operands are small integers, whose sums float32 holds exactly: so results and masks must agree
to the last bit, zeros included, and only GELU is left to a tolerance. Those of half precision are
so small that the type holds their sums, too: some algorithms round parts of a sum.
"""

import itertools
import zlib
from typing import NamedTuple

import ml_dtypes  # noqa: F401 (which gives NumPy its bfloat16)
import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.layouts import HALF

# M, N, K: ones, odd sizes, no multiples of 16, the edges of the padding, the network's own.
SHAPES = [(1, 1, 1), (1, 5, 3), (5, 1, 3), (5, 3, 1), (2, 2, 2), (17, 33, 9), (8, 16, 24)]
SHAPES += [(127, 3, 7), (128, 128, 64), (129, 5, 130)]
SHAPES += [(30, 256, 784), (10, 256, 30), (30, 256, 10), (10, 30, 256), (30, 784, 256)]
# Integers must agree exactly; where there is a tanh, relative to the largest value that it scales.
TOLERANCES = {"float32": 1e-5, "float64": 1e-13, "float16": 1e-3, "bfloat16": 8e-3}
C_KINDS = ["none", "C", "F", "column", "inplace C", "inplace F"]
EPILOGS = [None, *MatmulEpilog]


class Case(NamedTuple):
    """One combination: what is asked of both libraries."""

    epilog: MatmulEpilog | None
    shape: tuple[int, int, int]
    orders: tuple[str, str]
    dtype: str
    c_kind: str
    c_dtype: str = ""  # and the result's, where it is not that of a and b

    @property
    def name(self):
        return "none" if self.epilog is None else self.epilog.name


def cases():
    """Every combination of epilog, shape, memory orders, dtypes and kind of c; of the orders, half
    precision gets two."""
    orders = list(itertools.product("CF", repeat=2))
    found = [Case(*x) for x in itertools.product(EPILOGS, SHAPES, orders, TOLERANCES, C_KINDS)]
    found = [case for case in found if case.dtype not in HALF or len({*case.orders}) == 2]
    mixed = (case for case in found if case.dtype in HALF and case.c_kind != "none")
    return found + [case._replace(c_dtype="float32") for case in mixed]


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
    return np.array(x.get(order="A") if hasattr(x, "get") else x, order=order)


def meaning(outputs, rows):
    """In NumPy, what means something: the padding of a mask and of a GELU input does not."""
    values = {name: host(x) for name, x in outputs.items()}
    parts = {"relu_aux": epilogs.unpack_mask, "gelu_aux": lambda x, rows: x[:rows]}
    for name in parts.keys() & values.keys():
        x = values[name]
        matrices = [parts[name](y, rows) for y in (x if x.ndim == 3 else [x])]
        values[name] = np.array(matrices) if x.ndim == 3 else matrices[0]
    return values


def operands(case, integers=True):
    """The operands a, b and perhaps c, the arguments, and the epilog inputs, for one case."""
    (m, n, k), kind, c_dtype = case.shape, case.c_kind, case.c_dtype or case.dtype
    rng = np.random.default_rng(zlib.crc32(repr(case).encode()))

    most = 1 if case.dtype == "bfloat16" else 3

    def numbers(order, *shape, dtype=case.dtype):
        x = rng.integers(-most, most + 1, shape) if integers else rng.standard_normal(shape)
        return np.asarray(x.astype(dtype), order=order)

    tensors = [numbers(case.orders[0], m, k), numbers(case.orders[1], k, n)]
    arguments = {"alpha": 2.0}
    if kind != "none":
        shape = ("C", m, 1) if kind == "column" else (kind[-1], m, n)
        tensors.append(numbers(*shape, dtype=c_dtype))
        arguments |= {"beta": -1.0, "options": {"inplace": kind.startswith("inplace")}}
    return tensors, arguments, inputs_of(case.epilog, m, n, c_dtype, rng)


def planned(library, mm, epilog, inputs):
    """A library's Matmul with a plan: an epilog of the reference, and its inputs if it has any."""
    epilog = None if epilog is None else library.MatmulEpilog(int(epilog))
    mm.plan(epilog=epilog, epilog_inputs=inputs or None)
    return mm


def outcome(library, tensors, epilog, inputs, **arguments):
    """What a library makes of a matmul: {name: array}, or the exception that it raises."""
    try:
        with library.Matmul(*tensors, **arguments) as mm:
            return named(planned(library, mm, epilog, inputs).execute())
    except Exception as error:  # whatever it is: the other library must raise the same
        return error


def run(library, case, to_device, integers=True):
    """What a library makes of a case, its operands moved by `to_device`."""
    tensors, arguments, inputs = operands(case, integers)
    inputs = {name: to_device(x) for name, x in inputs.items()}
    return outcome(library, map(to_device, tensors), case.epilog, inputs, **arguments)


def layout(x):
    """Shape, dtype, and strides in elements, of an array of NumPy or CuPy or a tensor of torch."""
    x = x.numpy() if hasattr(x, "numpy") else x
    return x.shape, str(x.dtype), tuple(stride // x.itemsize for stride in x.strides)


def differences(case, ours, theirs):
    """What the two disagree about, in words, and the worst deviation of a value, relative to 1."""
    kinds = [type(x).__name__ if isinstance(x, Exception) else sorted(x) for x in (ours, theirs)]
    if kinds[0] != kinds[1]:
        return ["reference {}, library {}".format(*kinds)], 0.0
    if isinstance(ours, Exception):
        return [], 0.0
    (rows, columns, _), found, worst = case.shape, [], 0.0
    a, b, *c = (x.astype(np.float64) for x in operands(case)[0])
    scale = max(1.0, float(np.abs(2 * (a @ b) - sum(c)).max()))  # before the epilog
    scale *= columns if "BGRAD" in case.name else 1  # which sums them
    values, others = meaning(ours, rows), meaning(theirs, rows)
    for name, x in values.items():
        y, layouts = others[name], [layout(ours[name]), layout(theirs[name])]
        if layouts[0] != layouts[1]:
            found.append("{}: layouts {} and {}".format(name, *layouts))
        elif x.dtype == bool:
            if different := np.count_nonzero(x != y):
                found.append(f"{name}: {different} bits differ")
        else:
            deviation = float(np.abs(x.astype(np.float64) - y).max()) / scale
            worst = max(worst, deviation)
            if not deviation <= TOLERANCES[case.dtype] * ("GELU" in case.name):
                found.append(f"{name}: values deviate by {deviation:.1e}")
    return found, worst


def nan_under_relu(library, to_device):
    """Whether NaN passes RELU and RELU_AUX, for several K: {epilog: {K: kept}}."""
    kept = {"RELU": {}, "RELU_AUX": {}}
    for name, k in itertools.product(kept, (1, 2, 16, 784)):
        a, b = np.zeros((30, k), np.float32), np.ones((k, 256), np.float32)
        a[3, 0] = np.nan
        found = outcome(library, map(to_device, (a, b)), MatmulEpilog[name], None)
        kept[name][str(k)] = bool(np.isnan(host(found["result"])[3, 0]))
    return kept


def rounding(library, to_device, widths=(30, 512, 8192)):
    """What share of the numbers is rounded to half precision as by the reference. Each algorithm
    has its way: some round before the epilog, too, or round the parts of a sum."""
    shares = {}
    for dtype, epilog, m in itertools.product(HALF, (None, *epilogs.STAGES), widths):
        case = Case(epilog, (m, 256, 784), ("F", "C"), dtype, "none")
        ours = meaning(run(reference, case, host, integers=False), m)
        theirs = meaning(run(library, case, to_device, integers=False), m)
        same = [np.mean(x == ours[name]) for name, x in theirs.items()]
        shares[f"{dtype} {m} {case.name}"] = round(float(min(same)), 4)
    return shares


def compare_all(library, to_device):
    """Run all cases; counts per epilog, the worst deviation, and every kind of disagreement."""
    none_yet, disagreements = {"computed": 0, "refused": 0, "disagree": 0}, {}
    per_epilog = {case.name: {**none_yet, "worst_deviation": 0.0} for case in cases()}
    for case in cases():
        ours, theirs = run(reference, case, lambda x: x), run(library, case, to_device)
        found, worst = differences(case, ours, theirs)
        count, computed = per_epilog[case.name], isinstance(ours, dict)
        count["disagree" if found else "computed" if computed else "refused"] += 1
        count["worst_deviation"] = max(count["worst_deviation"], worst)
        where = f"{case.shape} {''.join(case.orders)} {case.dtype} c={case.c_kind} {case.c_dtype}"
        detail = f" [{theirs}]"[:160] if isinstance(theirs, Exception) else ""
        for text in found:
            disagreements.setdefault(f"{case.name}: {text}", []).append(where + detail)
    return {"cases": len(cases()), "per_epilog": per_epilog, "disagreements": disagreements}
