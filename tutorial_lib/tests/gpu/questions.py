"""Questions that the reference and nvmath must answer alike: misuse, and unusual views.

An answer is the type of an exception, or whether every element of what was computed is right.
Where nvmath computes other values than asked for, the reference must refuse; where an unchecked
operand makes it do so, the reference must compute the very same ones.
"""

import contextlib
import functools
from typing import NamedTuple

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog as E
from tutorial_lib.reference.layouts import HALF
from tutorial_lib.tests.gpu.conformance import host, meaning, named, planned

RIGHT, OTHER, ACCEPTED = "right values", "other values", "accepted"
M, N, K, BATCH = 4, 5, 3, 3
TOLERANCE = 1e-4  # of the largest value: GELU's tanh; all other results are whole or half numbers
QUESTIONS = {}  # functions of a Lab, which raise or return an Answer; ACCEPTED, what ought to raise
STRICTER = set()  # plans after one with another epilog: the reference refuses all, nvmath some
OPEN = {"alpha is 0 and a holds NaN"}  # asked and recorded, but nobody has promised an answer
OPEN |= {"NumPy: a changes in place, and counts as it was stated"}  # NumPy's plays one of a GPU


class Answer(NamedTuple):
    """RIGHT, OTHER, ACCEPTED or the name of an exception; its first line; what was computed."""

    verdict: str
    message: str = ""
    values: dict[str, np.ndarray] | None = None


