"""Questions that the reference and nvmath must answer alike: misuse, and unusual views.

An answer is the type of an exception, or whether every element of what was computed is right.
Where nvmath computes other values than asked for, the reference must refuse; where an unchecked
operand makes it do so, the reference must compute the very same ones.
"""

import contextlib
from dataclasses import dataclass

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog as E
from tutorial_lib.tests.gpu.conformance import host, meaning, named

RIGHT, OTHER, ACCEPTED = "right values", "other values", "accepted"
M, N, K = 4, 5, 3
TOLERANCE = 1e-4  # of the largest value: GELU's tanh; all other results are whole or half numbers
# A question is a function of a Lab that raises, or returns (values, what is right).
QUESTIONS = {}
# After a plan with one epilog nvmath refuses some others, computes some wrongly and some right: the
# reference refuses them all.
STRICTER = set()
OPEN = {"alpha is 0 and a holds NaN"}  # asked and recorded, but nobody has promised an answer


@dataclass
class Answer:
    """RIGHT, OTHER, ACCEPTED or the name of an exception; its first line; what was computed."""

    verdict: str
    message: str = ""
    values: dict[str, np.ndarray] | None = None


class Lab(contextlib.ExitStack):
    """A library, the module xp that makes its arrays, and operands, which are small integers."""

    def __init__(self, library, xp):
        super().__init__()
        self.library, self.xp = library, xp
        self.a, self.b, self.c = (
            self.dense(M, K, seed=1),
            self.dense(K, N, seed=2),
            self.dense(M, N),
        )
        self.other_a, self.bias = self.dense(M, K, seed=9), self.dense(M)
        self.new_bias = {"epilog_inputs": {"bias": self.bias}}
        self.inputs = {"bias": self.bias, "relu_aux": self.view((16, N), (1, 16), "uint8", 3)}

    def view(self, shape, strides, dtype="float32", seed=9):
        """An array with these strides, in elements: whatever is read lies in a larger one."""
        numbers = np.random.default_rng(seed).integers(0 if dtype == "uint8" else -3, 4, 1000)
        room = self.xp.asarray(numbers.astype(dtype))[500:]
        strides = [room.itemsize * stride for stride in strides]
        return self.xp.lib.stride_tricks.as_strided(room, shape, strides)

    def dense(self, *shape, seed=0):
        return self.view(shape, (*shape[1:], 1), seed=seed)

    def stated(self, *tensors, **arguments):
        return self.enter_context(self.library.Matmul(*(tensors or (self.a, self.b)), **arguments))

    def plan(self, mm, epilog=None, inputs=None):
        epilog = None if epilog is None else self.library.MatmulEpilog(int(epilog))
        mm.plan(epilog=epilog, epilog_inputs=inputs or None)
        return mm

    def planned(self, *tensors, epilog=None, inputs=None, **arguments):
        return self.plan(self.stated(*tensors, **arguments), epilog, inputs)

    def biased(self):
        return self.planned(epilog=E.BIAS, inputs={"bias": self.bias})

    def computed(self, *tensors, epilog=None, inputs=None, **arguments):
        """What the library makes of it, and what is right."""
        truth = product(*tensors, epilog=epilog, inputs=inputs, **arguments)
        return result(self.planned(*tensors, epilog=epilog, inputs=inputs, **arguments)), truth


def result(mm, **arguments):
    """What a planned Matmul computes, by name."""
    return meaning(named(mm.execute(**arguments)), M)


def product(*tensors, epilog=None, inputs=None, **arguments):
    """What is right, from float32 copies of the operands."""
    tensors = [host(x, "C").astype(np.float32) for x in tensors]
    inputs = {name: host(x, "F") for name, x in (inputs or {}).items()} or None
    d = reference.matmul(*tensors, epilog=epilog, epilog_inputs=inputs, **arguments)
    return meaning(named(d), M)


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
    if not (isinstance(found, tuple) and isinstance(found[0], dict)):
        return Answer(ACCEPTED)  # a call that ought to raise
    values, truth = found
    same = set(values) == set(truth) and all(
        values[key].shape == x.shape
        and np.allclose(values[key], x, rtol=0, atol=TOLERANCE * max(1, np.abs(x).max()))
        for key, x in truth.items()
    )
    return Answer(RIGHT if same else OTHER, values=values)


