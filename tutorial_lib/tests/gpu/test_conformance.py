"""The reference against a GPU, where there is one; the harness against the reference, anywhere."""

import dataclasses

import numpy as np
import pytest

from tutorial_lib import backend, results
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.tests.gpu import candidates, conformance, questions, training
from tutorial_lib.tests.gpu.__main__ import compare_streams, to_device

# Losses of float32 runs that sum in other orders: equal in the seventh digit until a value near 0
# falls on another side of a ReLU, which in three epochs happens to wide networks only.
LOSS_BOUND = {30: 1e-6, 64: 1e-6, 257: 5e-4, 1024: 5e-4}
IMAGES_BOUND = 3


@pytest.mark.gpu
def test_every_matmul_agrees_with_cublaslt():
    compared = conformance.compare_all(backend, to_device)
    assert not compared["disagreements"]
    assert all(
        count["computed"] for name, count in compared["per_epilog"].items() if name != "DEFAULT"
    )


@pytest.mark.gpu
def test_every_question_is_answered_alike():
    assert not questions.ask_all(backend, backend.xp)["disagreements"]


@pytest.mark.gpu
def test_every_candidate_algorithm_agrees():
    for found in candidates.count_all(backend, backend.xp, [30]).values():
        for counts in found.values():
            assert counts["candidates"] == counts["agree"] > 0


@pytest.mark.gpu
def test_the_random_stream_agrees_with_cupy():
    assert compare_streams()["different"] == 0


@pytest.mark.gpu
def test_device_memory_does_not_grow():
    after_2, after_20 = training.device_memory()
    assert after_2 == after_20


def test_the_record_is_of_these_cases_and_finds_no_disagreement():
    record = results.load("conformance")
    assert record["matmul"]["cases"] == sum(1 for _ in conformance.cases())
    assert not record["matmul"]["disagreements"]
    assert set(record["matmul"]["per_epilog"]) == {"none", *(e.name for e in MatmulEpilog)}
    assert record["random"]["different"] == 0
    after_2, after_20 = record["device_memory_bytes"]
    assert after_2 == after_20


def test_the_record_s_answers_are_those_of_the_reference():
    recorded = results.load("conformance")["questions"]
    assert not recorded["disagreements"]
    assert set(recorded["answers"]) == set(questions.QUESTIONS)
    for name in set(questions.QUESTIONS) - questions.OPEN:
        ours = questions.answer(name, reference, np)
        theirs = recorded["answers"][name].partition(":")[0]
        if name in questions.STRICTER:
            assert ours.verdict == "cuBLASLtError", name
        elif theirs == questions.OTHER:
            assert ours.verdict != questions.RIGHT, name
        else:
            assert ours.verdict == theirs, name


def test_every_candidate_algorithm_in_the_record_agrees():
    recorded = results.load("conformance")["candidates"]
    names = {f"{name} {width}" for name in candidates.MATMULS for width in candidates.WIDTHS}
    assert set(recorded) == names
    for by_arithmetic in recorded.values():
        assert set(by_arithmetic) == set(candidates.ARITHMETICS)
        for counts in by_arithmetic.values():
            assert counts["candidates"] == counts["agree"] > 0


def test_the_record_s_training_runs_agree():
    compared = results.load("conformance")["training"]
    assert set(compared) == {f"{n} {w}" for n in training.NETWORKS for w in training.WIDTHS}
    for name, run in compared.items():
        assert run["worst_loss_difference"] < LOSS_BOUND[int(name.split()[1])]
        assert abs(run["correct_cpu"] - run["correct_gpu"]) <= IMAGES_BOUND


# The harness itself: it finds nothing where nothing is wrong, and finds what is.


def copy(x):
    return np.lib.stride_tricks.as_strided(x.copy(order="K"), x.shape, x.strides)


SOME = [case for i, case in enumerate(conformance.cases()) if i % 41 == 0]


def test_the_reference_agrees_with_itself():
    assert len({case.epilog for case in SOME}) == len(conformance.EPILOGS)
    for case in SOME:
        ours, theirs = (conformance.run(reference, case, how) for how in (lambda x: x, copy))
        assert conformance.differences(case, ours, theirs)[0] == []