class Lab(contextlib.ExitStack):
    """A library, the module xp that makes its arrays, and operands, which are small integers."""

    def __init__(self, library, xp):
        super().__init__()
        self.library, self.xp = library, xp
        self.a, self.b = self.dense(M, K, seed=1), self.dense(K, N, seed=2)
        self.abc = self.a, self.b, self.dense(M, N)
        self.new_a, self.bias = self.dense(M, K, seed=9), self.dense(M)
        self.column, self.nan = self.dense(M, 1), self.dense(M, N)
        self.nan[1, 2] = np.nan
        self.new_bias = {"epilog_inputs": {"bias": self.bias}}
        self.inputs = {"bias": self.bias, "relu_aux": self.input("relu_aux", (1, 16), seed=3)}

    def view(self, shape, strides=None, dtype="float32", seed=9):
        """An array with these strides, in elements, or dense; what is read lies in a larger one."""
        numbers = np.random.default_rng(seed).integers(0 if dtype == "uint8" else -3, 4, 1000)
        room = self.xp.asarray(numbers.astype(dtype))[500:]
        strides = [room.itemsize * x for x in strides or np.empty(shape, np.uint8).strides]
        return self.xp.lib.stride_tricks.as_strided(room, shape, strides)

    def dense(self, *shape, seed=0):
        return self.view(shape, seed=seed)

    def input(self, name, strides, seed=7):
        return self.made((SHAPES[name], strides), name, seed)

    def made(self, x, name="", seed=3):
        """An array of a shape, or of a shape and strides; masks, by their name, are of bytes."""
        shape, strides = x if isinstance(x[0], tuple) else (x, None)
        return self.view(shape, strides, "uint8" if name == "relu_aux" else "float32", seed)

    def batch(self, epilog=None, a=(BATCH, M, K), b=(K, N), c=None, inplace=False, **inputs):
        tensors = [self.made(x, seed=i) for i, x in enumerate((a, b, c)) if x]
        inputs = {name: self.made(x, name) for name, x in inputs.items()}
        arguments = {"beta": 2.0, "options": {"inplace": inplace}} if c else {}
        return self.computed(*tensors, epilog=epilog, inputs=inputs, **arguments)

    def half(self, dtype, c="", b="", bias="", scale=1, **arguments):
        """A matmul of operands of these dtypes, in numbers that all of them hold."""
        tensors = [(scale * self.a).astype(dtype), self.b.astype(b or dtype)]
        if c:
            tensors.append(self.xp.array(self.abc[2].astype(c), order="F"))
            arguments["beta"] = 2.0
        if bias:
            arguments |= {"epilog": E.BIAS, "inputs": {"bias": self.bias.astype(bias)}}
        return self.computed(*tensors, **arguments)

    def tensor(self, x):
        import torch

        return torch.from_numpy(host(x))

    def of_tensors(self, *c, **arguments):
        return self.planned(self.tensor(self.a), self.tensor(self.b), *c, **arguments)

    def of_torch(self, epilog, *c, **inputs):
        """RIGHT if the result, or the c that it overwrites, and the extra outputs are tensors."""
        arguments = {"beta": 2.0, "options": {"inplace": True}} if c else {}
        arguments |= {"epilog": epilog, "inputs": inputs}
        mm = self.of_tensors(*c, **arguments)
        found = judged(mm, self.a, self.b, *c, **arguments)
        kinds = {type(x).__module__ for x in named(mm.execute()).values()}
        return found if kinds == {"torch"} else Answer(f"an answer of {kinds}")

    def changed(self, make, seen=False):
        a, b = make(self.a), make(self.b)
        mm, old = self.planned(a, b), host(a)
        a *= 2
        return judged(mm, a if seen else old, b)

    def stated(self, *tensors, **arguments):
        return self.enter_context(self.library.Matmul(*(tensors or (self.a, self.b)), **arguments))

    def plan(self, mm, epilog=None, inputs=None):
        return planned(self.library, mm, epilog, inputs)

    def planned(self, *tensors, epilog=None, inputs=None, **arguments):
        return self.plan(self.stated(*tensors, **arguments), epilog, inputs)

    def biased(self):
        return self.planned(epilog=E.BIAS, inputs={"bias": self.bias})

    def computed(self, *tensors, epilog=None, inputs=None, **arguments):
        """What the library makes of it, and what is right."""
        mm = self.planned(*tensors, epilog=epilog, inputs=inputs, **arguments)
        return judged(mm, *tensors, epilog=epilog, inputs=inputs, **arguments)

    def matmul(self, **arguments):
        self.library.matmul(self.a, self.b, **arguments)

    def plus(self, c, **options):
        return self.computed(self.a, self.b, c, beta=2.0, options=options)

    def without_c(self, c, **options):
        return judged(self.planned(self.a, self.b, c, beta=0, options=options), self.a, self.b)

    def one_of_two(self):
        mm = self.stated()
        mm.plan(algorithms=mm.plan(preferences={"limit": 2})[-1:])
        return judged(mm, self.a, self.b, algorithm=mm.algorithms[0])

    def reading(self, name, strides, unchecked=False):
        new, epilog = {name: self.input(name, strides)}, READERS[name]
        mm = self.planned(epilog=epilog, inputs={name: self.inputs[name]} if unchecked else new)
        if unchecked:
            mm.reset_operands_unchecked(epilog_inputs=new)
        return judged(mm, self.a, self.b, epilog=epilog, inputs=new)

    def planned_anew(self, *plans, order="F"):
        a = self.xp.array(self.a, order=order)
        mm = self.stated(a, self.b)
        for epilog in plans:
            inputs = {x: self.inputs[x] for x in (epilogs.input_names(epilog) if epilog else ())}
            self.plan(mm, epilog, inputs)
        return judged(mm, a, self.b, epilog=epilog, inputs=inputs)

    def swapped(self, dtype="float32", **new):
        mm = self.planned(self.a.astype(dtype), self.b.astype(dtype))
        mm.reset_operands_unchecked(**new)
        return judged(mm, new.get("a", self.a), new.get("b", self.b))

    def swapped_c(self, new):
        mm = self.planned(*self.abc, beta=1, options={"inplace": True})
        mm.reset_operands_unchecked(c=new)
        return judged(mm, self.a, self.b, new, beta=1)


def result(mm, algorithm=None):
    """What a planned Matmul computes, by name."""
    return meaning(named(mm.execute(algorithm=algorithm)), M)


