"""Several ranks on gloo: the losses and weights of one process, faults, checkpoints, refusals."""

import contextlib
import io
import json
import re
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tutorial_lib import MnistNet, MnistNetNaive, backend, one_hot, train, xp
from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed import checkpoint, rendezvous, start
from tutorial_lib.distributed.__main__ import parse
from tutorial_lib.distributed.gradients import FlatGradients
from tutorial_lib.distributed.networks import NETWORKS as STAGED
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.distributed.rendezvous import RankLost, Refused, Rendezvous
from tutorial_lib.distributed.training import train as distributed_train
from tutorial_lib.distributed.watch import Watch
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
    results = {}

    def trained(network, **options):
        with network(784, 30, 10) as model:
            epochs = [
                to_numpy(model.epoch(images, labels, batch_size=rank.BATCH, **options))
                for _ in range(rank.EPOCHS)
            ]
            weights = np.concatenate([to_numpy(p).ravel() for p in model.parameters])
        return np.concatenate(epochs), weights

    for net, network in NETWORKS.items():
        results[net] = trained(network)
    results["slower"] = trained(MnistNetNaive, learning_rate=0.05)
    return results


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} ranks".format)
def together(request, tmp_path_factory):
    """What each of 1, 2 and 4 ranks found: arrays, refusals, the folder, and what was printed."""
    size = request.param
    folder = tmp_path_factory.mktemp(f"ranks{size}")
    printed = io.StringIO()
    if size == 1:  # in this process
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            for name, value in rank.ALONE.items():
                patch.setenv(name, value)
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
    assert "learning_rate was 0.1, it is now 0.2" in first["another rate"]
    assert "there is no checkpoint" in first["no file"]
    assert "--resume needs --checkpoint" in first["no path"]
    assert "epochs and a batch of at least 1" in first["no epochs"]
    assert "a batch of 2048 needs as many images, the data set has 1300" in first["few images"]
    if size > 1:
        assert f"129 images cannot be split evenly over {size} ranks" in first["indivisible"]
        assert f"differ between ranks in this test: rank {size - 1} and rank 0" in first["drift"]
        found = first["drift in training"]
        assert f"differ between ranks after epoch 1: rank {size - 1} and rank 0" in found
    else:
        assert first["indivisible"] == first["drift"] == first["drift in training"] == ""
    assert (together[2] / "drifted.npz").exists() == (size == 1), "no checkpoint of a drift"


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


@pytest.mark.parametrize("fault", ["kill", "hang", "stop"])
@pytest.mark.parametrize(
    ("engine", "scenario"),
    [
        pytest.param("gloo", "faulty", id="gloo"),
        pytest.param("gloo", "faulty_device", id="a stand-in for NCCL"),
        pytest.param("nccl", "faulty", id="nccl", marks=TWO_GPUS),
    ],
)
def test_a_lost_rank_ends_all_in_time_and_leaves_no_process(engine, scenario, fault, tmp_path):
    folder, limit = tmp_path / fault, 5 if engine == "nccl" else 2
    folder.mkdir()
    run = torchrun(2, "tutorial_lib.tests.rank", scenario, folder, engine, limit)
    seconds = time.time() - (folder / "fault").stat().st_mtime
    assert run.returncode
    assert seconds < limit + 15, "the timeout, and the end of all ranks"
    if fault == "kill":
        assert "Signal 9 (SIGKILL) received" in run.stderr
    else:
        lost = "rank 0 of 2: another rank died, or kept this one waiting for"
        assert f"error: epoch 2, batch 3: {lost} {limit} s\n" in run.stderr
        assert seconds > limit
        assert (folder / "read").exists() == (scenario == "faulty_device"), "stuck in a C call"
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
        if not all(key in self for key in keys):
            raise RuntimeError("waits for what nobody has set")


def test_one_rank_speaks_for_all_unless_it_has_nothing_to_say(capsys):
    first, second = Rendezvous.__new__(Rendezvous), Rendezvous.__new__(Rendezvous)
    first.store = second.store = Store()
    first.rank, second.rank = 0, 1
    second.tell_once("error: on one rank alone")
    assert capsys.readouterr().err == "error: on one rank alone\n"
    first.tell_once("error: too wide")
    second.tell_once("error: too wide")
    assert capsys.readouterr().err == "error: too wide\n"