def first(name, **wanted):
    epilog = MatmulEpilog[name]
    case = conformance.Case(epilog, (17, 33, 9), ("F", "C"), "float32", "none")
    return dataclasses.replace(case, **wanted)


@pytest.mark.parametrize(
    ("case", "spoil", "finding"),
    [
        (first("RELU"), lambda out: out["result"].__setitem__((3, 3), 7.5), "values deviate"),
        (first("RELU_AUX"), lambda out: out["relu_aux"].__setitem__((0, 0), 255), "bits differ"),
        (first("BIAS"), lambda out: out.update(result=out["result"].copy(order="C")), "layouts"),
        (first("BGRADB"), lambda out: out.pop("bgradb"), "outputs"),
        (first("DGELU"), lambda out: out.update(result=out["result"] * 1.01), "values deviate"),
    ],
)
def test_the_harness_finds_a_spoiled_result(case, spoil, finding):
    ours, theirs = conformance.run(reference, case, copy), conformance.run(reference, case, copy)
    spoil(theirs)
    found, _ = conformance.differences(case, ours, theirs)
    assert len(found) == 1
    assert finding in found[0]


def test_the_harness_compares_types_of_exceptions():
    case = first("DRELU", shape=(5, 3, 1))
    error = conformance.run(reference, case, copy)
    assert isinstance(error, ValueError)
    assert conformance.differences(case, error, ValueError("in other words"))[0] == []
    assert conformance.differences(case, error, RuntimeError("another type"))[0]
    assert conformance.differences(case, error, {"result": np.zeros(1)})[0]


# What nvmath is known to answer, on an H100 or from its source: the reference's answers, pinned.

KNOWN = {
    questions.RIGHT: [
        "beta is 0 and c holds NaN",
        "beta is 0 and c, in place, holds NaN",
        "planned with no epilog, then with BIAS",
        "an algorithm of the plan",
        "a is reset before the plan",
        "what a failed reset has changed",
        "a with gaps between rows",
        "b with gaps between columns",
        "c, in place, with gaps between rows",
        "c is one column, dense",
    ],
    "ValueError": [
        "alpha is an array",
        "beta is an array",
        "beta is reset to an array",
        "a whose rows overlap",
        "a with reversed rows",
        "b of one row repeated",
        "c of one column repeated",
        "c, in place, whose rows overlap",
        "c, in place, of one row repeated",
        "c is one column, out of a matrix",
        "bias, reversed",
        "relu_aux, with reversed columns",
        "gelu_aux, with gaps between columns",
        "an algorithm of another plan",
        "the algorithm is a text",
        "the compute type is no compute type",
        "a is a list",
        "c is a list",
        "the bias is a list",
        "a is reset to a list",
    ],
    "cuBLASLtError": ["planned with BIAS, then without, row-major", *sorted(questions.STRICTER)],
    "RuntimeError": [
        "execute after a plan with an int",
        "execute after a plan with a misspelled preference",
        "execute after a plan with algorithms of a wrong type",
    ],
    "AttributeError": ["the epilog is an int", "unchecked: a a list"],
    "AssertionError": [
        "the epilog is an int of no epilog",
        "the epilog is a text",
        "an algorithm is a text",
        "unchecked: beta without a c",
    ],
    "TypeError": [
        "a preference is misspelled",
        "matmul with a misspelled preference",
        "an option is misspelled",
        "the options are a text",
        "the algorithms are a number",
        "the epilog is a list",
    ],
    "KeyError": [
        "an epilog input is reset before the plan",
        "an epilog input is reset after a plan that failed",
    ],
    questions.OTHER: [
        "unchecked: a column-major",
        "unchecked: a of every other row",
        "unchecked: b reversed",
        "unchecked: a is float64, b is not",
        "unchecked: bias of every other number",
        "unchecked: mask row-major",
    ],
}


@pytest.mark.parametrize(
    ("name", "verdict"), [(name, verdict) for verdict in KNOWN for name in KNOWN[verdict]]
)
def test_the_reference_gives_the_known_answer(name, verdict):
    assert questions.answer(name, reference, np).verdict == verdict


def test_only_what_is_unchecked_computes_other_values():
    for name in set(questions.QUESTIONS) - questions.OPEN:
        verdict = questions.answer(name, reference, np).verdict
        assert verdict != questions.ACCEPTED
        if verdict == questions.OTHER:
            assert name.startswith("unchecked: ")


