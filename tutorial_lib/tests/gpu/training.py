"""Training on both backends: the losses of both networks at several widths, for comparison."""

import contextlib
import io
import json
from typing import Any

from tutorial_lib import MnistNet, MnistNetNaive, test, train
from tutorial_lib.backend import xp

NETWORKS = {"MnistNetNaive": MnistNetNaive, "MnistNet": MnistNet}
WIDTHS = [30, 64, 257, 1024]
EPOCHS = 3


def train_all() -> dict[str, dict[str, Any]]:
    """{network and width: losses of all batches, images correct} on this process's backend."""
    results = {}
    for name, network in NETWORKS.items():
        for width in WIDTHS:
            with contextlib.redirect_stdout(io.StringIO()), network(784, width, 10) as model:
                losses = train(model, epochs=EPOCHS)
                results[f"{name} {width}"] = {
                    "losses": losses,
                    "correct": round(test(model) * 9984),
                }
    return results


def compare(cpu: dict[str, Any], gpu: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Per run: the worst difference of a loss, in each epoch, and the images of difference."""
    compared = {}
    for name, ours in cpu.items():
        pairs = list(zip(ours["losses"], gpu[name]["losses"]))
        per_epoch = len(pairs) // EPOCHS
        worst = [
            max(abs(x - y) for x, y in pairs[i * per_epoch : (i + 1) * per_epoch])
            for i in range(EPOCHS)
        ]
        compared[name] = {
            "worst_loss_difference": max(worst),
            "per_epoch": worst,
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