def test_without_torchrun_the_way_to_start_is_named():
    run = subprocess.run(
        [sys.executable, "-m", "tutorial_lib.distributed"], capture_output=True, text=True
    )
    assert run.returncode
    assert "error: RANK is not set: start this with torchrun" in run.stderr


@pytest.fixture
def alone_here(monkeypatch):
    """The environment of the only rank."""
    for name, value in rank.ALONE.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RANK", "2", "RANK=2, WORLD_SIZE=1"),
        ("RANK", "1", "RANK=1, WORLD_SIZE=1"),
        ("RANK", "-1", "RANK=-1"),
        ("RANK", "foo", "RANK is 'foo', not a number"),
        ("RANK", "", "RANK is not set"),
        ("WORLD_SIZE", "0", "WORLD_SIZE=0"),
        ("WORLD_SIZE", "-3", "WORLD_SIZE=-3"),
        ("WORLD_SIZE", "1.5", "WORLD_SIZE is '1.5', not a number"),
        ("LOCAL_RANK", "1", "LOCAL_RANK=1, LOCAL_WORLD_SIZE=1"),
        ("LOCAL_RANK", "-1", "LOCAL_RANK=-1"),
        ("LOCAL_WORLD_SIZE", "0", "LOCAL_WORLD_SIZE=0"),
        ("LOCAL_WORLD_SIZE", "2", "LOCAL_WORLD_SIZE=2"),
        ("MASTER_ADDR", None, "MASTER_ADDR is not set"),
        ("MASTER_PORT", None, "MASTER_PORT is not set"),
        ("MASTER_PORT", "http", "MASTER_PORT is 'http', not a number"),
        ("MASTER_PORT", "65536", "MASTER_PORT is 65536, not a port"),
        ("MASTER_PORT", "-1", "MASTER_PORT is -1, not a port"),
    ],
)
def test_an_environment_that_cannot_be_is_refused_at_once(
    name, value, message, alone_here, monkeypatch
):
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match="start this with torchrun") as refused:
        Ranks(engine="gloo")
    assert message in str(refused.value)


def test_a_local_rank_above_the_rank_is_refused(alone_here, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match="cannot be"):
        Ranks(engine="gloo")


def test_ranks_that_do_not_come_are_lost(alone_here, monkeypatch):
    monkeypatch.setattr(rendezvous, "JOIN_SECONDS", 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RankLost, match=r"at the start: rank 0 of 2: .* waiting for 1 s \("):
        Ranks(engine="gloo")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e20, 86_401])
def test_a_timeout_that_is_no_limit_is_refused(seconds, alone_here):
    with pytest.raises(Refused, match="--timeout must be above 0 and at most 86400 s"):
        Ranks(engine="gloo", timeout=seconds)


@pytest.mark.parametrize(
    "options",
    [
        *[["--timeout", text] for text in ("0", "-1", "nan", "inf", "1e20", "86401", "soon")],
        *[["--learning-rate", text] for text in ("0", "-1", "nan", "inf", "fast")],
        *[
            [name, text]
            for name in ("--epochs", "--batch", "--hidden")
            for text in ("0", "-1", "x")
        ],
        ["--net", "tuned"],
        ["--engine", "mpi"],
        ["--resume"],
    ],
    ids=" ".join,
)
def test_the_command_line_refuses(options, capsys):
    with pytest.raises(SystemExit) as end:
        parse(options)
    assert end.value.code == 2
    assert options[0] in capsys.readouterr().err.splitlines()[-1]


def test_the_command_line_takes_what_can_be():
    numbers = ["--timeout", "86400", "--epochs", "1", "--batch", "1", "--hidden", "1"]
    options = parse([*numbers, "--learning-rate", "1e-9", "--checkpoint", "run.npz", "--resume"])
    assert (options.timeout, options.epochs, options.batch, options.hidden) == (86_400, 1, 1, 1)
    assert options.learning_rate == 1e-9
    assert options.resume


