"""Where the time goes: what is read from a trace and from ncu, and what is measured of a step."""

import itertools
from argparse import Namespace

import pytest

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import __main__ as command_line
from tutorial_lib.benchmarks import counters, errors, matmuls, timeline, trace
from tutorial_lib.kernels import cuda, launches


def event(cat, name, ts, dur, **args):
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "args": args}


FIRST, SECOND = (
    [
        event("cuda_runtime", "cudaLaunchKernel", at + 2.5, 1, correlation=at),
        event("cuda_driver", "cuLaunchKernel", at + 1, 1, correlation=at + 1),
        event("kernel", "void copy<f>(float*)", at + 9, 0.5, correlation=at, grid=[7, 1, 1]),
        event("gpu_memset", "Memset", at + 6, 2, correlation=at + 1),
    ]
    for at in (100, 200)
)
CALL = event("user_annotation", trace.CALL, 200, 20)
ON_GPU = event("gpu_user_annotation", trace.CALL, 206, 4)


def test_a_trace_is_read_as_the_kernels_of_the_second_call_in_the_order_in_which_they_ran():
    found = trace.read([*SECOND, {"ph": "M", "name": "thread"}, CALL, ON_GPU, *FIRST])
    memset = {"name": "Memset", "us": 2, "grid": None, "block": None, "launched": 1, "start": 6}
    copy = {"name": "copy<f>", "us": 0.5, "grid": [7, 1, 1], "block": None}
    assert found == {"host_us": 20, "kernels": [memset, copy | {"launched": 2.5, "start": 9}]}


HEAD = '"ID","Process ID","Kernel Name","Block Size","Grid Size","Metric Name","Metric Value"'
COUNTED = [  # of two steps, a kernel each
    (0, "step_inplace_30", "gpu__time_duration.sum", "900"),
    (1, "sgemm<float>(int, int)", "gpu__time_duration.sum", "12,345"),
    (1, "sgemm<float>(int, int)", "launch__registers_per_thread", "64"),
    (2, "step_one_kernel_512", "launch__registers_per_thread", "16"),
    (3, "epoch", "launch__registers_per_thread", "168"),
]


def test_the_kernels_that_ncu_prints_are_those_of_the_step_whose_mark_came_before():
    lines = [f'"{i}","7","{name}","(1)","(13, 8, 1)","{m}","{x}"' for i, name, m, x in COUNTED]
    rows = counters.read("\n".join(["==PROF== Connected", HEAD, *lines]))
    about = {"name": "sgemm<float>(int, int)", "grid": "(13, 8, 1)"}
    sgemm = {"network": "inplace", "hidden": 30} | about | {"ns": 12345, "registers": 64}
    epoch = {"network": "one-kernel", "hidden": 512, "name": "epoch", "grid": "(13, 8, 1)"}
    assert rows == [sgemm, epoch | {"registers": 168}]


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """As if on a GPU, whose kernels are two for each call that the work makes of `step`."""
    monkeypatch.setattr("tutorial_lib.benchmarks.contest.backend", Namespace(name="gpu"))
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    kernels = [{"name": "k", "us": us, "grid": [5]} for us in (1, 2) * timeline.STEPS]

    def look(work):
        return {"losses": [*getattr(work(), "shape", ())], "kernels": kernels}

    for module in (timeline, matmuls):
        monkeypatch.setattr(module, "traced", look)
    return kernels


def test_the_pace_of_a_step_is_told_for_each_network_width_and_batch(gpu, monkeypatch, capsys):
    monkeypatch.setattr(timeline, "WIDTHS", (8,))
    monkeypatch.setattr(timeline, "BATCHES", (4, 8))
    monkeypatch.setattr(timeline, "BATCH_SIZE", 4)
    command_line.main(["timeline"])
    record = results.load("step_timeline")
    places = [(row["network"], row["hidden"], row["batch"]) for row in record["pace"]]
    assert places == [(name, 8, n) for n in (4, 8) for name in ("naive", "fused", "captured")]
    for row in record["pace"]:
        assert row["gpu"] == {"median": 3, "quartiles": [3, 3], "samples": [3] * 14}
        assert (row["kernels"], len(row["host"]["samples"])) == (2, 15)
        assert row["wall"]["median"] >= row["host"]["median"] > 0
    assert record["steps"]["captured"]["8"] == {"losses": [3], "kernels": gpu}
    assert record["steps"]["fused"]["8"]["profile"]["host_total"] > 0
    assert capsys.readouterr().out.startswith("naive 8 4 2 {'median': ")