def test_answers_are_compared_by_type_and_by_value():
    right, other, refused = (
        questions.Answer(verdict, values={"result": np.array([value])})
        for verdict, value in ((questions.RIGHT, 1), (questions.OTHER, 2), ("ValueError", 0))
    )
    else_ = questions.Answer(questions.OTHER, values={"result": np.array([3])})
    more = questions.Answer(questions.OTHER, values={"result": np.array([2]), "mask": np.ones(1)})
    pairs = {
        (ours.verdict, theirs.verdict): questions.agree(ours, theirs)
        for ours in (right, other, refused)
        for theirs in (right, other, refused)
    }
    assert {pair for pair, agrees in pairs.items() if agrees} == {
        (x.verdict, x.verdict) for x in (right, other, refused)
    } | {("ValueError", questions.OTHER)}
    assert not questions.agree(refused, questions.Answer("TypeError"))
    assert not questions.agree(other, else_)
    assert not questions.agree(other, more)


def test_the_questions_find_a_library_that_answers_otherwise():
    class Careless(reference.Matmul):
        def execute(self, **arguments):
            d = super().execute()
            return d if isinstance(d, tuple) else d * 2

    class Library:
        Matmul, MatmulEpilog, matmul = Careless, MatmulEpilog, reference.matmul

    found = questions.ask_all(Library, np)
    assert set(found["answers"]) == set(questions.QUESTIONS)
    assert found["answers"]["a is a list"].startswith("ValueError: operand a must be")
    differ = found["disagreements"]
    assert differ["a is reset before the plan"] == "reference: right values, library: other values"
    assert differ["the algorithm is a text"] == "reference: ValueError, library: accepted"
    assert "a is a list" not in differ
    assert questions.OPEN.isdisjoint(differ)
    assert not questions.ask_all(reference, np)["disagreements"]


@pytest.mark.parametrize("name", candidates.MATMULS)
def test_the_reference_s_only_algorithm_agrees_and_repeats(name):
    for arithmetic in candidates.ARITHMETICS:
        found = candidates.count(reference, np, name, 30, arithmetic)
        assert found == {"candidates": 1, "agree": 1, "repeat": 1}


def spoiled(spoil):
    """A library of three algorithms, whose outputs pass through `spoil`: (name, rank, array)."""

    class Spoiled(reference.Matmul):
        def plan(self, **arguments):
            super().plan(**arguments)
            self.algorithms = tuple(reference.Algorithm() for _ in range(3))
            return self.algorithms

        def execute(self, *, algorithm):
            result = super().execute(algorithm=algorithm)
            d, extra = result if isinstance(result, tuple) else (result, {})
            for name, x in {"result": d, **extra}.items():
                spoil(name, self.algorithms.index(algorithm), x)
            return result

    class Library:
        Matmul, MatmulEpilog = Spoiled, MatmulEpilog

    return Library


@pytest.mark.parametrize(
    ("matmul", "output"),
    [
        ("hidden", "result"),
        ("hidden", "relu_aux"),
        ("grad_relu", "drelu_bgrad"),
        ("update hidden", "result"),
        ("update output and bias", "bgradb"),
    ],
)
def test_a_candidate_that_is_wrong_or_does_not_repeat_is_found(matmul, output):
    def wrong(name, rank, x):
        if name == output and rank == 1:
            x[0] = x[0] ^ 1 if x.dtype == np.uint8 else x[0] + 1

    found = candidates.count(spoiled(wrong), np, matmul, 30, "float32")
    assert found == {"candidates": 3, "agree": 2, "repeat": 3, "wrong": ["1: algorithm "]}
    drift = iter(range(1, 1000))

    def unsteady(name, rank, x):
        if name == output and rank == 2 and x.dtype != np.uint8:
            x[0] += next(drift)

    found = candidates.count(spoiled(unsteady), np, matmul, 30, "tf32")
    assert found["repeat"] == (3 if output == "relu_aux" else 2)


def test_the_padding_of_a_mask_does_not_count():
    def padding(name, rank, x):
        if name == "relu_aux":
            x[4:] = rank
            x[3] |= 0b11000000

    found = candidates.count(spoiled(padding), np, "hidden", 30, "float32")
    assert found == {"candidates": 3, "agree": 3, "repeat": 3}
