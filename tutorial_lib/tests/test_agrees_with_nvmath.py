"""The reference against nvmath's own Matmul, which is Python, over a stand-in for cuBLASLt.

What is left to a GPU is what cuBLASLt computes and supports; layouts, refusals and what becomes of
a misread view are decided in nvmath.
"""

import contextlib
import copy
import logging

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tutorial_lib.reference import epilogs
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.layouts import stack
from tutorial_lib.reference.options import MatmulComputeType
from tutorial_lib.tests.gpu import questions
from tutorial_lib.tests.gpu.conformance import inputs_of, layout, meaning, outcome
from tutorial_lib.tests.matrices import (
    DTYPES,
    HALVES,
    close,
    numbers_in_memory,
    problems,
    stacked,
    strides_of_any,
)

advanced = pytest.importorskip("nvmath.linalg.advanced")
torch = pytest.importorskip("torch")
from nvmath.linalg._internal import epilog_protocol  # noqa: E402

from tutorial_lib.tests import cublaslt  # noqa: E402

EXTENT = st.integers(1, 6)


@pytest.fixture(autouse=True, scope="module")
def nvmath():
    """nvmath's Matmul, which takes NumPy's arrays for a GPU's."""
    logging.disable(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        yield cublaslt.install(patch)
    logging.disable(logging.NOTSET)


def verdicts(make, epilog=None, inputs=None, **arguments):
    """What both make of it, as the names of exceptions or the values."""
    found = (outcome(x, make(), epilog, inputs, **arguments) for x in (reference, advanced))
    return [type(x).__name__ if isinstance(x, Exception) else x for x in found]


def test_the_enums_and_the_epilogs_that_are_planned_agree():
    assert {e.name: int(e) for e in MatmulEpilog} == {e.name: int(e) for e in advanced.MatmulEpilog}
    for member in MatmulComputeType:
        assert advanced.MatmulComputeType[member.name] == member
    known = {int(epilog) for epilog in epilog_protocol.EPILOG_INPUT_HANDLERS_MAP}
    assert known == set(map(int, epilogs.STAGES)) == set(map(int, MatmulEpilog)) - {1}


@pytest.mark.parametrize("name", questions.QUESTIONS)
def test_both_answer_a_question_alike(name):
    ours, theirs = (questions.answer(name, library, np) for library in (reference, advanced))
    if name in questions.STRICTER:
        assert ours.verdict == "cuBLASLtError"
    else:
        assert questions.agree(ours, theirs), (ours, theirs)


def logged(library):
    """What a library says of a Matmul that is stated, planned, executed twice, and of a matmul."""
    lines, logger = [], logging.Logger("of its own", logging.INFO)
    logger.addFilter(lambda record: lines.append(record.getMessage()))
    operands = np.ones((4, 3), HALVES[1]), np.ones((3, 5), HALVES[1])
    inputs = {"epilog_inputs": {"bias": np.ones(4, HALVES[1])}}
    with library.Matmul(*operands, options={"logger": logger}) as mm:
        mm.plan(epilog=library.MatmulEpilog.BIAS, preferences={"limit": 1}, **inputs)
        mm.autotune()
        mm.execute()
        mm.reset_operands(b=operands[1], **inputs)
        mm.execute()
    library.matmul(*operands, options={"logger": logger})
    return lines


def test_what_is_logged_is_logged_word_for_word_by_nvmath(monkeypatch):
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
    ours, theirs = logged(reference), logged(advanced)
    assert ours == [line for line in theirs if line in ours]
    phases = ["SPECIFICATION", "PLANNING", "AUTOTUNING", "EXECUTION", "EXECUTION"]
    found = [line.split()[1] for line in ours if "PHASE" in line]
    assert found == [*phases, "SPECIFICATION", "PLANNING", "EXECUTION"]
    assert found == [line.split()[1] for line in theirs if "PHASE" in line]
    assert "Operand 'bias' has been reset to the new value." in ours


@pytest.mark.parametrize("epilog", [None, *epilogs.STAGES])
@given(st.tuples(EXTENT, EXTENT, EXTENT, st.integers(1, 3)), st.booleans(), DTYPES, st.data())
def test_a_batch_of_matrices_or_tensors(epilog, extents, of_torch, dtype, data):
    """Which of the operands and inputs are a batch, and how it lies, is drawn for each."""
    m, n, k, batch = extents
    m += data.draw(st.sampled_from([0, 2, 122, 128]))  # up to the edges of the padding, and over
    rng, draw = np.random.default_rng(data.draw(st.integers(0, 9))), data.draw
    assume(not of_torch or dtype != HALVES[1])  # torch's bfloat16 is not NumPy's
    convert = torch.from_numpy if of_torch else np.asarray
    of_c = draw(st.sampled_from([dtype, np.dtype("f4")])) if dtype in HALVES else dtype

    def some(*shape, dtype=dtype):
        return stacked(draw, rng, shape, dtype, draw(st.sampled_from([None, batch])), convert)

    tensors, kind = [some(m, k), some(k, n)], draw(st.sampled_from("012i"))
    if kind == "1" or (kind == "2" and n == 1):  # packed, or nvmath reads other numbers
        shape = draw(st.sampled_from([(m, 1), (batch, m, 1)]))
        tensors.append(convert(rng.uniform(-1, 1, shape).astype(of_c)))
    elif kind != "0":
        tensors.append(some(m, n, dtype=of_c))
    dtype = of_c if kind in "12i" else dtype
    several, inputs = [inputs_of(epilog, m, n, dtype, rng) for _ in range(batch)], {}
    for name, x in several[0].items():
        alone = draw(st.booleans())
        inputs[name] = convert(x if alone else stack([one[name] for one in several], "F"))
    arguments = {"beta": 1.0, "options": {"inplace": kind == "i"}} if kind != "0" else {}
    make = lambda: [*tensors[:2], *copy.deepcopy(tensors[2:])]  # noqa: E731
    ours, theirs = verdicts(make, epilog, inputs, **arguments)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return
    assert {k: layout(x) for k, x in ours.items()} == {k: layout(x) for k, x in theirs.items()}
    assert {isinstance(x, torch.Tensor) for x in ours.values()} == {of_torch}
    ours, theirs = meaning(ours, m), meaning(theirs, m)
    for name, x in ours.items():
        close(np.asarray(x, float), np.asarray(theirs[name], float), scale=n)
    if epilog is None:
        a, b, *c = (np.asarray(x).astype(np.float64) for x in tensors)
        close(ours["result"], a @ b + sum(c), scale=n)


@given(problems(), st.sampled_from(list(questions.READERS)), st.data())
def test_epilog_inputs_are_refused_alike(operands, name, data):
    """An input of about the right shape and layout: both accept it, or both raise ValueError."""
    a, b = operands
    epilog, rng = questions.READERS[name], np.random.default_rng()
    right = inputs_of(epilog, len(a), b.shape[1], a.dtype, rng)[name]
    rows, columns = right.reshape(len(right), -1).shape
    rows = max(1, rows + data.draw(st.sampled_from([0, 0, 0, 1, -1, 8])))
    columns = max(1, columns + data.draw(st.sampled_from([0, 0, 0, 1])))
    x = np.zeros((rows, columns), right.dtype, order=data.draw(st.sampled_from("CF")))
    if name == "bias" and columns == 1 and data.draw(st.booleans()):
        x = np.zeros(2 * rows, x.dtype)[:: data.draw(st.sampled_from([1, 2]))][:rows]
    ours, theirs = verdicts(lambda: (a, b), epilog, {name: x})
    refused = [answer for answer in (ours, theirs) if isinstance(answer, str)]
    assert refused in ([], ["ValueError"] * 2), (ours, theirs, x.shape, x.strides)


@given(EXTENT, EXTENT, EXTENT, st.sampled_from("abc"), st.booleans(), st.booleans(), st.data())
def test_a_view_of_any_strides_is_computed_as_meant_or_refused(m, k, n, name, inplace, one, data):
    """Where nvmath raises or computes other values, the reference raises; elsewhere it computes."""
    one = one and not inplace
    shape = {"a": (m, k), "b": (k, n), "c": (m, 1 if one else n)}[name]
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
        assert layout(ours["result"]) == layout(theirs["result"])
    else:
        assert ours == "ValueError"


@given(EXTENT, EXTENT, EXTENT, st.sampled_from("abc"), st.sampled_from("CF"), st.data())
def test_an_unchecked_operand_is_read_through_the_plan_s_layout(m, k, n, name, order, data):
    """The very numbers that nvmath's pointers lead to, whatever the new operand's strides."""
    shapes = {"a": (m, k), "b": (k, n), "c": (m, n)}
    new = numbers_in_memory(shapes[name], data.draw(strides_of_any(shapes[name])))
    results = []
    for library in (reference, advanced):
        tensors = [np.ones(shape, order=order) for shape in shapes.values()]
        with library.Matmul(*tensors, beta=1.0) as mm:
            mm.plan()
            mm.reset_operands_unchecked(**{name: new})
            results.append(mm.execute())
    np.testing.assert_array_equal(*results)


@given(st.lists(st.sampled_from([None, *epilogs.STAGES]), min_size=1, max_size=4))
def test_plans_made_anew(plans):
    """The last one is what nvmath makes of it; after another epilog, refused or not, refused."""

    def run(library, plans):
        with questions.Lab(library, np) as lab:
            mm = lab.stated(np.asfortranarray(lab.a), lab.b)
            for epilog in plans[:-1]:
                with contextlib.suppress(Exception):
                    lab.plan(mm, epilog, inputs[epilog])
            try:
                lab.plan(mm, plans[-1], inputs[plans[-1]])
            except Exception as error:
                return type(error).__name__
            with np.errstate(all="ignore"):  # nvmath may read a bias that nobody wrote
                return questions.result(mm)

    m, n, rng = questions.M, questions.N, np.random.default_rng(1)
    inputs = {epilog: inputs_of(epilog, m, n, np.float32, rng) for epilog in plans}
    truth, ours, theirs = run(reference, plans[-1:]), run(reference, plans), run(advanced, plans)
    if {epilog for epilog in plans[:-1] if epilog} - {plans[-1]}:
        assert isinstance(ours, str)
    elif isinstance(theirs, str):
        assert ours == theirs
    else:
        right = set(theirs) == set(truth) and all(np.allclose(theirs[x], truth[x]) for x in truth)
        assert isinstance(ours, str) != right, (ours, theirs)
