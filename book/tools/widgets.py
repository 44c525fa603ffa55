"""`python book/tools/widgets.py` trains the network that reads drawn digits in the page.

It needs the full MNIST, and writes book/_static/widgets/weights.js.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import MEAN, SAMPLE, STD, find_mnist
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.training import test, train

WEIGHTS = Path(__file__).parents[1] / "_static" / "widgets" / "weights.js"
EPOCHS, HIDDEN = 10, 30
SCRIPT = """\
// Written by `python book/tools/widgets.py`: the trained network, and ten test digits.
window.FusionBook = window.FusionBook || {{}};
window.FusionBook.weights = {};
"""


def as_text(values: np.ndarray) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(values.tobytes()).decode()


def quantize(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (units, width) as int8 levels and one float32 scale per unit: levels x scale."""
    scale = (np.abs(weights).max(axis=1) / 127).astype(np.float32)
    return np.rint(weights / scale[:, None]).astype(np.int8), scale


def store_network(network: MnistNetNaive) -> dict[str, Any]:
    """The network in one byte per weight; its own weights become the rounded ones, in place."""
    stored = {}
    for layer in ("hidden", "output"):
        weights, bias = getattr(network, f"weights_{layer}"), getattr(network, f"bias_{layer}")
        levels, scale = quantize(to_numpy(weights))
        weights[...] = xp.asarray(levels * scale[:, None])
        bias = to_numpy(bias).tolist()
        stored[layer] = {"levels": as_text(levels), "scale": scale.tolist(), "bias": bias}
    return stored


def example_digits() -> list[dict[str, Any]]:
    """The sample's first test digit of each kind: label, index, pixels in base64."""
    with np.load(SAMPLE) as sample:
        images, labels = sample["test_images"], sample["test_labels"]
    firsts = [(label, int(np.argmax(labels == label))) for label in range(10)]
    return [{"label": n, "index": first, "pixels": as_text(images[first])} for n, first in firsts]


def main() -> None:
    """Train, write the weights, and print the accuracy of the network as stored."""
    if find_mnist() is None:
        sys.exit("the widget's network is trained on the full MNIST; only the sample is here")
    network = MnistNetNaive(784, HIDDEN, 10)
    train(network, epochs=EPOCHS)
    before = test(network)
    stored = store_network(network)
    accuracy = test(network)
    stored |= {"epochs": EPOCHS, "accuracy": round(accuracy, 4), "mean": MEAN, "std": STD}
    stored["examples"] = example_digits()
    WEIGHTS.write_text(SCRIPT.format(json.dumps(stored, indent=1)), encoding="utf-8")
    print(f"test accuracy {accuracy:.4f} in one byte per weight, {before:.4f} in float32")
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