@pytest.fixture
def train_here(alone_here):
    """Train a tiny network, as the only rank, with the options given; returns losses and model."""
    with Ranks(engine="gloo") as ranks:

        def call(images=None, labels=None, *, net="naive", hidden=3, model=None, **options):
            given = rank.sample()
            images = given[0][:32] if images is None else images
            labels = given[1][:32] if labels is None else labels
            model = model or STAGED[net](784, hidden, 10)
            options = {"batch": 16} | options
            return distributed_train(ranks, model, images, labels, **options), model

        yield call


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_ruins_the_weights_is_refused(rate, train_here):
    with pytest.raises(Refused, match="a finite learning rate above 0"):
        train_here(learning_rate=rate)


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch": 0}, {"batch": -16}])
def test_nothing_to_train_is_refused(options, train_here):
    with pytest.raises(Refused, match="epochs and a batch of at least 1"):
        train_here(**options)


def test_one_all_reduce_a_step_and_two_with_overlap(train_here, monkeypatch):
    sizes, whole = [], Ranks.sum
    monkeypatch.setattr(
        Ranks, "sum", lambda self, x, **options: sizes.append(len(x)) or whole(self, x, **options)
    )
    train_here()
    gradients, table = 784 * 3 + 3 + 30 + 10 + 1, 1
    assert sizes == [gradients, gradients, table]
    sizes.clear()
    train_here(overlap=True)
    assert sizes == [41, gradients - 41, 41, gradients - 41, table]


def test_a_batch_of_one_image_is_taken(train_here):
    assert len(train_here(batch=1)[0]) == 32


def test_a_batch_of_all_images_is_taken_and_one_more_is_refused(train_here):
    assert len(train_here(batch=32)[0]) == 1
    with pytest.raises(Refused, match="a batch of 33 needs as many images, the data set has 32"):
        train_here(batch=33)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (xp.full(32, 10), "labels must lie in 0 … 9, they run from 10 to 10"),
        (xp.arange(32) % 10 - 1, "they run from -1 to 8"),
        (xp.zeros(31, dtype=int), r"one integer per image, \(32,\), they are int64 \(31,\)"),
        (xp.zeros((32, 1), dtype=int), r"they are int64 \(32, 1\)"),
        (xp.zeros(32), "they are float64"),
        (xp.zeros(32, dtype=bool), "they are bool"),
        ([0] * 32, "they are list"),
    ],
)
def test_labels_are_checked_before_training(labels, message, train_here):
    with pytest.raises(Refused, match=message):
        train_here(labels=labels)


def test_labels_of_any_integer_type_and_the_outermost_are_taken(train_here):
    losses = [
        train_here(labels=(xp.arange(32) % 10).astype(kind))[0]
        for kind in ("uint8", "int32", "int64")
    ]
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    "changed",
    [{"net": "fused"}, {"hidden": 4}, {"batch": 8}, {"learning_rate": 0.2}, {"images": 31}],
    ids=str,
)
def test_a_run_resumes_with_its_own_settings_alone(changed, train_here, tmp_path):
    path = tmp_path / "run.npz"
    train_here(checkpoint=path)
    before = path.read_bytes()
    name = next(iter(changed))
    if name == "images":
        images, labels = rank.sample()
        changed = {"images": images[:31], "labels": labels[:31]}
    with pytest.raises(Refused, match=f"is of another run: {name} was .*, it is now"):
        train_here(checkpoint=path, resume=True, epochs=2, **changed)
    assert path.read_bytes() == before


def test_a_resumed_run_says_after_which_epoch_it_goes_on(train_here, tmp_path, capsys):
    path = tmp_path / "run.npz"
    train_here(checkpoint=path, epochs=2)
    assert capsys.readouterr().out.count("Batch 0  Loss: 0.") == 2
    losses, _ = train_here(checkpoint=path, resume=True, epochs=3)
    assert len(losses) == 3 * 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Resumed after epoch 2"
    assert [line[:15] for line in printed[1:]] == ["Batch 0  Loss: "]


