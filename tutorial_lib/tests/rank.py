"""One rank of a test: `torchrun -m tutorial_lib.tests.rank SCENARIO FOLDER ENGINE TIMEOUT`."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import MEAN, SAMPLE, STD
from tutorial_lib.distributed import ranks as ranks_module
from tutorial_lib.distributed import training as training_module
from tutorial_lib.distributed.__main__ import parse, work
from tutorial_lib.distributed.measure import measure
from tutorial_lib.distributed.networks import NETWORKS, StagedMnistNetNaive
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.distributed.rendezvous import Refused
from tutorial_lib.distributed.training import check_equal, train

ALONE = {  # the environment of the only rank
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "0",
}
BATCH, IMAGES, EPOCHS = 128, 1300, 2  # ten batches, and a partial one to be dropped


def sample():
    """The first images of the sample that ships with the package, and their labels."""
    with np.load(SAMPLE) as arrays:
        pixels, labels = arrays["train_images"][:IMAGES], arrays["train_labels"][:IMAGES]
    images = (xp.asarray(pixels).astype(xp.float32) / 255 - MEAN) / STD
    return images, xp.asarray(labels.astype(np.int64))


def refusal(call):
    """The message of the Refused that `call` raises; empty if it raises none."""
    try:
        call()
    except Refused as error:
        return str(error)
    return ""


def everything(ranks: Ranks, folder: Path) -> None:
    """Train with each network, with and without overlap; resume; be refused; drift apart."""
    images, labels = sample()
    arrays, refusals = {}, {}

    def training(name, net, **options):
        with NETWORKS[net](784, 30, 10) as model:
            arrays[f"{name} losses"] = train(
                ranks, model, images, labels, **{"epochs": EPOCHS, "batch": BATCH} | options
            )
            arrays[f"{name} weights"] = np.concatenate(
                [to_numpy(p).ravel() for p in model.parameters]
            )
            return model

    for net in NETWORKS:
        training(net, net)
        training(f"{net} overlap", net, overlap=True)

    training("slower", "naive", learning_rate=0.05)

    path = folder / "checkpoint.npz"
    training("first epoch", "fused", epochs=1, checkpoint=path)
    for name, options in {
        "overwriting": {"net": "fused"},
        "another network": {"net": "naive", "resume": True},
        "another batch": {"net": "fused", "resume": True, "batch": 64},
        "another rate": {"net": "fused", "resume": True, "learning_rate": 0.2},
    }.items():
        refusals[name] = refusal(lambda: training(name, checkpoint=path, **options))  # noqa: B023
    training("resumed", "fused", checkpoint=path, resume=True)
    training("nothing left", "fused", checkpoint=path, resume=True)
    missing = folder / "missing.npz"
    refusals["no file"] = refusal(lambda: training("", "fused", checkpoint=missing, resume=True))
    refusals["no path"] = refusal(lambda: training("", "fused", resume=True))
    refusals["indivisible"] = refusal(lambda: training("", "fused", batch=BATCH + 1))
    refusals["no epochs"] = refusal(lambda: training("", "fused", epochs=0))
    refusals["few images"] = refusal(lambda: training("", "fused", batch=2048))

    model = training("", "naive", epochs=1)
    if ranks.rank == ranks.size - 1 > 0:
        model.weights_hidden[0, 0] += 1e-6
    refusals["drift"] = refusal(lambda: check_equal(ranks, model, "in this test"))

    class Drifting(StagedMnistNetNaive):
        def backward_hidden(self, grad):
            if ranks.rank == ranks.size - 1 > 0:
                self.bias_output[0] += 1e-6
            return super().backward_hidden(grad)

    drifted = folder / "drifted.npz"
    refusals["drift in training"] = refusal(
        lambda: train(ranks, Drifting(784, 30, 10), images, labels, batch=BATCH, checkpoint=drifted)
    )
    np.savez(folder / f"rank{ranks.rank}.npz", **arrays)
    (folder / f"rank{ranks.rank}.json").write_text(json.dumps(refusals))
    if ranks.size == 2:
        work(ranks, parse(["--net", "fused", "--checkpoint", str(folder / "command.npz")]))
        plan = {"net": "fused", "widths": [3], "batches": [4], "bytes": [4, 4096], "repeats": 2}
        found = measure(ranks, plan)
        if ranks.rank == 0:
            (folder / "measured.json").write_text(json.dumps(found))


def faulty(ranks: Ranks, folder: Path) -> None:
    """Train until, in the second epoch, the last rank dies, hangs or stops: the folder's name."""
    (folder / f"{os.getpid()}.pid").touch()
    images, labels = sample()

    class Faulty(StagedMnistNetNaive):
        passes = 0

        def forward(self, x):
            self.passes += 1
            if self.passes == 14 and ranks.rank == ranks.size - 1:
                (folder / "fault").touch()
                if folder.name == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if folder.name == "stop":
                    os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(1000)
            return super().forward(x)

    if folder.name == "kill" and ranks.rank == ranks.size - 1:
        time.sleep(ranks.timeout + 1)  # a slow start: no rank is lost
    train(
        ranks,
        Faulty(784, 30, 10),
        images,
        labels,
        epochs=3,
        batch=BATCH,
        checkpoint=folder / "checkpoint.npz",
    )


def faulty_device(ranks: Ranks, folder: Path) -> None:
    """`faulty` on a stand-in for NCCL: what a lost rank does not join never ends, nor fails.

    The host is not kept in the collective, and goes on to the next batches. It is kept, in C, when
    it reads what the device has computed.
    """
    from torch import distributed

    stuck, all_reduce = [], distributed.all_reduce

    class Work:
        def __init__(self, work):
            self.work = work

        def is_completed(self):
            try:
                return self.work.is_completed() and self.work.wait()
            except RuntimeError:
                return False

        def wait(self):
            end = time.monotonic() + 1  # NumPy follows at once, so the sum has to be there
            while not (stuck or self.is_completed()):
                if time.monotonic() > end:
                    stuck.append(self)

    def read(value):
        while not all(work.is_completed() for work in stuck):
            (folder / "read").touch()
            ctypes.CDLL(None).usleep(100_000)
        return to_numpy(value)

    distributed.all_reduce = lambda tensor, async_op: Work(all_reduce(tensor, async_op=async_op))
    training_module.to_numpy = training_module.float = read
    faulty(ranks, folder)


def streams(ranks: Ranks, folder: Path) -> None:
    """Sum what a slow kernel has yet to write: with torch on the ranks' stream, and astray."""
    import torch

    flat, big = xp.zeros(1 << 20, dtype=xp.float32), xp.ones((8192, 8192), dtype=xp.float32)
    tensor = torch.from_dlpack(flat)

    def total() -> list[float]:
        flat[...] = 0
        xp.cuda.Device().synchronize()
        ranks.wait_for_all()
        for _ in range(5):  # some 20 ms each: the write below comes long after its launch
            big @ big
        flat[...] = ranks.rank + 1
        ranks.sum(tensor)
        result = flat.copy()
        xp.cuda.Device().synchronize()
        return [float(result.min()), float(result.max())]

    total()  # loads the libraries
    found = {"one stream": total()}
    with torch.cuda.stream(torch.cuda.default_stream()):
        found["torch on its default stream"] = total()
    (folder / f"rank{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    scenario = globals()[sys.argv[1]]
    where, engine, timeout = Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    ranks_module.run(lambda ranks: scenario(ranks, where), engine=engine, timeout=timeout)