def agree(ours, theirs):
    """Whether the reference's answer does for nvmath's."""
    if theirs.verdict != OTHER:
        return ours.verdict == theirs.verdict
    if ours.verdict != OTHER:
        return ours.verdict != RIGHT
    return set(ours.values) == set(theirs.values) and all(
        np.array_equal(ours.values[key], theirs.values[key], equal_nan=True) for key in ours.values
    )


def ask_all(library, xp):
    """All questions, put to the reference and to a library: the answers, and where they differ."""
    answers, disagreements = {}, {}
    for name in QUESTIONS:
        ours, theirs = answer(name, reference, np), answer(name, library, xp)
        answers[name] = f"{theirs.verdict}: {theirs.message}".removesuffix(": ")[:160]
        alike = ours.verdict == "cuBLASLtError" if name in STRICTER else agree(ours, theirs)
        if name not in OPEN and not alike:
            disagreements[name] = f"reference: {ours.verdict}, library: {theirs.verdict}"
    return {"answers": answers, "disagreements": disagreements}


# Views of every operand and input, at strides that nvmath takes, refuses, or takes for others.


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
    return {
        "dense": (1, rows),
        "row-major": (columns, 1),
        "with gaps between columns": (1, 2 * rows),
        "whose columns overlap": (1, rows - 1),
        "with reversed columns": (1, -rows),
        "of one column repeated": (1, 0),
    }


COLUMNS = {"dense": (1, 1), "out of a matrix": (2, 1), "reversed": (-1, 1), "repeated": (0, 1)}
VECTORS = {"dense": (1,), "every other": (2,), "reversed": (-1,), "repeated": (0,)}
READERS = {"bias": E.BIAS, "relu_aux": E.DRELU, "gelu_aux": E.DGELU}


def _ask_view(name, shape, strides):
    def ask(lab):
        x = lab.view(shape, strides, "uint8" if name == "relu_aux" else "float32", 7)
        if name in READERS:
            return lab.computed(lab.a, lab.b, epilog=READERS[name], inputs={name: x})
        if name in "ab":
            return lab.computed(*((x, lab.b) if name == "a" else (lab.a, x)))
        return lab.computed(lab.a, lab.b, x, beta=2.0, options={"inplace": "in place" in name})

    return ask


for _name, _shape, _kinds in (
    ("a", (M, K), _views(M, K)),
    ("b", (K, N), _views(K, N)),
    ("c", (M, N), _views(M, N)),
    ("c, in place,", (M, N), _views(M, N)),
    ("c is one column,", (M, 1), COLUMNS),
    ("bias", (M,), VECTORS),
    ("relu_aux", (16, N), _input_views(16, N)),
    ("gelu_aux", (8, N), _input_views(8, N)),
):
    for _kind, _strides in _kinds.items():
        _comma = "," if _name in READERS else ""
        QUESTIONS[f"{_name}{_comma} {_kind}"] = _ask_view(_name, _shape, _strides)


# Plans made anew: with one epilog, then with another.


def _ask_plans(*plans, order="F"):
    def ask(lab):
        a = lab.xp.array(lab.a, order=order)
        mm = lab.stated(a, lab.b)
        for epilog in plans:
            inputs = {x: lab.inputs[x] for x in (epilogs.input_names(epilog) if epilog else ())}
            lab.plan(mm, epilog, inputs)
        return result(mm), product(a, lab.b, epilog=epilog, inputs=inputs)

    return ask