def by_columns(x):
    return x if x.ndim == 1 else np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)


def judged(mm, *tensors, algorithm=None, epilog=None, inputs=None, **arguments):
    """The answer of a planned Matmul, by what is right of float32 copies of the operands."""
    a, b, *c = (host(x, "C").astype(np.float32) for x in tensors)  # before c is overwritten
    tensors, arguments["options"] = [a, b, *map(by_columns, c)], None
    inputs = {name: by_columns(host(x)) for name, x in (inputs or {}).items()} or None
    values = result(mm, algorithm=algorithm)
    d = reference.matmul(*tensors, epilog=epilog, epilog_inputs=inputs, **arguments)
    truth = meaning(named(d), M)
    same = set(values) == set(truth) and all(
        values[key].shape == x.shape
        and np.allclose(values[key], x, rtol=0, atol=TOLERANCE * max(1, np.abs(x).max()))
        for key, x in truth.items()
    )
    return Answer(RIGHT if same else OTHER, values=values)


def after(mm, method="plan", **arguments):
    """The Matmul after a call that may fail: it is the next one that is asked about."""
    with contextlib.suppress(Exception):
        getattr(mm, method)(**arguments)
    return mm


def answer(name, library, xp):
    """What a library says to a question, its operands made by xp, NumPy or CuPy."""
    try:
        with Lab(library, xp) as lab:
            found = QUESTIONS[name](lab)
    except Exception as error:  # its type is the answer
        return Answer(type(error).__name__, str(error).partition("\n")[0])
    return found if isinstance(found, Answer) else Answer(ACCEPTED)


def agree(ours, theirs):
    """Whether the reference's answer does for nvmath's."""
    if ours.verdict == theirs.verdict == OTHER:
        x, y = ours.values, theirs.values
        return set(x) == set(y) and all(np.array_equal(x[k], y[k], equal_nan=True) for k in x)
    refused = theirs.verdict == OTHER and ours.verdict != RIGHT
    return refused or ours.verdict == theirs.verdict


def ask_all(library, xp):
    """All questions, put to the reference and to a library: the answers, and where they differ."""
    answers, disagreements = {}, {}
    for name in QUESTIONS:
        ours, theirs = answer(name, reference, np), answer(name, library, xp)
        text = f"{theirs.verdict}: {theirs.message}".removesuffix(": ")
        answers[name] = text if name in MISUSES else text[:160]
        alike = ours.verdict == "cuBLASLtError" if name in STRICTER else agree(ours, theirs)
        if name not in OPEN and not alike:
            disagreements[name] = f"reference: {ours.verdict}, library: {theirs.verdict}"
    return {"answers": answers, "disagreements": disagreements}


# Views at strides that nvmath takes, refuses, or takes for others.
def _views(rows, columns):
    return {
        "with gaps between rows": (columns + 3, 1),
        "with gaps between columns": (1, rows + 3),
        "of every other column": (2 * columns, 2),
        "whose rows overlap": (columns - 1, 1),
        "whose columns overlap": (1, rows - 1),
        "with reversed rows": (-columns, 1),
        "with reversed columns": (columns, -1),
        "column-major, with reversed columns": (1, -rows),
        "column-major, with reversed rows": (-1, rows),
        "of one row repeated": (0, 1),
        "of one column repeated": (1, 0),
        "of one number repeated": (0, 0),
    }


def _input_views(rows, columns):
    views = {"dense": (1, rows), "row-major": (columns, 1)}
    views |= {"with gaps between columns": (1, 2 * rows), "whose columns overlap": (1, rows - 1)}
    return views | {"with reversed columns": (1, -rows), "of one column repeated": (1, 0)}


