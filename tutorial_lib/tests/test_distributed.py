"""Several ranks on gloo: the losses and weights of one process, faults, checkpoints, refusals."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tutorial_lib import MnistNet, MnistNetNaive, backend, train, training, xp
from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed import checkpoint, start
from tutorial_lib.distributed.gradients import FlatGradients
from tutorial_lib.distributed.networks import NETWORKS as STAGED
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.distributed.rendezvous import Refused, Rendezvous
from tutorial_lib.tests import rank

NETWORKS = {"fused": MnistNet, "naive": MnistNetNaive}
RUNS = [f"{net}{overlap}" for net in NETWORKS for overlap in ("", " overlap")]
PARTS = 784 * 30, 30, 300, 10
GPUS = xp.cuda.runtime.getDeviceCount() if backend.name == "gpu" else 0
TWO_GPUS = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPUS < 2, reason=f"NCCL takes a GPU per rank: 2 needed, {GPUS} here"),
]


torchrun = partial(start.torchrun, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def alone():
    """Losses and weights of the book's own training loop, in this process, on the same images."""
    images, labels = rank.sample()
    starts = range(0, len(images) - rank.BATCH + 1, rank.BATCH)
    batches = [(images[i : i + rank.BATCH], labels[i : i + rank.BATCH]) for i in starts]
    results = {}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(training, "get_loader", lambda train: iter(batches))
        for net, network in NETWORKS.items():
            with network(784, 30, 10) as model:
                losses = train(model, epochs=rank.EPOCHS)
                weights = np.concatenate([to_numpy(p).ravel() for p in model.parameters])
                results[net] = losses, weights
        with MnistNetNaive(784, 30, 10) as model:
            losses = train(model, epochs=rank.EPOCHS, learning_rate=0.05)
            results["slower"] = losses, None
    return results


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} ranks".format)
def together(request, tmp_path_factory):
    """What each of 1, 2 and 4 ranks found: arrays, refusals, the folder, and what was printed."""
    size = request.param
    folder = tmp_path_factory.mktemp(f"ranks{size}")
    printed = io.StringIO()
    if size == 1:  # in this process
        names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        names |= {"MASTER_ADDR": "localhost", "MASTER_PORT": 0}
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            for name, value in names.items():
                patch.setenv(name, str(value))
            with Ranks(engine="gloo") as ranks:
                rank.everything(ranks, folder)
        printed = printed.getvalue()
    else:
        run = torchrun(size, "tutorial_lib.tests.rank", "everything", folder, "gloo", 60)
        assert run.returncode == 0, run.stderr
        printed = run.stdout
    return *read(folder, size), folder, printed