for _first, _thens in {
    None: [E.BIAS],
    E.BIAS: [E.BIAS, None, E.RELU_AUX],
    E.RELU: [None, E.BIAS],
    E.RELU_AUX: [E.RELU_AUX, E.GELU_AUX, E.BIAS],
    E.GELU_AUX: [E.RELU_AUX],
    E.DRELU: [E.RELU],
    E.DRELU_BGRAD: [E.RELU_AUX_BIAS, E.BIAS],
    E.BGRADB: [E.BIAS],
}.items():
    for _then in _thens:
        _names = ["no epilog" if epilog is None else epilog.name for epilog in (_first, _then)]
        _name = "planned with {}, then with {}".format(*_names)
        QUESTIONS[_name] = _ask_plans(_first, _then)
        if _first not in (None, _then):
            STRICTER.add(_name)


# Wrong plans, algorithms, scale factors, options and types.


def _ask_plan(**arguments):
    return lambda lab: lab.biased().plan(**arguments)


def _ask_after(then, **arguments):
    return lambda lab: getattr(after(lab.biased(), **arguments), then)()


def _ask_matmul(**arguments):
    return lambda lab: lab.library.matmul(lab.a, lab.b, **arguments)


def _ask_nan(**arguments):
    def ask(lab):
        lab.c[1, 2] = np.nan
        values, _ = lab.computed(lab.a, lab.b, lab.c, beta=0, **arguments)
        return values, product(lab.a, lab.b)

    return ask


def _alpha_of_0(lab):
    lab.a[1, 2] = np.nan
    return lab.computed(lab.a, lab.b, alpha=0)[0], {"result": np.zeros((M, N), np.float32)}


def _own_algorithm(lab):
    mm = lab.stated()
    mm.plan(algorithms=mm.plan(preferences={"limit": 2})[-1:])
    return result(mm, algorithm=mm.algorithms[0]), product(lab.a, lab.b)


_BIAS = {"epilog_inputs": {"bias": np.zeros(M, np.float32)}}
QUESTIONS |= {
    "planned with BIAS, then without, row-major": _ask_plans(E.BIAS, None, order="C"),
    "the epilog is an int": _ask_plan(epilog=2),
    "the epilog is an int of no epilog": _ask_plan(epilog=12345),
    "the epilog is a text": _ask_plan(epilog="RELU"),
    "the epilog is a list": _ask_plan(epilog=[2]),
    "a preference is misspelled": _ask_plan(preferences={"limt": 4}),
    "the preferences are a list": _ask_plan(preferences=[4]),
    "an algorithm is a text": _ask_plan(algorithms=["numpy.matmul"]),
    "the algorithms are a number": _ask_plan(algorithms=5),
    "the algorithms are none": _ask_plan(algorithms=[]),
    "execute after a plan with an int": _ask_after("execute", epilog=4, **_BIAS),
    "execute after a plan with a misspelled preference": _ask_after(
        "execute", preferences={"x": 4}
    ),
    "execute after a plan with algorithms of a wrong type": _ask_after("execute", algorithms=[1]),
    "autotune after a plan that failed": _ask_after("autotune", epilog="RELU"),
    "an epilog input is reset after a plan that failed": lambda q: after(
        q.biased(), epilog=q.library.MatmulEpilog.BIAS
    ).reset_operands(**q.new_bias),
    "an epilog input is reset before the plan": lambda q: q.stated().reset_operands(**q.new_bias),
    "a is reset before the plan": lambda q: (
        result(q.plan(after(q.stated(), "reset_operands", a=q.other_a))),
        product(q.other_a, q.b),
    ),
    "what a failed reset has changed": lambda q: (
        result(after(q.planned(), "reset_operands", alpha=3, a=q.other_a, b=q.a)),
        product(q.other_a, q.b, alpha=3),
    ),
    "an algorithm of the plan": _own_algorithm,
    "an algorithm of another plan": lambda q: q.planned().execute(algorithm=q.stated().plan()[0]),
    "the algorithm is a text": lambda q: q.planned().execute(algorithm="numpy.matmul"),
    "beta is 0 and c holds NaN": _ask_nan(),
    "beta is 0 and c, in place, holds NaN": _ask_nan(options={"inplace": True}),
    "alpha is 0 and a holds NaN": _alpha_of_0,
    "alpha is an array": lambda q: q.stated(alpha=q.dense(M, 1)),
    "beta is an array": lambda q: q.stated(q.a, q.b, q.c, beta=q.dense(M, 1)),
    "beta is a text": lambda q: q.stated(q.a, q.b, q.c, beta="much"),
    "beta is reset to an array": lambda q: q.stated(q.a, q.b, q.c, beta=1).reset_operands(
        beta=q.dense(M, 1)
    ),
    "beta is reset without a c": lambda q: (
        result(after(q.planned(), "reset_operands", beta=3)),
        product(q.a, q.b),
    ),
    "an option is misspelled": _ask_matmul(options={"in_place": True}),
    "the options are a text": _ask_matmul(options="inplace"),
    "the compute type is no compute type": _ask_matmul(options={"compute_type": 1}),
    "the compute type is of float64": _ask_matmul(options={"compute_type": 70}),
    "matmul with a misspelled preference": _ask_matmul(preferences={"limt": 4}),
    "a is a list": lambda q: q.stated([[1.0]], q.b),
    "b is a list": lambda q: q.stated(q.a, [[1.0]]),
    "c is a list": lambda q: q.stated(q.a, q.b, [[1.0]], beta=1),
    "a is reset to a list": lambda q: q.stated().reset_operands(a=[[1.0]]),
    "the bias is a list": lambda q: q.planned(epilog=E.BIAS, inputs={"bias": [0.0] * M}),
    "the bias is reset to a list": lambda q: q.biased().reset_operands(
        epilog_inputs={"bias": [0.0] * M}
    ),
}