def test_a_refused_resume_leaves_the_model_as_it_was(train_here, tmp_path):
    path = tmp_path / "run.npz"
    train_here(checkpoint=path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"bias_output": np.full(10, np.nan, dtype=np.float32)})
    model, fresh = (STAGED["naive"](784, 3, 10) for _ in range(2))
    with pytest.raises(Refused, match="bias_output has values that are not finite"):
        train_here(checkpoint=path, resume=True, epochs=2, model=model)
    for ours, theirs in zip(model.parameters, fresh.parameters):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


@pytest.mark.parametrize("place", ["missing/run.npz", "", "file/run.npz", "n" * 250 + ".npz"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_place_that_cannot_be_written_is_found_before_training(
    place, resume, train_here, tmp_path, capsys
):
    (tmp_path / "file").touch()
    path = tmp_path / place
    with pytest.raises(Refused, match="the checkpoint") as refused:
        train_here(checkpoint=path, resume=resume)
    assert str(path) in str(refused.value)
    assert "name a file" in str(refused.value)
    assert "delete" not in str(refused.value)
    assert "Batch" not in capsys.readouterr().out
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_what_is_over_ends_in_the_thread_that_expected_it():
    """The end of a collective of NCCL may block, with Python's lock held: not in the watch."""
    ended = []

    class Work:
        def is_completed(self):
            return True

        def __del__(self):
            ended.append(threading.current_thread())

    watch = Watch(lambda *what: None)
    watch.start()
    for _ in range(2):
        work = Work()
        watch.expect("batch 0", 5, work.is_completed)
        del work
        watch.settle()
    watch.expect("batch 1", 5, lambda: True)
    watch.settle()
    watch.stop()
    assert ended == [threading.current_thread()] * 2


def test_the_watch_reports_what_takes_too_long_and_nothing_else():
    lost, prepared = [], []
    watch = Watch(lambda *what: lost.append((*what, time.monotonic())), lambda: prepared.append(1))
    watch.start()
    start = time.monotonic()
    for _ in range(20):  # together longer than the limit
        with watch.limited("short", 0.5):
            time.sleep(0.05)
    watch.expect("over at once", 0.5, lambda: True)
    watch.settle()
    assert time.monotonic() - start > 0.9
    assert lost == []
    begun = time.monotonic()
    watch.expect("never over", 0.5, lambda: False)
    watch.expect("behind it", 0.0, lambda: True)
    time.sleep(1.2)
    watch.stop()
    ((place, limit, when),) = lost
    assert (place, limit) == ("never over", 0.5)
    assert 0.5 < when - begun < 1.1
    assert prepared == [1]


def test_a_block_that_takes_too_long_is_reported_and_the_thread_ends():
    lost, threads = [], threading.enumerate()
    watch = Watch(lambda *what: lost.append(what))
    watch.start()
    with watch.limited("a block", 0.3):
        time.sleep(1)
    assert lost == [("a block", 0.3)]
    watch.stop()
    assert threading.enumerate() == threads


def test_each_that_is_waited_for_has_its_whole_limit():
    lost, begun = [], time.monotonic()
    watch = Watch(lambda *what: lost.append(what))
    watch.start()
    for number in (1, 2, 3):  # begun together, over one after the other: as on a busy device
        watch.expect(f"{number}", 0.6, lambda n=number: time.monotonic() - begun > 0.4 * n)
    watch.settle()
    watch.stop()
    assert time.monotonic() - begun > 1.2
    assert lost == []


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
        targets = one_hot(labels, 10)
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
    [pytest.param("gloo", 2, marks=pytest.mark.gpu), pytest.param("nccl", 2, marks=TWO_GPUS)],
)
def test_torch_waits_for_cupy_and_cupy_for_torch(engine, size, tmp_path):
    run = torchrun(size, "tutorial_lib.tests.rank", "streams", tmp_path, engine, 60)
    assert run.returncode == 0, run.stderr
    for r in range(size):
        found = json.loads((tmp_path / f"rank{r}.json").read_text())
        assert found["one stream"] == [3, 3]
        assert found["torch on its default stream"] != [3, 3], "this test would not see an error"


@pytest.mark.parametrize(
    "size", [pytest.param(1, marks=pytest.mark.gpu), pytest.param(2, marks=TWO_GPUS)]
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
