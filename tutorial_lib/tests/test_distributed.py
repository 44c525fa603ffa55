"""Several ranks on gloo: the losses and weights of one process, faults, checkpoints, refusals."""

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tutorial_lib import MnistNet, backend, train, xp
from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed import checkpoint, ranks, trainer
from tutorial_lib.distributed.__main__ import NETS, main
from tutorial_lib.distributed.data_parallel import InPlaceDataParallel, OverlappedDataParallel
from tutorial_lib.distributed.scaling import InFourPieces
from tutorial_lib.graphs import stream_for
from tutorial_lib.networks import NETWORKS, Graph, MnistNetInPlace
from tutorial_lib.reference import streams
from tutorial_lib.tests import rank
from tutorial_lib.tests.rank import flat

LIMIT = {"gloo": 2, "nccl": 5}
GPUS = xp.cuda.runtime.getDeviceCount() if backend.name == "gpu" else 0
TWO_GPUS = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPUS < 2, reason=f"NCCL takes a GPU per rank: 2 needed, {GPUS} here"),
]
FAULTY = [("gloo", "faulty", fault) for fault in ("SIGKILL", "hang", "SIGSTOP")]
FAULTY += [("gloo", "faulty_graph", "hang")]
FAULTY += [pytest.param("nccl", *fault, marks=TWO_GPUS) for _, *fault in FAULTY]
FAULTY += [("gloo", scenario, "hang") for scenario in ("faulty_device", "faulty_lock")]