# Operands that are reset unchecked: nvmath swaps pointers.


def _ask_unchecked(make):
    def ask(lab):
        new, mm = make(lab), lab.planned()
        mm.reset_operands_unchecked(**new)
        return result(mm), product(new.get("a", lab.a), new.get("b", lab.b))

    return ask


def _ask_unchecked_input(name, shape, strides):
    def ask(lab):
        dtype = "uint8" if name == "relu_aux" else "float32"
        old, new = lab.view(shape, (1, *shape[:-1]), dtype, 3), lab.view(shape, strides, dtype, 7)
        mm = lab.planned(epilog=READERS[name], inputs={name: old})
        mm.reset_operands_unchecked(epilog_inputs={name: new})
        return result(mm), product(lab.a, lab.b, epilog=READERS[name], inputs={name: new})

    return ask


def _unchecked_c(lab):
    new = lab.view((M, N), (2 * N, 1))
    mm = lab.planned(lab.a, lab.b, lab.c, beta=1, options={"inplace": True})
    mm.reset_operands_unchecked(c=new)
    truth = product(lab.a, lab.b, new, beta=1)
    return result(mm), truth


for _name, _make in {
    "a like the old one": lambda q: {"a": q.other_a},
    "a column-major": lambda q: {"a": q.view((M, K), (1, M))},
    "a of every other row": lambda q: {"a": q.view((M, K), (2 * K, 1))},
    "a is float64, b is not": lambda q: {"a": q.dense(M, 2 * K, seed=9).view("float64")},
    "b reversed": lambda q: {"b": q.view((K, N), (-N, 1))},
    "b of one row repeated": lambda q: {"b": q.view((K, N), (0, 1))},
    "a a list": lambda q: {"a": [[1.0]]},
    "c without a c": lambda q: {"c": q.c},
    "beta without a c": lambda q: {"beta": 2.0},
    "alpha a list": lambda q: {"alpha": [1.0, 2.0]},
    "an epilog input that the plan has not": lambda q: q.new_bias,
}.items():
    QUESTIONS[f"unchecked: {_name}"] = _ask_unchecked(_make)
QUESTIONS |= {
    "unchecked: bias of every other number": _ask_unchecked_input("bias", (M,), (2,)),
    "unchecked: bias reversed": _ask_unchecked_input("bias", (M,), (-1,)),
    "unchecked: mask row-major": _ask_unchecked_input("relu_aux", (16, N), (N, 1)),
    "unchecked: mask with reversed columns": _ask_unchecked_input("relu_aux", (16, N), (1, -16)),
    "unchecked: c, in place, of every other row": _unchecked_c,
}