def read(folder, size):
    """What each rank left: its arrays and its refusals."""
    arrays = [dict(np.load(folder / f"rank{r}.npz")) for r in range(size)]
    refusals = [json.loads((folder / f"rank{r}.json").read_text()) for r in range(size)]
    return arrays, refusals


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_of_one_process(name, together, alone):
    losses, weights = alone[name.split()[0]]
    for arrays in together[0]:
        np.testing.assert_allclose(arrays[f"{name} losses"], losses, rtol=0, atol=1e-6)
        np.testing.assert_allclose(arrays[f"{name} weights"], weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_weights_are_equal_on_all_ranks_bit_for_bit(name, together):
    first, *others = [arrays[f"{name} weights"].tobytes() for arrays in together[0]]
    assert all(other == first for other in others)


def test_the_learning_rate_is_used(together, alone):
    for arrays in together[0]:
        losses = alone["slower"][0]
        np.testing.assert_allclose(arrays["slower losses"], losses, rtol=0, atol=1e-6)


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(together):
    for arrays in together[0]:
        for name in ("resumed", "nothing left"):
            np.testing.assert_array_equal(arrays[f"{name} losses"], arrays["fused losses"])
            np.testing.assert_array_equal(arrays[f"{name} weights"], arrays["fused weights"])


def test_the_checkpoint_is_plain_arrays_and_leaves_nothing_else(together):
    arrays, _, folder, _ = together
    with np.load(folder / "checkpoint.npz", allow_pickle=False) as file:
        assert file["epoch"] == rank.EPOCHS
        assert [file[name].size for name in checkpoint.PARAMETERS] == list(PARTS)
        np.testing.assert_array_equal(file["losses"], arrays[0]["fused losses"])
    assert not list(folder.glob("*.tmp"))


def test_refusals_are_the_same_on_every_rank(together):
    (first, *others), size = together[1], len(together[1])
    assert all(other == first for other in others)
    assert "--resume goes on from it, or delete it" in first["overwriting"]
    assert "net was StagedMnistNet, it is now StagedMnistNetNaive" in first["another network"]
    assert "batch was 128, it is now 64" in first["another batch"]
    assert "there is no checkpoint" in first["no file"]
    assert "--resume needs --checkpoint" in first["no path"]
    assert "epochs and a batch of at least 1" in first["no epochs"]
    assert "a batch of 2048 needs as many images, the data set has 1300" in first["few images"]
    if size > 1:
        assert f"129 images cannot be split evenly over {size} ranks" in first["indivisible"]
        assert f"differ between ranks in this test: rank {size - 1} and rank 0" in first["drift"]
    else:
        assert first["indivisible"] == first["drift"] == ""


@pytest.mark.parametrize("together", [2], indirect=True)
def test_the_command_line(together, capsys):
    _, _, folder, printed = together
    with MnistNet(784, 30, 10) as model:
        losses = train(model)
    shown = [line for line in printed.splitlines() if line.startswith("Batch")]
    alone = capsys.readouterr().out.splitlines()
    assert shown[-len(alone) :] == alone
    assert "Gloo" not in printed, "its greetings are kept out"
    assert re.search(r"Accuracy: 0\.\d{4}\nWeights: equal on 2 ranks, bit for bit\nTime: ", printed)
    np.testing.assert_allclose(np.load(folder / "command.npz")["losses"], losses, atol=1e-6)


@pytest.mark.parametrize("together", [2], indirect=True)
def test_what_the_benchmark_measures(together):
    record = json.loads((together[2] / "measured.json").read_text())
    assert [(point["ranks"], point["bytes"]) for point in record["all_reduce"]] == [
        (2, 4),
        (2, 4096),
    ]
    modes = [(p["ranks"], p["width"], p["batch_per_rank"], p["mode"]) for p in record["steps"]]
    assert modes == [(2, 3, 4, mode) for mode in ("compute", "exchange", "overlap")]
    for point in record["all_reduce"] + record["steps"]:
        assert len(point["samples"]) == 2
        assert min(point["samples"]) > 0


@pytest.mark.parametrize("fault", ["kill", "hang"])
@pytest.mark.parametrize("engine", ["gloo", pytest.param("nccl", marks=TWO_GPUS)])
def test_a_lost_rank_ends_all_in_time_and_leaves_no_process(engine, fault, tmp_path):
    folder = tmp_path / fault
    folder.mkdir()
    run = torchrun(2, "tutorial_lib.tests.rank", "faulty", folder, engine, 5)
    seconds = time.time() - (folder / "fault").stat().st_mtime
    assert run.returncode
    assert seconds < 5 + (15 if engine == "gloo" else 60), "the timeout, and the end of all ranks"
    if engine == "nccl" and fault == "hang":
        assert "Timeout(ms)=5000" in run.stderr, "NCCL's own watchdog says it"
    elif fault == "hang":
        assert "error: epoch 2, batch 3: rank 0 of 2: another rank died, or kept this" in run.stderr
        assert "for 5 s (" in run.stderr
    else:
        assert "Signal 9 (SIGKILL) received" in run.stderr
    pids = [path.stem for path in folder.glob("*.pid")]
    assert len(pids) == 2
    assert not [pid for pid in pids if Path("/proc", pid).exists()], "no process, no zombie"
    assert np.load(folder / "checkpoint.npz")["epoch"] == 1, "the last finished epoch"


def test_a_batch_that_cannot_be_split_is_refused_once():
    run = torchrun(2, "tutorial_lib.distributed", "--batch", 255, "--engine", "gloo")
    assert run.returncode
    assert run.stderr.count("255 images cannot be split evenly over 2 ranks") == 1
    assert "Batch" not in run.stdout


class Store(dict):
    """In place of torchrun's store."""

    def set(self, key, value):
        self[key] = value

    def wait(self, keys, timeout):
        assert all(key in self for key in keys), "waits for what nobody has set"


def test_one_rank_speaks_for_all(capsys):
    first, second = Rendezvous.__new__(Rendezvous), Rendezvous.__new__(Rendezvous)
    first.store = second.store = Store()
    first.rank, second.rank = 0, 1
    first.tell_once("error: too wide")
    second.tell_once("error: too wide")
    assert capsys.readouterr().err == "error: too wide\n"


def test_without_torchrun_the_way_to_start_is_named():
    run = subprocess.run(
        [sys.executable, "-m", "tutorial_lib.distributed"], capture_output=True, text=True
    )
    assert run.returncode
    assert "error: 'RANK' is not set: start this with torchrun" in run.stderr


class Recorder:
    """In place of ranks: one of four, whose collectives only leave a note."""

    size = 4

    def __init__(self):
        self.notes = []

    def sum(self, tensor, wait=True):
        self.notes.append(f"{'sum' if wait else 'begin'} {len(tensor)}")
        return tensor

    def finish(self, tensor):
        self.notes.append(f"finish {len(tensor)}")


@pytest.mark.parametrize("net", STAGED)
def test_what_travels_when(net):
    images, labels = (x[:8] for x in rank.sample())
    recorder = Recorder()
    with STAGED[net](784, 3, 10) as model, NETWORKS[net](784, 3, 10) as plain:
        gradients = FlatGradients(model, recorder)
        hidden = model.backward_hidden

        def noted(grad):
            recorder.notes.append("hidden layer")
            return hidden(grad)

        model.backward_hidden = noted
        gradients.compute(model, images, labels)
        assert recorder.notes == ["hidden layer", f"sum {3 * 784 + 3 + 30 + 10 + 1}"]
        recorder.notes.clear()
        gradients.compute(model, images, labels, overlap=True)
        begun, rest = 30 + 10 + 1, 3 * 784 + 3
        expected = [f"begin {begun}", "hidden layer", f"sum {rest}", f"finish {begun}"]
        assert recorder.notes == expected

        probabilities = plain.forward(images)
        targets = training.one_hot(labels, 10)
        whole = plain.backward((probabilities - targets) / (4 * len(images)))
        for view, gradient in zip(gradients.views, whole):
            assert view.shape == gradient.shape
            np.testing.assert_array_equal(to_numpy(view), to_numpy(gradient))
        for ours, theirs in zip(model.backward(images[:, :10]), plain.backward(images[:, :10])):
            np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


def test_torch_sums_where_the_gradients_lie():
    gradients = FlatGradients(STAGED["naive"](784, 3, 10), Recorder())
    for view in (*gradients.views, gradients.loss):
        view[...] = 1
    assert gradients._tensor.sum().item() == gradients.flat.size
    gradients._tensor.fill_(7)
    assert all((to_numpy(view) == 7).all() for view in (*gradients.views, gradients.loss))


def test_a_rank_takes_its_own_gpu_or_shares_one_on_request():
    ranks = Ranks.__new__(Ranks)
    ranks.engine, ranks.local_rank, ranks.local_size = "nccl", 1, 2
    assert ranks._pick_device(2) == 1
    with pytest.raises(Refused, match="2 ranks on this host, but 1 GPU: start at most 1 here"):
        ranks._pick_device(1)
    ranks.engine = "gloo"
    assert ranks._pick_device(1) == 0


@pytest.mark.parametrize(
    ("engine", "size"),
    [
        pytest.param("gloo", 2, marks=pytest.mark.gpu),
        pytest.param("nccl", 2, marks=TWO_GPUS),
    ],
)
def test_torch_waits_for_cupy_and_cupy_for_torch(engine, size, tmp_path):
    run = torchrun(size, "tutorial_lib.tests.rank", "streams", tmp_path, engine, 60)
    assert run.returncode == 0, run.stderr
    for r in range(size):
        found = json.loads((tmp_path / f"rank{r}.json").read_text())
        assert found["one stream"] == [3, 3]
        assert found["torch on its default stream"] != [3, 3], "this test would not see an error"


@pytest.mark.parametrize(
    "size",
    [pytest.param(1, marks=pytest.mark.gpu), pytest.param(2, marks=TWO_GPUS)],
)
def test_nccl(size, alone, tmp_path):
    run = torchrun(size, "tutorial_lib.tests.rank", "everything", tmp_path, "nccl", 60)
    assert run.returncode == 0, run.stderr
    for arrays in read(tmp_path, size)[0]:
        for name in RUNS:
            losses, weights = alone[name.split()[0]]
            np.testing.assert_allclose(arrays[f"{name} losses"], losses, rtol=0, atol=1e-6)
            np.testing.assert_allclose(arrays[f"{name} weights"], weights, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(arrays["resumed weights"], arrays["fused weights"])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.save(path, MnistNetNaive(784, 3, 10), [0.5, 0.25], 2, {"batch": 256})
    return path


def test_checkpoint_round_trip(saved):
    arrays = checkpoint.load(saved, {"batch": 256})
    assert arrays["losses"].tolist() == [0.5, 0.25]
    assert int(arrays["epoch"]) == 2
    for name in checkpoint.PARAMETERS:
        ours = getattr(MnistNetNaive(784, 3, 10), name)
        np.testing.assert_array_equal(arrays[name], to_numpy(ours))


@pytest.mark.parametrize("fault", ["cut", "flipped", "empty", "text", "pickle", "other arrays"])
def test_a_damaged_checkpoint_is_refused(fault, saved):
    content = bytearray(saved.read_bytes())
    if fault == "cut":
        saved.write_bytes(content[: len(content) // 2])
    elif fault == "flipped":
        content[len(content) // 3] ^= 1
        saved.write_bytes(content)
    elif fault == "other arrays":
        np.savez(saved, weights=np.zeros(3))
    elif fault == "pickle":
        names = (*checkpoint.PARAMETERS, "losses", "epoch", "run_batch")
        np.savez(saved, **dict.fromkeys(names, np.array({})))
    else:
        saved.write_bytes(b"" if fault == "empty" else b"not a checkpoint")
    with pytest.raises(Refused, match="damaged or no checkpoint"):
        checkpoint.load(saved, {"batch": 256})


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="cannot be written: no space left"):
        checkpoint.save(saved, MnistNetNaive(784, 3, 10), [], 3, {"batch": 256})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
