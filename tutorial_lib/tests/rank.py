"""One rank of a test: `torchrun -m tutorial_lib.tests.rank SCENARIO FOLDER ENGINE TIMEOUT`."""

import ctypes
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tutorial_lib import results
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import normalized
from tutorial_lib.distributed import data_parallel, scaling
from tutorial_lib.distributed.data_parallel import train
from tutorial_lib.distributed.ranks import Ranks, run
from tutorial_lib.networks import NETWORKS, MnistNetNaive

BATCH, IMAGES, EPOCHS = 128, 1300, 2  # ten batches, and a partial one to be dropped
NETS = "fused", "naive"


def sample():
    """The first images of the data set, and their labels."""
    return tuple(array[:IMAGES] for array in normalized(True))


def flat(model):
    """All weights in one array."""
    return np.concatenate([to_numpy(parameter).ravel() for parameter in model.parameters])


def everything(ranks: Ranks, folder: Path) -> None:
    """Train with each network, with and without overlap; resume; be refused; drift apart."""
    arrays, path = {}, folder / "checkpoint.npz"

    def training(name, net, **options):
        with NETWORKS[net](784, 30, 10) as model:
            options = {"epochs": EPOCHS, "batch": BATCH} | options
            arrays[f"{name} losses"] = train(ranks, model, sample(), **options)
            arrays[f"{name} weights"] = flat(model)

    for net in NETS:
        training(net, net)
        training(f"{net} overlap", net, overlap=True)
    training("first epoch", "fused", epochs=1, checkpoint=path)
    training("resumed", "fused", checkpoint=path, resume=True)
    training("nothing left", "fused", checkpoint=path, resume=True)
    np.savez(folder / f"rank{ranks.rank}.npz", **arrays)
    if ranks.size == 1:
        return
    with pytest.raises(ValueError, match=f"129 images cannot be .* evenly over {ranks.size} ranks"):
        training("", "fused", batch=BATCH + 1)

    class Drifting(MnistNetNaive):
        def backward_hidden(self, grad):
            if ranks.rank == ranks.size - 1:
                self.bias_output[0] += 1e-6
            return super().backward_hidden(grad)

    options = {"batch": BATCH, "checkpoint": folder / "drifted.npz"}
    with pytest.raises(ValueError, match="the weights differ between ranks after epoch 1"):
        train(ranks, Drifting(784, 30, 10), sample(), **options)
    assert not options["checkpoint"].exists()


def faulty(ranks: Ranks, folder: Path) -> None:
    """Train until, in the second epoch, the last rank dies, hangs or stops: the folder's name.

    Restarted, all ranks stay: the losses and weights are those of a training without a pause.
    """
    (folder / f"{os.getpid()}.pid").touch()
    first, passes = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0", []
    is_lost = first and ranks.rank == ranks.size - 1

    class Faulty(MnistNetNaive):
        def forward(self, x):
            passes.append(x)
            if len(passes) == 14 and is_lost:
                (folder / "fault").touch()
                if folder.name != "hang":
                    os.kill(os.getpid(), getattr(signal, folder.name))
                time.sleep(1000)
            return super().forward(x)

    if is_lost:
        time.sleep(ranks.timeout + 1)  # a slow start: no rank is lost
    options = {"epochs": 3, "batch": BATCH, "checkpoint": folder / "checkpoint.npz"}
    model, unbroken = Faulty(784, 30, 10), MnistNetNaive(784, 30, 10)
    losses = train(ranks, model, sample(), **options, resume=True)
    del options["checkpoint"]
    assert losses == train(ranks, unbroken, sample(), **options)
    np.testing.assert_array_equal(flat(model), flat(unbroken))


def faulty_device(ranks: Ranks, folder: Path, library: type = ctypes.CDLL) -> None:
    """`faulty` on a stand-in for NCCL: what a lost rank does not join keeps the host in C code.

    The host goes on to the next batches. It is kept when it reads what the device has computed.
    `library` either lets other threads of Python run meanwhile, or, as PyDLL, does not.
    """
    begin_sum, stuck = ranks.begin_sum, []

    class Work:
        def __init__(self, work):
            self.work = work

        def wait(self):
            end = time.monotonic() + 1  # NumPy follows at once, so the sum has to be there
            while not (stuck or self.work.is_completed()):
                if time.monotonic() > end:
                    stuck.append(self)

    def read(value):
        if stuck:
            (folder / "read").touch()
            library(None).sleep(1000)
        return to_numpy(value)

    ranks.begin_sum = lambda tensor: Work(begin_sum(tensor))
    data_parallel.to_numpy = data_parallel.float = read
    faulty(ranks, folder)


faulty_lock = partial(faulty_device, library=ctypes.PyDLL)


def small_scaling(ranks: Ranks, folder: Path) -> None:
    """The scaling benchmark, small; the record goes into the folder."""
    results.RESULTS = folder
    scaling.WIDTHS, scaling.BATCHES, scaling.BYTES, scaling.REPEATS = (3,), (4,), (64, 256), 3
    scaling.scale(ranks)


def streams(ranks: Ranks, folder: Path) -> None:
    """Sum what a slow kernel has yet to write: with torch on the ranks' stream, and astray."""
    import torch

    flat, big = xp.zeros(1 << 20, dtype=xp.float32), xp.ones((8192, 8192), dtype=xp.float32)
    tensor = torch.from_dlpack(flat)

    def total() -> list[float]:
        flat[...] = 0
        xp.cuda.Device().synchronize()
        ranks.gather()
        for _ in range(5):  # some 20 ms each: the write below comes long after its launch
            big @ big
        flat[...] = ranks.rank + 1
        ranks.begin_sum(tensor).wait()
        result = flat.copy()
        xp.cuda.Device().synchronize()
        return [float(result.min()), float(result.max())]

    total()  # loads the libraries
    assert total() == [3, 3]
    with torch.cuda.stream(torch.cuda.default_stream()):
        assert total() != [3, 3], "this test would not see an error"


if __name__ == "__main__":
    scenario = globals()[sys.argv[1]]
    where, engine, timeout = Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    # Restarted, rank 1 comes late: until then rank 0 might take its old address for the new one.
    time.sleep(int(os.environ["RANK"]) * int(os.environ["TORCHELASTIC_RESTART_COUNT"]))
    run(lambda ranks: scenario(ranks, where), engine=engine, timeout=timeout)
