"""Questions that the reference and nvmath must answer alike: misuse, and unusual views.

An answer is the type of an exception, or whether every element of what was computed is right.
Where nvmath computes other values than asked for, the reference must refuse; where an unchecked
operand makes it do so, the reference must compute the very same ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog as E

RIGHT, OTHER, ACCEPTED = "right values", "other values", "accepted"
M, N, K = 4, 5, 3
TOLERANCE = 1e-4  # of the largest value: GELU's tanh; all other results are whole or half numbers
QUESTIONS: dict[str, Callable[[Any, Any], Any]] = {}
# After a plan with one epilog nvmath refuses some others, computes some wrongly and some right: the
# reference refuses them all.
STRICTER: set[str] = set()
OPEN = {"alpha is 0 and a holds NaN"}  # asked and recorded, but nobody has promised an answer


@dataclass
class Answer:
    """RIGHT, OTHER, ACCEPTED or the name of an exception; its first line; what was computed."""

    verdict: str
    message: str = ""
    values: dict[str, np.ndarray] | None = None


def question(name: str) -> Callable:
    """Ask this: a function of (library, xp) that raises, or returns (values, what is right)."""
    return lambda ask: QUESTIONS.setdefault(name, ask)


def answer(name: str, library: Any, xp: Any) -> Answer:
    """What a library says to a question, its operands made by xp, NumPy or CuPy."""
    try:
        result = QUESTIONS[name](library, xp)
    except Exception as error:  # its type is the answer
        return Answer(type(error).__name__, str(error).partition("\n")[0])
    if not (isinstance(result, tuple) and isinstance(result[0], dict)):
        return Answer(ACCEPTED)  # a call that ought to raise
    values, truth = result
    same = set(values) == set(truth) and all(
        values[key].shape == x.shape
        and np.allclose(values[key], x, rtol=0, atol=TOLERANCE * max(1, np.abs(x).max()))
        for key, x in truth.items()
    )
    return Answer(RIGHT if same else OTHER, values=values)


def agree(ours: Answer, theirs: Answer) -> bool:
    """Whether the reference's answer does for nvmath's."""
    if theirs.verdict != OTHER:
        return ours.verdict == theirs.verdict
    if ours.verdict != OTHER:
        return ours.verdict != RIGHT
    return set(ours.values) == set(theirs.values) and all(
        np.array_equal(ours.values[key], theirs.values[key], equal_nan=True) for key in ours.values
    )


def ask_all(library: Any, xp: Any) -> dict[str, Any]:
    """All questions, put to the reference and to a library: the answers, and where they differ."""
    answers, disagreements = {}, {}
    for name in QUESTIONS:
        ours, theirs = answer(name, reference, np), answer(name, library, xp)
        answers[name] = f"{theirs.verdict}: {theirs.message}".removesuffix(": ")[:160]
        alike = ours.verdict == "cuBLASLtError" if name in STRICTER else agree(ours, theirs)
        if name not in OPEN and not alike:
            disagreements[name] = f"reference: {ours.verdict}, library: {theirs.verdict}"
    return {"answers": answers, "disagreements": disagreements}


# Operands: small integers in the middle of a larger array, so that whatever is read is there.


def view(
    xp: Any, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str = "float32", seed: int = 0
) -> Any:
    """An array with these strides, in elements."""
    numbers = np.random.default_rng(seed).integers(0 if dtype == "uint8" else -3, 4, 1000)
    room = xp.asarray(numbers.astype(dtype))[500:]
    itemsize = np.dtype(dtype).itemsize
    return xp.lib.stride_tricks.as_strided(room, shape, [itemsize * s for s in strides])


def dense(xp: Any, *shape: int, seed: int = 0) -> Any:
    """A row-major array."""
    strides = (shape[1], 1) if len(shape) == 2 else (1,)
    return view(xp, shape, strides, seed=seed)


def ab(xp: Any) -> tuple[Any, Any]:
    """The usual operands: a (4, 3), b (3, 5)."""
    return dense(xp, M, K, seed=1), dense(xp, K, N, seed=2)


def mask(xp: Any, strides: tuple[int, int] = (1, 16)) -> Any:
    """A ReLU mask for a (4, 5) result."""
    return view(xp, epilogs.mask_shape(M, N), strides, "uint8", 3)


def host(x: Any, order: str = "C") -> np.ndarray:
    """A copy in NumPy, with the strides of a new array."""
    return np.array(x.get() if hasattr(x, "get") else x, order=order)


def named(result: Any) -> dict[str, np.ndarray]:
    """The result and what means something of the extra outputs, by name."""
    d, outputs = result if isinstance(result, tuple) else (result, {})
    values = {"result": host(d), **{name: host(x) for name, x in outputs.items()}}
    if "relu_aux" in values:
        values["relu_aux"] = epilogs.unpack_mask(values["relu_aux"], M)
    if "gelu_aux" in values:
        values["gelu_aux"] = values["gelu_aux"][:M]
    return values


def product(*tensors: Any, epilog: E | None = None, inputs: Any = None, **arguments: Any) -> dict:
    """What is right, from copies of the operands."""
    inputs = {name: host(x, "F") for name, x in (inputs or {}).items()}
    tensors = [host(x) for x in tensors]
    return named(
        reference.matmul(*tensors, epilog=epilog, epilog_inputs=inputs or None, **arguments)
    )


def computed(library: Any, *tensors: Any, epilog: Any = None, inputs: Any = None, **arguments: Any):
    """What a library makes of it, and what is right."""
    truth = product(*tensors, epilog=epilog, inputs=inputs, **arguments)
    epilog = None if epilog is None else library.MatmulEpilog(int(epilog))
    with library.Matmul(*tensors, **arguments) as mm:
        mm.plan(epilog=epilog, epilog_inputs=inputs)
        return named(mm.execute()), truth


# Views of every operand, at strides that nvmath takes, refuses, or takes for others.


def _strides(rows: int, columns: int) -> dict[str, tuple[int, int]]:
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


def _views() -> None:
    for name, shape in (("a", (M, K)), ("b", (K, N)), ("c", (M, N)), ("c, in place,", (M, N))):
        for kind, strides in _strides(*shape).items():
            QUESTIONS[f"{name} {kind}"] = _ask_view(name, shape, strides)
    columns = {"dense": (1, 1), "out of a matrix": (2, 1), "reversed": (-1, 1), "repeated": (0, 1)}
    for kind, strides in columns.items():
        QUESTIONS[f"c is one column, {kind}"] = _ask_view("c", (M, 1), strides)
    for kind, stride in {"dense": 1, "every other": 2, "reversed": -1, "repeated": 0}.items():
        QUESTIONS[f"bias, {kind}"] = _ask_input("bias", (M,), (stride,))
    for name, shape in (("relu_aux", epilogs.mask_shape(M, N)), ("gelu_aux", (8, N))):
        for kind, strides in {
            "dense": (1, shape[0]),
            "row-major": (N, 1),
            "with gaps between columns": (1, 2 * shape[0]),
            "whose columns overlap": (1, shape[0] - 1),
            "with reversed columns": (1, -shape[0]),
            "of one column repeated": (1, 0),
        }.items():
            QUESTIONS[f"{name}, {kind}"] = _ask_input(name, shape, strides)


def _ask_view(name: str, shape: tuple[int, int], strides: tuple[int, int]) -> Callable:
    def ask(library: Any, xp: Any) -> Any:
        a, b = ab(xp)
        x = view(xp, shape, strides, seed=7)
        if name in "ab":
            return computed(library, *((x, b) if name == "a" else (a, x)))
        options = {"inplace": "in place" in name}
        return computed(library, a, b, x, beta=2.0, options=options)

    return ask


def _ask_input(name: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> Callable:
    def ask(library: Any, xp: Any) -> Any:
        dtype = "uint8" if name == "relu_aux" else "float32"
        epilog = {"bias": E.BIAS, "relu_aux": E.DRELU, "gelu_aux": E.DGELU}[name]
        inputs = {name: view(xp, shape, strides, dtype, 7)}
        return computed(library, *ab(xp), epilog=epilog, inputs=inputs)

    return ask


_views()


# Scale factors.


@question("beta is 0 and c holds NaN")
def _(library: Any, xp: Any) -> Any:
    c = dense(xp, M, N)
    c[1, 2] = xp.nan
    values, _ = computed(library, *ab(xp), c, beta=0)
    return values, product(*ab(xp))


@question("beta is 0 and c, in place, holds NaN")
def _(library: Any, xp: Any) -> Any:
    c = dense(xp, M, N)
    c[1, 2] = xp.nan
    values, _ = computed(library, *ab(xp), c, beta=0, options={"inplace": True})
    return values, product(*ab(xp))


@question("alpha is 0 and a holds NaN")
def _(library: Any, xp: Any) -> Any:
    a, b = ab(xp)
    a[1, 2] = xp.nan
    values, _ = computed(library, a, b, alpha=0)
    return values, {"result": np.zeros((M, N), np.float32)}


@question("alpha is an array")
def _(library: Any, xp: Any) -> Any:
    return library.Matmul(*ab(xp), alpha=dense(xp, M, 1))


@question("beta is an array")
def _(library: Any, xp: Any) -> Any:
    return library.Matmul(*ab(xp), dense(xp, M, N), beta=dense(xp, M, 1))


@question("beta is a text")
def _(library: Any, xp: Any) -> Any:
    return library.Matmul(*ab(xp), dense(xp, M, N), beta="much")


@question("beta is reset to an array")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp), dense(xp, M, N), beta=1) as mm:
        return mm.reset_operands(beta=dense(xp, M, 1))


@question("beta is reset without a c")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        mm.plan()
        mm.reset_operands(beta=3)
        return named(mm.execute()), product(*ab(xp))


# Plans.


def _ask_plans(*plans: E | None) -> Callable:
    """Plan with one epilog, then with the next; the last one is executed."""

    def ask(library: Any, xp: Any) -> Any:
        a, b = xp.asfortranarray(ab(xp)[0]), ab(xp)[1]
        given = {"bias": dense(xp, M), "relu_aux": mask(xp)}
        with library.Matmul(a, b) as mm:
            for epilog in plans:
                inputs = {
                    name: given[name] for name in (epilogs.input_names(epilog) if epilog else ())
                }
                mm.plan(
                    epilog=None if epilog is None else library.MatmulEpilog(int(epilog)),
                    epilog_inputs=inputs or None,
                )
            return named(mm.execute()), product(a, b, epilog=epilog, inputs=inputs)

    return ask


for _plans in (
    (None, E.BIAS),
    (E.BIAS, E.BIAS),
    (E.BIAS, None),
    (E.RELU, None),
    (E.RELU, E.BIAS),
    (E.BIAS, E.RELU_AUX),
    (E.RELU_AUX, E.RELU_AUX),
    (E.RELU_AUX, E.GELU_AUX),
    (E.GELU_AUX, E.RELU_AUX),
    (E.DRELU_BGRAD, E.RELU_AUX_BIAS),
    (E.RELU_AUX, E.BIAS),
    (E.BGRADB, E.BIAS),
    (E.DRELU, E.RELU),
    (E.DRELU_BGRAD, E.BIAS),
):
    _names = ["no epilog" if epilog is None else epilog.name for epilog in _plans]
    QUESTIONS[f"planned with {_names[0]}, then with {_names[1]}"] = _ask_plans(*_plans)
    if _plans[0] not in (None, _plans[1]):
        STRICTER.add(f"planned with {_names[0]}, then with {_names[1]}")


@question("planned with BIAS, then without, row-major")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        mm.plan(epilog=library.MatmulEpilog.BIAS, epilog_inputs={"bias": dense(xp, M)})
        mm.plan()
        return named(mm.execute()), product(*ab(xp))


def _ask_plan(then: str = "", **arguments: Any) -> Callable:
    """A plan that ought to fail; `then` says what is done next."""

    def ask(library: Any, xp: Any) -> Any:
        with library.Matmul(*ab(xp)) as mm:
            mm.plan(epilog=library.MatmulEpilog.BIAS, epilog_inputs={"bias": dense(xp, M)})
            if not then:
                return mm.plan(**arguments)
            try:
                mm.plan(**arguments)
            except Exception:  # it is the next call that is asked about
                return mm.execute() if then == "execute" else mm.autotune()

    return ask


_BIAS = {"epilog_inputs": {"bias": np.zeros(M, np.float32)}}
QUESTIONS |= {
    "the epilog is an int": _ask_plan(epilog=2),
    "the epilog is an int of no epilog": _ask_plan(epilog=12345),
    "the epilog is a text": _ask_plan(epilog="RELU"),
    "the epilog is a list": _ask_plan(epilog=[2]),
    "a preference is misspelled": _ask_plan(preferences={"limt": 4}),
    "the preferences are a list": _ask_plan(preferences=[4]),
    "an algorithm is a text": _ask_plan(algorithms=["numpy.matmul"]),
    "the algorithms are a number": _ask_plan(algorithms=5),
    "the algorithms are none": _ask_plan(algorithms=[]),
    "execute after a plan with an int": _ask_plan("execute", epilog=4, **_BIAS),
    "execute after a plan with a misspelled preference": _ask_plan(
        "execute", preferences={"limt": 4}
    ),
    "execute after a plan with algorithms of a wrong type": _ask_plan("execute", algorithms=[1]),
    "autotune after a plan that failed": _ask_plan("autotune", epilog="RELU"),
}


@question("an epilog input is reset after a plan that failed")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        mm.plan(epilog=library.MatmulEpilog.BIAS, epilog_inputs={"bias": dense(xp, M)})
        try:
            mm.plan(epilog=library.MatmulEpilog.BIAS)
        except ValueError:
            return mm.reset_operands(epilog_inputs={"bias": dense(xp, M)})


@question("an epilog input is reset before the plan")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        return mm.reset_operands(epilog_inputs={"bias": dense(xp, M)})


@question("a is reset before the plan")
def _(library: Any, xp: Any) -> Any:
    new = dense(xp, M, K, seed=9)
    with library.Matmul(*ab(xp)) as mm:
        mm.reset_operands(a=new)
        mm.plan()
        return named(mm.execute()), product(new, ab(xp)[1])


# Algorithms.


@question("an algorithm of the plan")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        mm.plan(algorithms=mm.plan(preferences={"limit": 2})[-1:])
        return named(mm.execute(algorithm=mm.algorithms[0])), product(*ab(xp))


@question("an algorithm of another plan")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm, library.Matmul(*ab(xp)) as other:
        mm.plan()
        return mm.execute(algorithm=other.plan()[0])


@question("the algorithm is a text")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        mm.plan()
        return mm.execute(algorithm="numpy.matmul")


# Options and operands of wrong types.


def _ask_matmul(**arguments: Any) -> Callable:
    return lambda library, xp: library.matmul(*ab(xp), **arguments)


QUESTIONS |= {
    "an option is misspelled": _ask_matmul(options={"in_place": True}),
    "the options are a text": _ask_matmul(options="inplace"),
    "the compute type is no compute type": _ask_matmul(options={"compute_type": 1}),
    "the compute type is of float64": _ask_matmul(options={"compute_type": 70}),
    "matmul with a misspelled preference": _ask_matmul(preferences={"limt": 4}),
    "a is a list": lambda library, xp: library.Matmul([[1.0]], ab(xp)[1]),
    "b is a list": lambda library, xp: library.Matmul(ab(xp)[0], [[1.0]]),
    "c is a list": lambda library, xp: library.Matmul(*ab(xp), [[1.0]], beta=1),
}


@question("the bias is a list")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        return mm.plan(epilog=library.MatmulEpilog.BIAS, epilog_inputs={"bias": [0.0] * M})


@question("a is reset to a list")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        return mm.reset_operands(a=[[1.0]])


@question("the bias is reset to a list")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        mm.plan(epilog=library.MatmulEpilog.BIAS, epilog_inputs={"bias": dense(xp, M)})
        return mm.reset_operands(epilog_inputs={"bias": [0.0] * M})


@question("what a failed reset has changed")
def _(library: Any, xp: Any) -> Any:
    new = dense(xp, M, K, seed=9)
    with library.Matmul(*ab(xp)) as mm:
        mm.plan()
        try:
            mm.reset_operands(alpha=3, a=new, b=ab(xp)[0])
        except ValueError:
            return named(mm.execute()), product(new, ab(xp)[1], alpha=3)


# Operands that are reset unchecked: nvmath swaps pointers.


def _ask_unchecked(**makers: Callable) -> Callable:
    """Reset to what the makers make, with neither c nor an epilog."""

    def ask(library: Any, xp: Any) -> Any:
        a, b = ab(xp)
        new = {name: make(xp) for name, make in makers.items()}
        with library.Matmul(a, b) as mm:
            mm.plan()
            mm.reset_operands_unchecked(**new)
            values = named(mm.execute())
        return values, product(new.get("a", a), new.get("b", b))

    return ask


QUESTIONS |= {
    "unchecked: a like the old one": _ask_unchecked(a=lambda xp: dense(xp, M, K, seed=9)),
    "unchecked: a column-major": _ask_unchecked(a=lambda xp: view(xp, (M, K), (1, M), seed=9)),
    "unchecked: a of every other row": _ask_unchecked(
        a=lambda xp: view(xp, (M, K), (2 * K, 1), seed=9)
    ),
    "unchecked: b reversed": _ask_unchecked(b=lambda xp: view(xp, (K, N), (-N, 1), seed=9)),
    "unchecked: b of one row repeated": _ask_unchecked(
        b=lambda xp: view(xp, (K, N), (0, 1), seed=9)
    ),
    "unchecked: a a list": _ask_unchecked(a=lambda xp: [[1.0]]),
    "unchecked: c without a c": _ask_unchecked(c=lambda xp: dense(xp, M, N)),
    "unchecked: beta without a c": _ask_unchecked(beta=lambda xp: 2.0),
    "unchecked: alpha a list": _ask_unchecked(alpha=lambda xp: [1.0, 2.0]),
}


@question("unchecked: a is float64, b is not")
def _(library: Any, xp: Any) -> Any:
    doubles = dense(xp, M, 2 * K, seed=9).view("float64")  # its memory holds whole float32 numbers
    with library.Matmul(*ab(xp)) as mm:
        mm.plan()
        mm.reset_operands_unchecked(a=doubles)
        return named(mm.execute()), product(doubles.astype("float32"), ab(xp)[1])


def _ask_unchecked_input(name: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> Callable:
    def ask(library: Any, xp: Any) -> Any:
        epilog = E.BIAS if name == "bias" else E.DRELU
        old, new = (
            view(xp, shape, how, "float32" if name == "bias" else "uint8", seed)
            for how, seed in (((1, *shape[:-1]), 3), (strides, 7))
        )
        with library.Matmul(*ab(xp)) as mm:
            mm.plan(epilog=library.MatmulEpilog(int(epilog)), epilog_inputs={name: old})
            mm.reset_operands_unchecked(epilog_inputs={name: new})
            return named(mm.execute()), product(*ab(xp), epilog=epilog, inputs={name: new})

    return ask


QUESTIONS |= {
    "unchecked: bias of every other number": _ask_unchecked_input("bias", (M,), (2,)),
    "unchecked: bias reversed": _ask_unchecked_input("bias", (M,), (-1,)),
    "unchecked: mask row-major": _ask_unchecked_input("relu_aux", (16, N), (N, 1)),
    "unchecked: mask with reversed columns": _ask_unchecked_input("relu_aux", (16, N), (1, -16)),
}


@question("unchecked: an epilog input that the plan has not")
def _(library: Any, xp: Any) -> Any:
    with library.Matmul(*ab(xp)) as mm:
        mm.plan()
        return mm.reset_operands_unchecked(epilog_inputs={"bias": dense(xp, M)})


@question("unchecked: c, in place, of every other row")
def _(library: Any, xp: Any) -> Any:
    c, new = dense(xp, M, N), view(xp, (M, N), (2 * N, 1), seed=9)
    with library.Matmul(*ab(xp), c, beta=1, options={"inplace": True}) as mm:
        mm.plan()
        mm.reset_operands_unchecked(c=new)
        truth = product(*ab(xp), new, beta=1)
        d = mm.execute()
        return named(d), truth
