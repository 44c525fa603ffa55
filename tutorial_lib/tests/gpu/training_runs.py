"""Training on both backends: the losses of both networks at several widths, for comparison."""

import contextlib
import io
import itertools
import json
from typing import Any

import numpy as np

from tutorial_lib import MnistNet, MnistNetNaive, test, train
from tutorial_lib.backend import xp

NETWORKS = {"MnistNetNaive": MnistNetNaive, "MnistNet": MnistNet}
WIDTHS = [30, 64, 257, 1024]
EPOCHS = 3


def train_all() -> dict[str, dict[str, Any]]:
    """{network and width: losses of all batches, images correct} on this process's backend."""
    runs = {}
    for name, width in itertools.product(NETWORKS, WIDTHS):
        with contextlib.redirect_stdout(io.StringIO()), NETWORKS[name](784, width, 10) as model:
            losses, correct = train(model, epochs=EPOCHS), round(test(model) * 9984)
        runs[f"{name} {width}"] = {"losses": losses, "correct": correct}
    return runs


def compare(cpu: dict[str, Any], gpu: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Per run: the worst difference of a loss, in each epoch, and the images correct on each."""
    compared = {}
    for name, ours in cpu.items():
        apart = np.abs(np.subtract(ours["losses"], gpu[name]["losses"])).reshape(EPOCHS, -1)
        compared[name] = {
            "worst_loss_difference": float(apart.max()),
            "per_epoch": apart.max(axis=1).tolist(),
            "correct_cpu": ours["correct"],
            "correct_gpu": gpu[name]["correct"],
        }
    return compared


def device_memory() -> list[int]:
    """Bytes of device memory that CuPy's pool has in use after 2 epochs and after 20."""
    used = []
    for epochs in (2, 20):
        with contextlib.redirect_stdout(io.StringIO()), MnistNet(784, 30, 10) as model:
            train(model, epochs=epochs)
            used.append(int(xp.get_default_memory_pool().used_bytes()))
    return used


if __name__ == "__main__":
    print(json.dumps(train_all()))
