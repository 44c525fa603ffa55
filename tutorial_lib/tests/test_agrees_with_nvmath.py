"""The reference against nvmath's own Matmul, which is Python, over a stand-in for cuBLASLt.

What is left to a GPU is what cuBLASLt computes and supports; layouts, refusals and what becomes of
a misread view are decided in nvmath.
"""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.matmul import MatmulEpilog
from tutorial_lib.reference.options import MatmulComputeType
from tutorial_lib.tests.gpu import questions
from tutorial_lib.tests.matrices import close, matrix, numbers_in_memory, problems, strides_of_any

advanced = pytest.importorskip("nvmath.linalg.advanced")
from nvmath.linalg._internal import epilog_protocol  # noqa: E402

from tutorial_lib.tests import cublaslt  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def nvmath():
    """nvmath's Matmul, which takes NumPy's arrays for a GPU's."""
    logging.disable(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        yield cublaslt.install(patch)
    logging.disable(logging.NOTSET)


def outcome(library, make, epilog=None, inputs=None, **arguments):
    """The result and extra outputs by name; the exception if there is one."""
    epilog = None if epilog is None else library.MatmulEpilog(int(epilog))
    try:
        with library.Matmul(*make(), **arguments) as mm:
            mm.plan(epilog=epilog, epilog_inputs=inputs)
            result = mm.execute()
    except Exception as error:
        return error
    d, outputs = result if isinstance(result, tuple) else (result, {})
    return {"result": d, **outputs}


def verdicts(make, *arguments, **keywords):
    """What both make of it, as the names of exceptions or the values."""
    return [
        type(x).__name__ if isinstance(x, Exception) else x
        for x in (
            outcome(library, make, *arguments, **keywords) for library in (reference, advanced)
        )
    ]


def layout(x):
    return x.shape, tuple(stride // x.itemsize for stride in x.strides), x.dtype


def test_the_enums_agree():
    assert {e.name: int(e) for e in MatmulEpilog} == {e.name: int(e) for e in advanced.MatmulEpilog}
    for member in MatmulComputeType:
        assert advanced.MatmulComputeType[member.name] == member


def test_nvmath_plans_every_epilog_but_default():
    known = {int(epilog) for epilog in epilog_protocol.EPILOG_INPUT_HANDLERS_MAP}
    assert known == set(map(int, epilogs.STAGES))


@pytest.mark.parametrize("name", questions.QUESTIONS)
def test_both_answer_a_question_alike(name):
    ours, theirs = (questions.answer(name, library, np) for library in (reference, advanced))
    if name in questions.STRICTER:
        assert ours.verdict == "cuBLASLtError"
    else:
        assert questions.agree(ours, theirs), (ours, theirs)


@given(problems(), st.sampled_from([None, *epilogs.STAGES]), st.data())
def test_results_outputs_and_their_layouts(operands, epilog, data):
    a, b = operands
    m, n = len(a), b.shape[1]
    rng = np.random.default_rng(0)
    tensors, arguments = [a, b], {}
    if data.draw(st.booleans()):
        order = data.draw(st.sampled_from("CF"))
        columns = data.draw(st.sampled_from([1, n]))
        if columns == 1 < m:  # a column with a gap behind each number is misread: see below
            tensors.append(rng.random((m, 1)).astype(a.dtype))
        else:
            tensors.append(matrix(data.draw, rng, (m, columns), a.dtype, order))
        arguments = {"beta": 1.0}
    inputs = {
        "bias": rng.random(m).astype(a.dtype),
        "relu_aux": epilogs.pack_mask(rng.random((m, n)) < 0.5),
        "gelu_aux": np.zeros((-(-m // 8) * 8, n), a.dtype, order="F"),
    }
    names = set() if epilog is None else epilogs.input_names(epilog)
    inputs = {name: inputs[name] for name in names}
    ours, theirs = verdicts(lambda: tensors, epilog, inputs or None, **arguments)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return
    assert set(ours) == set(theirs)
    for name, x in ours.items():
        assert layout(x) == layout(theirs[name])
        if name == "relu_aux":
            x, theirs[name] = (epilogs.unpack_mask(y, m) for y in (x, theirs[name]))
        elif name == "gelu_aux":
            x, theirs[name] = x[:m], theirs[name][:m]
        close(np.asarray(x, float), np.asarray(theirs[name], float))


@given(problems(min_k=2), st.sampled_from(["bias", "relu_aux", "gelu_aux"]), st.data())
def test_epilog_inputs_are_refused_alike(operands, name, data):
    """An input of about the right shape and layout: both accept it, or both raise ValueError."""
    a, b = operands
    epilog = {
        "bias": MatmulEpilog.BIAS,
        "relu_aux": MatmulEpilog.DRELU,
        "gelu_aux": MatmulEpilog.DGELU,
    }[name]
    m, n = len(a), b.shape[1]
    rows, dtype = {
        "bias": (m, a.dtype),
        "relu_aux": (epilogs.mask_shape(m, n)[0], np.dtype(np.uint8)),
        "gelu_aux": (-(-m // 8) * 8, a.dtype),
    }[name]
    columns = 1 if name == "bias" else n
    rows = max(1, rows + data.draw(st.sampled_from([0, 0, 0, 1, -1, 8])))
    columns = max(1, columns + data.draw(st.sampled_from([0, 0, 0, 1])))
    x = np.zeros((rows, columns), dtype, order=data.draw(st.sampled_from("CF")))
    if name == "bias" and columns == 1 and data.draw(st.booleans()):
        x = x.ravel() if data.draw(st.booleans()) else np.zeros(2 * rows, dtype)[::2]
    ours, theirs = verdicts(lambda: (a, b), epilog, {name: x})
    assert isinstance(ours, str) == isinstance(theirs, str), (ours, theirs, x.shape, x.strides)
    if isinstance(ours, str):
        assert ours == theirs == "ValueError"


EXTENT = st.integers(1, 6)


@given(EXTENT, EXTENT, EXTENT, st.sampled_from("abc"), st.booleans(), st.booleans(), st.data())
def test_a_view_of_any_strides_is_computed_as_meant_or_refused(m, k, n, name, inplace, one, data):
    """Where nvmath raises or computes other values, the reference raises; elsewhere it computes."""
    shape = {"a": (m, k), "b": (k, n), "c": (m, 1 if one and not inplace else n)}[name]
    strides = data.draw(strides_of_any(shape))

    def make():
        rng = np.random.default_rng(0)
        tensors = [rng.standard_normal((m, k)), rng.standard_normal((k, n))]
        tensors += [rng.standard_normal((m, n))] if name == "c" else []
        tensors["abc".index(name)] = numbers_in_memory(shape, strides)
        return tensors

    arguments = {"beta": 2.0, "options": {"inplace": inplace}} if name == "c" else {}
    a, b, *c = make()
    truth = a @ b + (2 * c[0] if c else 0)
    ours, theirs = verdicts(make, **arguments)
    if isinstance(theirs, str):
        assert ours == theirs
    elif np.allclose(theirs["result"], truth):
        np.testing.assert_allclose(ours["result"], truth, atol=1e-12)
        assert layout(ours["result"])[:2] == layout(theirs["result"])[:2]
    else:
        assert ours == "ValueError"


@given(EXTENT, EXTENT, EXTENT, st.sampled_from("abc"), st.data())
def test_an_unchecked_operand_is_read_through_the_plan_s_layout(m, k, n, name, data):
    """The very numbers that nvmath's pointers lead to, whatever the new operand's strides."""
    shapes = {"a": (m, k), "b": (k, n), "c": (m, n)}
    new = numbers_in_memory(shapes[name], data.draw(strides_of_any(shapes[name])))
    order = data.draw(st.sampled_from("CF"))
    results = []
    for library in (reference, advanced):
        rng = np.random.default_rng(0)
        tensors = [np.asarray(rng.random(shape), order=order) for shape in shapes.values()]
        with library.Matmul(*tensors, beta=1.0) as mm:
            mm.plan()
            mm.reset_operands_unchecked(**{name: new})
            results.append(mm.execute())
    np.testing.assert_array_equal(*results)


PLANS = st.lists(st.sampled_from([None, *epilogs.STAGES]), min_size=1, max_size=4)


@given(PLANS)
def test_plans_made_anew(plans):
    """After plans with the same epilog, or none, the last one is what nvmath makes of it.

    After one with another epilog, refused or not, it is refused.
    """
    rng = np.random.default_rng(0)
    a, b = np.asfortranarray(rng.standard_normal((4, 3))), rng.standard_normal((3, 5))
    given = {
        "bias": rng.standard_normal(4),
        "relu_aux": epilogs.pack_mask(rng.random((4, 5)) < 0.5),
        "gelu_aux": np.asfortranarray(rng.standard_normal((8, 5))),
    }

    def run(library, plans):
        with library.Matmul(a, b) as mm:
            for i, epilog in enumerate(plans):
                names = epilogs.input_names(epilog) if epilog else set()
                inputs = {name: given[name] for name in names} or None
                try:
                    mm.plan(
                        epilog=epilog and library.MatmulEpilog(int(epilog)), epilog_inputs=inputs
                    )
                except Exception as error:
                    if i == len(plans) - 1:
                        return type(error).__name__
            with np.errstate(all="ignore"):  # nvmath may read a bias that nobody wrote
                return questions.named(mm.execute())

    truth, ours, theirs = run(reference, plans[-1:]), run(reference, plans), run(advanced, plans)
    if {epilog for epilog in plans[:-1] if epilog} - {plans[-1]}:
        assert isinstance(ours, str)
        return
    if isinstance(theirs, str):
        assert ours == theirs
        return
    right = set(theirs) == set(truth) and all(
        np.allclose(theirs[name], truth[name]) for name in truth
    )
    assert isinstance(ours, str) != right, (ours, theirs)
