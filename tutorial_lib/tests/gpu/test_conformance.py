"""The reference against a GPU, where there is one; the harness against the reference, anywhere."""

import dataclasses

import numpy as np
import pytest

from tutorial_lib import backend, results
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.tests.gpu import conformance, training
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