READERS = {"bias": E.BIAS, "relu_aux": E.DRELU, "gelu_aux": E.DGELU}
SHAPES = {"bias": (M,), "relu_aux": (16, N), "gelu_aux": (8, N)}
COLUMNS = {"dense": (1, 1), "out of a matrix": (2, 1), "reversed": (-1, 1), "repeated": (0, 1)}
VECTORS = {"dense": (1,), "every other": (2,), "reversed": (-1,), "repeated": (0,)}
VIEWS = {
    "a": (_views(M, K), lambda q, s: q.computed(q.view((M, K), s, seed=7), q.b)),
    "b": (_views(K, N), lambda q, s: q.computed(q.a, q.view((K, N), s, seed=7))),
    "c": (_views(M, N), lambda q, s: q.plus(q.view((M, N), s, seed=7))),
    "c, in place,": (_views(M, N), lambda q, s: q.plus(q.view((M, N), s, seed=7), inplace=True)),
    "c is one column,": (COLUMNS, lambda q, s: q.plus(q.view((M, 1), s, seed=7))),
    "bias,": (VECTORS, lambda q, s: q.reading("bias", s)),
    "relu_aux,": (_input_views(16, N), lambda q, s: q.reading("relu_aux", s)),
    "gelu_aux,": (_input_views(8, N), lambda q, s: q.reading("gelu_aux", s)),
}
for _name, (_kinds, _ask) in VIEWS.items():
    for _kind, _strides in _kinds.items():
        QUESTIONS[f"{_name} {_kind}"] = functools.partial(_ask, s=_strides)

_PLANS = [(None, E.BIAS), (E.BIAS, E.BIAS), (E.BIAS, None), (E.BIAS, E.RELU_AUX), (E.RELU, None)]
_PLANS += [(E.RELU, E.BIAS), (E.RELU_AUX, E.RELU_AUX), (E.RELU_AUX, E.GELU_AUX)]
_PLANS += [(E.RELU_AUX, E.BIAS), (E.GELU_AUX, E.RELU_AUX), (E.DRELU, E.RELU)]
_PLANS += [(E.DRELU_BGRAD, E.RELU_AUX_BIAS), (E.DRELU_BGRAD, E.BIAS), (E.BGRADB, E.BIAS)]
for _plans in _PLANS:
    _names = ["no epilog" if epilog is None else epilog.name for epilog in _plans]
    _name = "planned with {}, then with {}".format(*_names)
    QUESTIONS[_name] = lambda q, plans=_plans: q.planned_anew(*plans)
    if _plans[0] not in (None, _plans[1]):
        STRICTER.add(_name)

