"""The reference against a GPU, where there is one; the harness against the reference, anywhere."""

import numpy as np
import pytest

from tutorial_lib import backend, results
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.tests.gpu import candidates, conformance, questions, training_runs
from tutorial_lib.tests.gpu.__main__ import compare_streams, to_device

# Losses of float32 runs that sum in other orders: equal in the seventh digit until a value near 0
# falls on another side of a ReLU, which in three epochs happens to wide networks only.
LOSS_BOUND = {30: 1e-6, 64: 1e-6, 257: 5e-4, 1024: 5e-4}
IMAGES_BOUND = 3


@pytest.fixture(scope="module", params=["the record", pytest.param("a GPU", marks=pytest.mark.gpu)])
def compared(request):
    """What a GPU was found to compute: as recorded, and measured now where there is a GPU."""
    if request.param == "the record":
        return results.load("conformance")
    return {
        "matmul": conformance.compare_all(backend, to_device),
        "questions": questions.ask_all(backend, backend.xp),
        "candidates": candidates.count_all(backend, backend.xp),
        "random": compare_streams(),
        "device_memory_bytes": training_runs.device_memory(),
    }


def test_every_matmul_agrees_with_cublaslt(compared):
    matmuls = compared["matmul"]
    assert matmuls["cases"] == sum(1 for _ in conformance.cases())
    assert not matmuls["disagreements"]
    counts = matmuls["per_epilog"]
    assert set(counts) == {"none", *(epilog.name for epilog in MatmulEpilog)}
    assert {name for name, count in counts.items() if not count["computed"]} == {"DEFAULT"}


def test_every_candidate_algorithm_agrees(compared):
    found = compared["candidates"]
    names = {f"{name} {width}" for name in candidates.MATMULS for width in candidates.WIDTHS}
    assert set(found) == names
    for by_arithmetic in found.values():
        assert set(by_arithmetic) == set(candidates.ARITHMETICS)
        for counts in by_arithmetic.values():
            assert counts["candidates"] == counts["agree"] > 0


def test_the_random_stream_agrees_and_device_memory_does_not_grow(compared):
    assert compared["random"]["different"] == 0
    after_2, after_20 = compared["device_memory_bytes"]
    assert after_2 == after_20


def test_every_question_is_answered_alike(compared):
    """Where nvmath reads other memory, the reference refuses, or reads it, too: unchecked."""
    answers = compared["questions"]["answers"]
    assert not compared["questions"]["disagreements"]
    assert set(answers) == set(questions.QUESTIONS)
    for name in set(questions.QUESTIONS) - questions.OPEN:
        ours = questions.answer(name, reference, np).verdict
        theirs = answers[name].partition(":")[0]
        if name in questions.STRICTER:
            theirs = "cuBLASLtError"
        elif theirs == questions.OTHER and not name.startswith("unchecked: "):
            theirs = "cuBLASLtError" if name.startswith("planned") else "ValueError"
        assert ours == theirs, name


def test_the_recorded_training_runs_agree():
    compared = results.load("conformance")["training"]
    networks, widths = training_runs.NETWORKS, training_runs.WIDTHS
    assert set(compared) == {f"{name} {width}" for name in networks for width in widths}
    for name, run in compared.items():
        assert run["worst_loss_difference"] < LOSS_BOUND[int(name.split()[1])]
        assert abs(run["correct_cpu"] - run["correct_gpu"]) <= IMAGES_BOUND


# The harness itself: it finds nothing where nothing is wrong, and finds what is.


def copy(x):
    return np.lib.stride_tricks.as_strided(x.copy(order="K"), x.shape, x.strides)


def test_the_reference_agrees_with_itself():
    some = [case for i, case in enumerate(conformance.cases()) if i % 41 == 0]
    assert len({case.epilog for case in some}) == len(conformance.EPILOGS)
    for case in some:
        ours, theirs = (conformance.run(reference, case, how) for how in (lambda x: x, copy))
        assert conformance.differences(case, ours, theirs)[0] == []


def first(name, shape=(17, 33, 9)):
    return conformance.Case(MatmulEpilog[name], shape, ("F", "C"), "float32", "none")


