"""One rank of a test: `torchrun -m tutorial_lib.tests.rank SCENARIO FOLDER ENGINE TIMEOUT`."""

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tutorial_lib import backend
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import normalized
from tutorial_lib.distributed import ranks as module
from tutorial_lib.distributed import scaling, trainer
from tutorial_lib.distributed.__main__ import NETS
from tutorial_lib.distributed.ranks import Ranks, run
from tutorial_lib.distributed.trainer import on_ranks, train
from tutorial_lib.networks import Graph, Loop, MnistNet, MnistNetInPlace, MnistNetNaive

BATCH, IMAGES, EPOCHS = 128, 1300, 2  # ten batches, and a partial one to be dropped
RUNS = ["naive data", "fused data", "captured data", "captured overlap"]
RUNS += ["fused tensor", "captured tensor"]


def sample():
    """The first images of the data set, and their labels."""
    return tuple(array[:IMAGES] for array in normalized(True))


def flat(parameters):
    """All weights in one array, from an iterable of them."""
    return np.concatenate([to_numpy(parameter).ravel() for parameter in parameters])


def everything(ranks: Ranks, folder: Path) -> None:
    """Train each network, cut each way; resume; be refused; drift apart."""
    arrays, path = {}, folder / "checkpoint.npz"
    captures = backend.name == "cpu" or ranks.engine == "nccl"

    def training(name, run="fused data", **options):
        net, parallel = run.split()
        network, launch = NETS[net]
        launch = launch if captures else Loop
        with on_ranks(parallel, network, ranks, 784, 30, 10, launch=launch) as model:
            options = {"epochs": EPOCHS, "batch": BATCH} | options
            arrays[f"{name} losses"] = train(model, sample(), **options)
            arrays[f"{name} weights"] = flat(model.gather().values())

    for name in RUNS:
        training(name, name)
    training("first epoch", epochs=1, checkpoint=path)
    training("resumed", checkpoint=path, resume=True)
    training("nothing left", checkpoint=path, resume=True)
    training("nothing left for units", "fused tensor", checkpoint=path, resume=True)
    np.savez(folder / f"rank{ranks.rank}.npz", **arrays)
    with pytest.raises(ValueError, match="tensor is for MnistNet, which MnistNetNaive is not"):
        training("", "naive tensor")
    with pytest.raises(ValueError, match="overlap is for MnistNetInPlace, which MnistNet is not"):
        training("", "fused overlap")
    if ranks.size == 1:
        return
    with pytest.raises(ValueError, match=f"129 images cannot be .* evenly over {ranks.size} ranks"):
        training("", batch=BATCH + 1)
    if ranks.rank == 0:  # no unit is left for it
        with pytest.raises(ValueError, match="each layer needs at least one unit, got 784-0-10"):
            on_ranks("tensor", MnistNet, ranks, 784, ranks.size - 1, 10)

    class Drifting(MnistNetNaive):
        def backward_hidden(self, grad):
            if ranks.rank == ranks.size - 1:
                self.bias_output[0] += 1e-6
            return super().backward_hidden(grad)

    options = {"batch": BATCH, "checkpoint": folder / "drifted.npz"}
    with pytest.raises(ValueError, match="the weights differ between ranks after epoch 1"):
        train(on_ranks("data", Drifting, ranks, 784, 30, 10), sample(), **options)
    assert not options["checkpoint"].exists()