# Wrong plans, algorithms, scale factors, options and types.
_LIST = [0.0] * M
_LISTED = {"epilog_inputs": {"bias": _LIST}}
QUESTIONS |= {
    "planned with BIAS, then without, row-major": lambda q: q.planned_anew(E.BIAS, None, order="C"),
    "the epilog is an int": lambda q: q.biased().plan(epilog=2),
    "the epilog is an int of no epilog": lambda q: q.biased().plan(epilog=12345),
    "the epilog is a text": lambda q: q.biased().plan(epilog="RELU"),
    "the epilog is a list": lambda q: q.biased().plan(epilog=[2]),
    "a preference is misspelled": lambda q: q.biased().plan(preferences={"limt": 4}),
    "the preferences are a list": lambda q: q.biased().plan(preferences=[4]),
    "an algorithm is a text": lambda q: q.biased().plan(algorithms=["numpy.matmul"]),
    "the algorithms are a number": lambda q: q.biased().plan(algorithms=5),
    "the algorithms are none": lambda q: q.biased().plan(algorithms=[]),
    "autotune after a plan that failed": lambda q: after(q.biased(), epilog="RELU").autotune(),
    "an epilog input is reset after a plan that failed": lambda q: after(
        q.biased(), epilog=q.library.MatmulEpilog.BIAS
    ).reset_operands(**q.new_bias),
    "an epilog input is reset before the plan": lambda q: q.stated().reset_operands(**q.new_bias),
    "a is reset before the plan": lambda q: judged(
        q.plan(after(q.stated(), "reset_operands", a=q.new_a)), q.new_a, q.b
    ),
    "what a failed reset has changed": lambda q: judged(
        after(q.planned(), "reset_operands", alpha=3, a=q.new_a, b=q.a), q.new_a, q.b, alpha=3
    ),
    "an algorithm of the plan": lambda q: q.one_of_two(),
    "an algorithm of another plan": lambda q: q.planned().execute(algorithm=q.stated().plan()[0]),
    "the algorithm is a text": lambda q: q.planned().execute(algorithm="numpy.matmul"),
    "beta is 0 and c holds NaN": lambda q: q.without_c(q.nan),
    "beta is 0 and c, in place, holds NaN": lambda q: q.without_c(q.nan, inplace=True),
    "alpha is 0 and a holds NaN": lambda q: judged(
        q.planned(q.xp.array(q.nan[:, :K]), q.b, alpha=0), q.a, q.b, alpha=0
    ),
    "alpha is an array": lambda q: q.stated(alpha=q.column),
    "beta is an array": lambda q: q.stated(*q.abc, beta=q.column),
    "beta is a text": lambda q: q.stated(*q.abc, beta="much"),
    "beta is reset to an array": lambda q: q.stated(*q.abc, beta=1).reset_operands(beta=q.column),
    "beta is reset without a c": lambda q: judged(
        after(q.planned(), "reset_operands", beta=3), q.a, q.b
    ),
    "an option is misspelled": lambda q: q.matmul(options={"in_place": True}),
    "the options are a text": lambda q: q.matmul(options="inplace"),
    "the compute type is no compute type": lambda q: q.matmul(options={"compute_type": 1}),
    "the compute type is of float64": lambda q: q.matmul(options={"compute_type": 70}),
    "matmul with a misspelled preference": lambda q: q.matmul(preferences={"limt": 4}),
    "a is a list": lambda q: q.stated(_LIST, q.b),
    "b is a list": lambda q: q.stated(q.a, _LIST),
    "c is a list": lambda q: q.stated(q.a, q.b, _LIST, beta=1),
    "a is reset to a list": lambda q: q.stated().reset_operands(a=_LIST),
    "the bias is a list": lambda q: q.planned(epilog=E.BIAS, inputs={"bias": _LIST}),
    "the bias is reset to a list": lambda q: q.biased().reset_operands(**_LISTED),
}
for _name, _ask in {  # operands that are reset unchecked: nvmath swaps pointers
    "a like the old one": lambda q: q.swapped(a=q.new_a),
    "a column-major": lambda q: q.swapped(a=q.view((M, K), (1, M))),
    "a of every other row": lambda q: q.swapped(a=q.view((M, K), (2 * K, 1))),
    "a is float64, b is not": lambda q: q.swapped(a=q.dense(M, 2 * K, seed=9).view("float64")),
    "b reversed": lambda q: q.swapped(b=q.view((K, N), (-N, 1))),
    "b of one row repeated": lambda q: q.swapped(b=q.view((K, N), (0, 1))),
    "a a list": lambda q: q.swapped(a=_LIST),
    "c without a c": lambda q: q.swapped(c=q.abc[2]),
    "beta without a c": lambda q: q.swapped(beta=2.0),
    "alpha a list": lambda q: q.swapped(alpha=[1.0, 2.0]),
    "an epilog input that the plan has not": lambda q: q.swapped(**q.new_bias),
    "bias of every other number": lambda q: q.reading("bias", (2,), unchecked=True),
    "bias reversed": lambda q: q.reading("bias", (-1,), unchecked=True),
    "mask row-major": lambda q: q.reading("relu_aux", (N, 1), unchecked=True),
    "mask with reversed columns": lambda q: q.reading("relu_aux", (1, -16), unchecked=True),
    "c, in place, of every other row": lambda q: q.swapped_c(q.view((M, N), (2 * N, 1))),
}.items():
    QUESTIONS[f"unchecked: {_name}"] = _ask