@pytest.mark.parametrize(
    ("epilog", "spoil", "finding"),
    [
        ("RELU", lambda out: out["result"].__setitem__((3, 3), 7.5), "values deviate"),
        ("RELU_AUX", lambda out: out["relu_aux"].__setitem__((0, 0), 255), "bits differ"),
        ("BIAS", lambda out: out.update(result=out["result"].copy(order="C")), "layouts"),
        ("BGRADB", lambda out: out.pop("bgradb"), "outputs"),
        ("DGELU", lambda out: out.update(result=out["result"] * 1.01), "values deviate"),
    ],
)
def test_the_harness_finds_a_spoiled_result(epilog, spoil, finding):
    case = first(epilog)
    ours, theirs = conformance.run(reference, case, copy), conformance.run(reference, case, copy)
    spoil(theirs)
    (found,) = conformance.differences(case, ours, theirs)[0]
    assert finding in found


def test_the_harness_compares_types_of_exceptions():
    case = first("DRELU", shape=(5, 3, 1))
    error = conformance.run(reference, case, copy)
    assert isinstance(error, ValueError)
    assert conformance.differences(case, error, ValueError("in other words"))[0] == []
    assert conformance.differences(case, error, RuntimeError("another type"))[0]
    assert conformance.differences(case, error, {"result": np.zeros(1)})[0]


def test_answers_are_compared_by_type_and_by_value():
    def wrong(**values):
        return questions.Answer(questions.OTHER, values=values)

    right, refused = questions.Answer(questions.RIGHT), questions.Answer("ValueError")
    two, three = wrong(result=np.array([2])), wrong(result=np.array([3]))
    more = wrong(result=np.array([2]), mask=np.ones(1))
    named = {"right": right, "refused": refused, "two": two, "three": three, "more": more}
    alike = {(x, y) for x in named for y in named if questions.agree(named[x], named[y])}
    refuses_what_is_wrong = {("refused", name) for name in ("two", "three", "more")}
    assert alike == {(name, name) for name in named} | refuses_what_is_wrong
    assert not questions.agree(refused, questions.Answer("TypeError"))


def test_the_questions_find_a_library_that_answers_otherwise():
    class Careless(reference.Matmul):
        def execute(self, **arguments):
            d = super().execute()
            return d if isinstance(d, tuple) else d * 2

    class Library:
        Matmul, MatmulEpilog, matmul = Careless, MatmulEpilog, reference.matmul

    found = questions.ask_all(Library, np)
    assert found["answers"]["a is a list"].startswith("ValueError: operand a must be")
    differ = found["disagreements"]
    assert differ["a is reset before the plan"] == "reference: right values, library: other values"
    assert differ["the algorithm is a text"] == "reference: ValueError, library: accepted"
    assert "a is a list" not in differ
    assert questions.OPEN.isdisjoint(differ)
    assert not questions.ask_all(reference, np)["disagreements"]


def spoiled(spoil):
    """A library of three algorithms, whose outputs pass through `spoil`: (name, rank, array)."""

    class Spoiled(reference.Matmul):
        def plan(self, **arguments):
            super().plan(**arguments)
            self.algorithms = tuple(reference.Algorithm() for _ in range(3))
            return self.algorithms

        def execute(self, *, algorithm):
            result = super().execute(algorithm=algorithm)
            for name, x in conformance.named(result).items():
                spoil(name, self.algorithms.index(algorithm), x)
            return result

    class Library:
        Matmul, MatmulEpilog = Spoiled, MatmulEpilog

    return Library


def test_the_reference_s_only_algorithm_agrees_and_repeats():
    for by_arithmetic in candidates.count_all(reference, np, [30]).values():
        assert list(by_arithmetic.values()) == [{"candidates": 1, "agree": 1, "repeat": 1}] * 2


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
        if name == output and rank == 2:
            x[0] = next(drift)

    assert candidates.count(spoiled(unsteady), np, matmul, 30, "tf32")["repeat"] == 2


def test_the_padding_of_a_mask_does_not_count():
    def padding(name, rank, x):
        if name == "relu_aux":
            x[4:] = rank
            x[3] |= 0b11000000

    found = candidates.count(spoiled(padding), np, "hidden", 30, "float32")
    assert found == {"candidates": 3, "agree": 3, "repeat": 3}