def faulty(
    ranks: Ranks,
    folder: Path,
    network: type = MnistNetNaive,
    method: str = "forward",
    last_call: int = 14,
    launch: type = Loop,
) -> None:
    """Train until, in the second epoch, the last rank dies, hangs or stops: the folder's name.

    Restarted, all ranks stay: the losses and weights are those of a training without a pause.
    """
    (folder / f"{os.getpid()}.pid").touch()
    first, calls = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0", []
    is_lost = first and ranks.rank == ranks.size - 1

    def called(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) == last_call and is_lost:
            (folder / "fault").touch()
            if folder.name != "hang":
                os.kill(os.getpid(), getattr(signal, folder.name))
            time.sleep(1000)
        return getattr(network, method)(self, *arguments, **options)

    if is_lost:
        time.sleep(ranks.timeout + 1)  # a slow start: no rank is lost
    options = {"epochs": 3, "batch": BATCH, "checkpoint": folder / "checkpoint.npz"}
    kinds = type("Faulty", (network,), {method: called}), network
    model, unbroken = (on_ranks("data", x, ranks, 784, 30, 10, launch=launch) for x in kinds)
    losses = train(model, sample(), **options, resume=True)
    del options["checkpoint"]
    assert losses == train(unbroken, sample(), **options)
    np.testing.assert_array_equal(flat(model.parameters), flat(unbroken.parameters))


# One epoch is one graph: the others have launched theirs, and wait for it.
faulty_graph = partial(faulty, network=MnistNetInPlace, method="epoch", last_call=2, launch=Graph)


def faulty_device(ranks: Ranks, folder: Path, library: type = ctypes.CDLL) -> None:
    """`faulty` on a stand-in for NCCL: what a lost rank does not join keeps the host in C code.

    The host goes on to the next batches. It is kept when it reads what the device has computed.
    `library` either lets other threads of Python run meanwhile, or, as PyDLL, does not.
    """
    begin, stuck = ranks._begin, []

    class Work:
        def __init__(self, work):
            self.is_completed = work.is_completed

        def wait(self):
            end = time.monotonic() + 1  # NumPy follows at once, so the sum has to be there
            while not (stuck or self.is_completed()):
                if time.monotonic() > end:
                    stuck.append(self)

    def read(value):
        if stuck:
            (folder / "read").touch()
            library(None).sleep(1000)
        return to_numpy(value)

    ranks._begin = lambda *arguments: [Work(work) for work in begin(*arguments)]
    trainer.to_numpy = read
    faulty(ranks, folder)


faulty_lock = partial(faulty_device, library=ctypes.PyDLL)


def small_scaling(ranks: Ranks, folder: Path) -> None:
    """The scaling benchmark, small; the record goes into the folder."""
    scaling.WIDTHS, scaling.BATCHES, scaling.BYTES, scaling.REPEATS = (4,), (4,), (2**12, 2**13), 3
    scaling.COMPARED, scaling.BLOCK = [(4, 8)], 0.002
    rows = scaling.scale(ranks)
    if ranks.rank == 0:
        (folder / "rows.json").write_text(json.dumps(rows))


def streams(ranks: Ranks, folder: Path) -> None:
    """Sum what a slow kernel has yet to write: with torch on CuPy's stream, and on its own."""
    flat, big = xp.zeros(1 << 20, dtype=xp.float32), xp.ones((8192, 8192), dtype=xp.float32)

    def total() -> list[float]:
        flat[...] = 0
        xp.cuda.Device().synchronize()
        ranks.gather()
        for _ in range(5):  # some 20 ms each: the write below comes long after its launch
            big @ big
        flat[...] = ranks.rank + 1
        ranks.sum(flat)
        result = flat.copy()
        xp.cuda.Device().synchronize()
        return [float(result.min()), float(result.max())]

    total()  # loads the libraries
    assert total() == [3, 3]
    module.same_stream = lambda: nullcontext(False)
    assert total() != [3, 3], "this test would not see an error"


if __name__ == "__main__":
    scenario = globals()[sys.argv[1]]
    where, engine, timeout = Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    # Restarted, rank 1 comes late: until then rank 0 might take its old address for the new one.
    time.sleep(int(os.environ["RANK"]) * int(os.environ["TORCHELASTIC_RESTART_COUNT"]))
    run(lambda ranks: scenario(ranks, where), engine=engine, timeout=timeout)