for _name, _plan in {
    "an int": {"epilog": 4, "epilog_inputs": {"bias": np.zeros(M, np.float32)}},
    "a misspelled preference": {"preferences": {"x": 4}},
    "algorithms of a wrong type": {"algorithms": [1]},
}.items():
    _ask = functools.partial(after, **_plan)
    QUESTIONS[f"execute after a plan with {_name}"] = lambda q, a=_ask: a(q.biased()).execute()

# Half precision: what may be of another type, what it cannot hold, other arithmetic.
_ROUNDED = "the mask of numbers that float16 rounds to 0"
for _half, _other in (HALF, HALF[::-1]):
    for _name, _asked in {
        "alpha is beyond float16": {"c": "float32", "alpha": 1e6},
        "c is of the other half": {"c": _other},
        "b is of the other half": {"b": _other},
        "bias is float32": {"bias": "float32"},
        "c is float32, bias is not": {"c": "float32", "bias": _half},
        "in TF32": {"options": {"compute_type": 77}},
        _ROUNDED: {"scale": 2.0**-15, "alpha": 2.0**-15, "epilog": E.RELU_AUX},
    }.items():
        QUESTIONS[f"{_half}: {_name}"] = lambda q, x=_half, asked=_asked: q.half(x, **asked)
    QUESTIONS[f"unchecked: a float32, b {_half}"] = lambda q, x=_half: q.swapped(x, a=q.a)
OPEN.add(f"float16: {_ROUNDED}")  # each algorithm does so in its own way

# What chapter 5 shows as refused, with nvmath's words: their whole first line.
MISUSES = {
    "inner extents differ": lambda q: q.stated(q.a, q.abc[2]),
    "operand c without beta": lambda q: q.stated(*q.abc),
    "in place without c": lambda q: q.stated(options={"inplace": True}),
    "execute before plan": lambda q: q.stated().execute(),
    "BIAS without a bias": lambda q: q.planned(epilog=E.BIAS),
    "epilog DEFAULT": lambda q: q.planned(epilog=E.DEFAULT),
    "reset to another shape": lambda q: q.planned().reset_operands(b=q.dense(K, 2)),
    "reset to another memory order": lambda q: q.planned().reset_operands(b=q.view((K, N), (1, K))),
    "reset nothing": lambda q: q.planned().reset_operands(),
    "execute after free": lambda q: after(q.planned(), "free").execute(),
}
QUESTIONS |= MISUSES

# A batch of a, of b or of both, with what else is a batch or serves all of it: shapes, or views.
_A, _B, _MASKS = (BATCH, M, K), (BATCH, K, N), ((BATCH, 16, N), (16 * N, 1, 16))
_BATCHES = {}
for _of, _ab in {"a": {}, "b": {"a": (M, K), "b": _B}, "a and b": {"b": _B}}.items():
    for _what, _asked in {
        "no epilog": {},
        "RELU_BIAS, bias (M,)": {"epilog": E.RELU_BIAS, "bias": (M,)},
        "RELU_BIAS, bias (M, 1)": {"epilog": E.RELU_BIAS, "bias": (M, 1)},
        "RELU_BIAS, bias (B, M, 1)": {"epilog": E.RELU_BIAS, "bias": (BATCH, M, 1)},
        "RELU_AUX_BIAS, bias (M,)": {"epilog": E.RELU_AUX_BIAS, "bias": (M,)},
        "RELU_AUX_BIAS, bias (B, M, 1)": {"epilog": E.RELU_AUX_BIAS, "bias": (BATCH, M, 1)},
        "DRELU_BGRAD, one mask": {"epilog": E.DRELU_BGRAD, "relu_aux": ((16, N), (1, 16))},
        "DRELU_BGRAD": {"epilog": E.DRELU_BGRAD, "relu_aux": _MASKS},
        "BGRADB": {"epilog": E.BGRADB},
    }.items():
        _BATCHES[f"of {_of}: {_what}"] = _ab | _asked