def test_the_phases_of_the_one_kernel_are_told_for_each_cut_and_precision(gpu, monkeypatch):
    trained = []

    def train(images, labels, parameters, rate, precision):
        trained.append(launches.epoch(len(parameters[0]), precision))

    monkeypatch.setattr(cuda, "train_epoch", train)
    monkeypatch.setattr(cuda, "epoch_phases", lambda *work: train(*work) or {"one": 1.4, "two": 3})
    monkeypatch.setattr(cuda, "clusters_at_once", lambda launch: 200 + launch.cluster)
    command_line.main(["phases"])
    rows = results.load("phases")["rows"]
    assert [(row["hidden"], row["blocks"], row["at_once"]) for row in rows[::2]] == [
        (30, 16, 216), (30, 32, 216), (30, 64, 216), (512, 104, 208), (8192, 128, 201)
    ]  # fmt: skip
    assert [row["precision"] for row in rows] == ["tf32x3", "tf32"] * 5
    assert (rows[2]["cut"], rows[9]["cut"]) == ([16, 16, 56], None)
    assert len(trained) == len(rows) * (2 + 15 + 2)
    sizes = [dict(launch.sizes) for launch in trained[::19]]
    assert [size["UNITS"] for size in sizes[::2]] == [32, 16, 8, 40, 64]
    assert [size["PRODUCTS"] for size in sizes] == [3, 1] * 5
    for row in rows:
        assert row["cycles"] == {"one": 1, "two": 3}
        assert len(row["ms"]["samples"]) == 15
    assert launches.cut(30) == (8, 16, 56)  # as ever


@pytest.mark.skipif(backend.name == "gpu", reason="for the CPU")
def test_each_matmul_of_the_step_is_timed_by_its_first_and_its_fastest_algorithm(gpu, monkeypatch):
    candidates = Namespace(tile=(64, 32), split_k=3), Namespace(tile=(128, 64)), Namespace()

    def plan(self, mm, c, **epilog):
        mm.plan(**epilog)
        mm.algorithms = candidates

    monkeypatch.setattr(matmuls.MnistNetInPlace.default_plans, "plan", plan)
    seconds = itertools.cycle((3, 1, 2))
    monkeypatch.setattr(matmuls, "captured_time", lambda work: next(seconds))
    monkeypatch.setattr(matmuls, "in_a_graph", lambda work: [len(work.args), 2, 3])
    rows = matmuls.of_step(30, "float32")
    names = ["hidden", "output", "grad_relu", "update_output", "update_hidden"]
    assert [row["matmul"] for row in rows] == names
    shapes = [(30, 256, 784), (10, 256, 30), (30, 256, 10), (30, 10, 256), (30, 784, 256)]
    assert [(row["m"], row["n"], row["k"]) for row in rows] == shapes
    for row in rows:
        common = {"us": [0, 2, 3], "kernels": gpu}
        assert row["first"] == {"tile": [64, 32], "split_k": 3} | common
        assert row["fastest"] == {"tile": [128, 64]} | common


def test_a_copy_moves_as_many_megabytes_as_it_says(monkeypatch):
    def moved(work):
        (source,), target = work.args[:1], work.args[1]
        work()
        assert (target == -1).all()
        return source.nbytes + target.nbytes

    monkeypatch.setattr(matmuls, "in_a_graph", moved)
    assert matmuls.copied(2) == 2 * 2**20


@pytest.mark.parametrize("name", ["one-kernel", "captured"])
def test_the_error_of_a_gradient_is_that_of_float32(name):
    found = errors.of_step(name, 30, None, 1)
    assert 1e-9 < min(found) < max(found) < 1e-6