torchrun = partial(ranks.torchrun, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def alone():
    """Losses and weights of the book's own training loop, in this process, on the same images."""
    found = {}
    for net in NETS:
        with NETWORKS[net](784, 30, 10) as model:
            losses = [model.epoch(*rank.sample(), batch_size=rank.BATCH).tolist() for _ in range(2)]
            found[net] = [*losses[0], *losses[1]], flat(model.parameters)
    return found


def run_ranks(size, folder, engine="gloo"):
    """The arrays that each rank found."""
    run = torchrun(size, "tutorial_lib.tests.rank", "everything", folder, engine, 60)
    assert run.returncode == 0, run.stderr
    return [dict(np.load(folder / f"rank{r}.npz")) for r in range(size)]


def check_against_one_process(arrays, alone):
    """The same losses and weights; equal on all ranks, and after a pause, bit for bit."""
    for found in arrays:
        for name in rank.RUNS:
            losses, weights = alone[name.split()[0]]
            np.testing.assert_allclose(found[f"{name} losses"], losses, rtol=0, atol=1e-6)
            np.testing.assert_allclose(found[f"{name} weights"], weights, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(found[f"{name} weights"], arrays[0][f"{name} weights"])
        for name in ("resumed", "nothing left", "nothing left for units"):
            for what in ("losses", "weights"):
                np.testing.assert_array_equal(found[f"{name} {what}"], found[f"fused data {what}"])


@pytest.mark.parametrize("size", [1, 2, 4])
def test_several_ranks_train_as_one_process_and_refuse_alike(size, alone, tmp_path):
    arrays = run_ranks(size, tmp_path)
    check_against_one_process(arrays, alone)
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as file:
        assert file["epoch"] == rank.EPOCHS
        np.testing.assert_array_equal(file["losses"], arrays[0]["fused data losses"])
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    "size", [pytest.param(1, marks=pytest.mark.gpu), pytest.param(2, marks=TWO_GPUS)]
)
def test_nccl_trains_as_one_process(size, alone, tmp_path):
    check_against_one_process(run_ranks(size, tmp_path, "nccl"), alone)


def test_the_command_line_prints_what_one_process_prints(tmp_path, capsys):
    path = tmp_path / "command.npz"
    run = torchrun(2, "tutorial_lib.distributed", "--engine", "gloo", "--checkpoint", path)
    with MnistNet(784, 30, 10) as model:
        losses = train(model)
    alone = re.escape(capsys.readouterr().out)
    end = r"Accuracy: 0\.\d{4}\nWeights: equal on 2 ranks, bit for bit\nTime: .* s, gloo, .*\n"
    assert re.fullmatch(alone + end, run.stdout), "and no greeting of gloo"
    np.testing.assert_allclose(np.load(path)["losses"], losses, atol=1e-6)


def test_a_refusal_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_BACKEND", "cpu")
    path = tmp_path / "run.npz"
    checkpoint.save(path, {}, [], 1, "of another time")
    other = f"error: {path} is of another run: of another time; "  # which rank 0 alone says
    rate = "error: the learning rate must be finite and above 0"  # which all would say
    nccl = "error: NCCL needs a GPU for each rank: 2 ranks here, 0 GPUs"
    refused = {other: ["--resume"], rate: ["--learning-rate", "nan"], nccl: ["--engine", "nccl"]}
    for message, options in refused.items():
        options = ["--engine", "gloo", *options, "--checkpoint", path]
        run = torchrun(2, "tutorial_lib.distributed", *options)
        assert run.returncode
        assert run.stderr.count(message) == run.stderr.count("error: ") == 1
        assert not run.stdout


def test_without_torchrun_the_missing_variable_is_named():
    command = [sys.executable, "-m", "tutorial_lib.distributed"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode
    assert "environment variable RANK expected, but not set" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("options", ["--epochs 0", "--resume", "--timeout soon", "--timeout 0"])
def test_the_command_line_refuses(options, capsys):
    with pytest.raises(SystemExit):
        main(options.split())
    assert options.split()[0] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("parallel", "needed"), [("overlap", "captured"), ("tensor", "fused or")])
def test_a_net_that_cannot_be_cut_so_is_told_which_can(parallel, needed, capsys):
    with pytest.raises(SystemExit):
        main(["--net", "naive", "--parallel", parallel])
    assert f"--parallel {parallel} needs --net {needed}" in capsys.readouterr().err


def unchanged(arrays):
    for x in arrays:
        x *= 1


def alone_among_ranks(notes):
    """In place of `Ranks`: notes how many numbers would travel, and whether on a branch."""
    current = xp.cuda.get_current_stream if backend.name == "gpu" else streams.current_stream

    def total(*arrays, mean):
        notes.append(([x.size for x in arrays], current() == stream_for("side")))
        streams.launch(unchanged, arrays)

    return SimpleNamespace(rank=0, size=1, sum=total)


@pytest.mark.parametrize("kind", [InPlaceDataParallel, OverlappedDataParallel, InFourPieces])
def test_changes_that_travel_in_a_graph_train_as_an_update_in_the_matmul(kind):
    options = {"batch_size": 64, "learning_rate": 0.5}
    images, labels = (x[:640] for x in rank.sample())
    with (
        kind(alone_among_ranks([]), 784, 30, 10, launch=Graph) as net,
        MnistNetInPlace(784, 30, 10) as one,
    ):
        for _ in range(4):  # replayed in both orders of its branches
            losses = net.epoch(images, labels, **options)
            expected = one.epoch(images, labels, **options)
            np.testing.assert_allclose(to_numpy(losses), to_numpy(expected), rtol=0, atol=1e-6)


def test_with_overlap_the_output_layer_travels_while_the_hidden_layer_is_computed():
    notes, (images, labels) = [], (x[:8] for x in rank.sample())
    with OverlappedDataParallel(alone_among_ranks(notes), 784, 3, 10) as net:
        run = net.plans.run
        net.plans.run = lambda name, *a, **plan: notes.append(name) or run(name, *a, **plan)
        net.step(images, labels, xp.zeros(1, dtype=xp.float32), 0.1)
    travel = ([30, 10, 3], True), ([3 * 784], False)
    assert notes[3:] == ["grad_output", travel[0], "grad_hidden0", travel[1]]


@pytest.mark.parametrize("engine", [pytest.param("nccl", marks=TWO_GPUS)])
def test_cupy_waits_for_torch(engine, tmp_path):
    run = torchrun(2, "tutorial_lib.tests.rank", "streams", tmp_path, engine, 60)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("captures", [True, False])
def test_a_sum_in_a_graph_is_begun_on_its_stream_and_watched_only_outside(captures, monkeypatch):
    group, begun = object.__new__(ranks.Ranks), []
    vars(group).update(engine="nccl", place="here", size=2, _begun=[])
    work = SimpleNamespace(wait=lambda: begun.append("waited"), is_completed=lambda: True)
    vars(group)["_begin"] = lambda tensors, *how: begun.append(how) or [work]
    monkeypatch.setattr(ranks, "same_stream", lambda: nullcontext(captures))
    group.sum(xp.ones(3, dtype=xp.float32), mean=True)
    assert begun == ([("AVG", False)] if captures else [("AVG", True), "waited"])
    assert len(group._begun) == (not captures)


def test_a_graph_on_a_gpu_is_refused_without_nccl(monkeypatch):
    monkeypatch.setattr(trainer.backend, "name", "gpu")
    model = SimpleNamespace(ranks=SimpleNamespace(engine="gloo"), launch=Graph())
    with pytest.raises(ValueError, match="cannot hold gloo's sums: it needs NCCL"):
        trainer.train(model, ())


def lose(folder, engine, scenario, fault, restarts=0):
    """How the ranks ended of which one is lost, their folder, and when they had ended."""
    (folder := folder / fault).mkdir()
    arguments = [scenario, folder, engine, LIMIT[engine]]
    run = torchrun(2, "tutorial_lib.tests.rank", *arguments, restarts=restarts)
    return run, folder, time.time()


@pytest.fixture(scope="module", autouse=True)
def begun(request, tmp_path_factory):
    """Those on gloo, begun before the first test: they mostly wait."""
    tests = [x.callspec.params for x in request.session.items if "lost_rank" in x.name]
    cases = [tuple(case.values()) for case in tests if case["engine"] == "gloo"]
    with ThreadPoolExecutor(2) as pool:
        yield {case: pool.submit(lose, tmp_path_factory.mktemp("lost"), *case) for case in cases}


@pytest.fixture
def lost(begun, tmp_path):
    """Calls `lose`, or waits for it."""
    return lambda *case: begun[case].result() if case in begun else lose(tmp_path, *case)


@pytest.mark.parametrize(("engine", "scenario", "fault"), FAULTY)
def test_a_lost_rank_ends_all_and_leaves_no_process(lost, engine, scenario, fault):
    limit = LIMIT[engine]
    run, folder, end = lost(engine, scenario, fault)
    seconds = end - (folder / "fault").stat().st_mtime
    print(f"{seconds:.1f} s from the fault to the end")
    assert run.returncode
    assert seconds < limit + 15
    if fault == "SIGKILL":
        assert "Signal 9 (SIGKILL) received" in run.stderr
    else:
        why = f"rank 0 of 2: another rank died, or kept this one waiting for {limit} s"
        said = "Timeout (0:00:07)!" if scenario == "faulty_lock" else f"epoch 2: {why}\n"
        assert said in run.stderr
        assert seconds > limit
        assert (folder / "read").exists() == ("device" in scenario or "lock" in scenario), (
            "stuck in a C call"
        )
    pids = [path.stem for path in folder.glob("*.pid")]
    assert len(pids) == 2
    assert not [pid for pid in pids if Path("/proc", pid).exists()], "no process, no zombie"
    assert np.load(folder / "checkpoint.npz")["epoch"] == 1, "the last finished epoch"


@pytest.mark.parametrize("restarts", [1])
@pytest.mark.parametrize(("engine", "scenario", "fault"), [FAULTY[0], FAULTY[4]])
def test_after_a_lost_rank_all_begin_again_and_end_with_the_same_bits(
    lost, engine, scenario, fault, restarts
):
    run, folder, _ = lost(engine, scenario, fault, restarts)
    assert run.returncode == 0, run.stderr
    new = f"No checkpoint at {folder / 'checkpoint.npz'} yet: from the first epoch\n"
    assert re.findall("(?:No|Resumed).*\n", run.stdout) == [new, "Resumed after epoch 1\n"]
    assert len(list(folder.glob("*.pid"))) == 4