for _kind, _strides in {
    "with gaps": (2 * M * K, K, 1),
    "column-major": (M * K, 1, M),
    "row by row": (K, BATCH * K, 1),
    "of one matrix repeated": (0, K, 1),
    "of matrices that overlap": (K, K, 1),
    "with reversed matrices": (-M * K, K, 1),
}.items():
    _BATCHES[f"of a, {_kind}"] = {"a": (_A, _strides)}
    _BATCHES[f"of c, in place, {_kind}"] = {"b": (K, K), "c": (_A, _strides), "inplace": True}
_BATCHES |= {
    "of a, c is a matrix": {"c": (M, N)},
    "of a, c is a column": {"c": (M, 1)},
    "of a and c": {"c": (BATCH, M, N)},
    "of a and c, which are columns": {"c": (BATCH, M, 1)},
    "of one": {"a": (1, M, K)},
    "of a, whose inner extent is another": {"b": (M, N)},
    "of a and b, of different extents": {"b": (2, K, N)},
    "of a and c, of different extents": {"c": (2, M, N)},
    "of c alone": {"a": (M, K), "c": (BATCH, M, N)},
    "of a, c is a matrix, in place": {"c": (M, N), "inplace": True},
    "of a and bias, of different extents": {"epilog": E.BIAS, "bias": (2, M, 1)},
    "of a, bias (B, M)": {"epilog": E.BIAS, "bias": (BATCH, M)},
    "of bias alone": {"epilog": E.BIAS, "a": (M, K), "bias": (BATCH, M, 1)},
    "of bias, reversed": {"epilog": E.BIAS, "bias": ((BATCH, M, 1), (-M, 1, 1))},
    "of masks, of another extent": {"epilog": E.DRELU, "relu_aux": ((2, 16, N), _MASKS[1])},
    "of masks that overlap": {"epilog": E.DRELU, "relu_aux": (_MASKS[0], (16, 1, 16))},
}
for _name, _asked in _BATCHES.items():
    QUESTIONS[f"a batch {_name}"] = lambda q, asked=_asked: q.batch(**asked)

# Tensors of torch on the CPU, which are copied to the GPU; two packages in one matmul.
QUESTIONS |= {
    "torch: RELU_AUX_BIAS": lambda q: q.of_torch(E.RELU_AUX_BIAS, bias=q.tensor(q.bias)),
    "torch: DRELU": lambda q: q.of_torch(E.DRELU, relu_aux=q.tensor(q.inputs["relu_aux"])),
    "torch: in place": lambda q: q.of_torch(None, q.tensor(q.abc[2])),
    "torch: a of one row repeated": lambda q: q.computed(
        q.tensor(q.a)[:1].expand(M, K), q.tensor(q.b)
    ),
    "torch: bias out of a matrix": lambda q: q.of_torch(E.BIAS, bias=q.tensor(q.abc[2])[:, 0]),
    "torch: a is reset, column-major": lambda q: judged(
        after(q.of_tensors(), "reset_operands", a=q.tensor(q.new_a).T.contiguous().T), q.new_a, q.b
    ),
    "a changes in place, and the change counts": lambda q: q.changed(q.xp.array, seen=True),
    "torch: a changes in place, and counts as it was stated": lambda q: q.changed(q.tensor),
    "NumPy: a changes in place, and counts as it was stated": lambda q: q.changed(host),
    "b is of torch": lambda q: q.stated(q.a, q.tensor(q.b)),
    "a is of torch": lambda q: q.stated(q.tensor(q.a), q.b),
    "b is of torch, and float64": lambda q: q.stated(q.a, q.tensor(q.b).double()),
    "c is of torch": lambda q: q.stated(q.a, q.b, q.tensor(q.abc[2]), beta=1),
    "bias is of torch": lambda q: q.planned(epilog=E.BIAS, inputs={"bias": q.tensor(q.bias)}),
    "a is reset to a tensor": lambda q: q.planned().reset_operands(a=q.tensor(q.a)),
    "torch: a is reset to an array": lambda q: q.of_tensors().reset_operands(a=q.a),
}
