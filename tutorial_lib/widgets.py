"""What the widgets in the book's pages compute with, and the cases that their tests compare.

``python -m tutorial_lib.widgets`` trains the network on the full MNIST and writes both:
``book/_static/widgets/weights.js`` and ``tests/data/widget_cases.json``.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import MEAN, SAMPLE, STD, find_mnist
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.matmul import matmul
from tutorial_lib.training import test, train

WEIGHTS = Path(__file__).parent.parent / "book" / "_static" / "widgets" / "weights.js"
CASES = Path(__file__).parent / "tests" / "data" / "widget_cases.json"
EPOCHS, HIDDEN = 10, 30
COMPARED = range(6)  # the test digits of the sample whose probabilities are compared
HEADER = (
    "// Written by `python -m tutorial_lib.widgets`: the trained network, and ten test digits.\n"
)


def _base64(values: np.ndarray) -> str:
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
        stored[layer] = {
            "levels": _base64(levels),
            "scale": [float(s) for s in scale],
            "bias": [float(b) for b in to_numpy(bias)],
        }
    return stored


def example_digits() -> list[dict[str, Any]]:
    """The sample's first test digit of each kind: label, index, pixels in base64."""
    with np.load(SAMPLE) as sample:
        images, labels = sample["test_images"], sample["test_labels"]
    firsts = [(label, int(np.argmax(labels == label))) for label in range(10)]
    return [
        {"label": label, "index": index, "pixels": _base64(images[index])}
        for label, index in firsts
    ]


def digit_cases(network: MnistNetNaive) -> list[dict[str, Any]]:
    """A few test digits of the sample, by index, with the probabilities that the network gives."""
    with np.load(SAMPLE) as sample:
        images = sample["test_images"][COMPARED.start : COMPARED.stop].astype(np.float32)
    probabilities = to_numpy(network.forward(xp.asarray((images / 255 - MEAN) / STD, xp.float32)))
    return [
        {"index": index, "probabilities": [round(float(p), 7) for p in row]}
        for index, row in zip(COMPARED, probabilities)
    ]


def _flat(x: np.ndarray) -> list[float]:
    """An array's elements in memory order."""
    return [round(value, 12) for value in x.ravel(order="K").tolist()]


def epilog_case(epilog: MatmulEpilog, shape: tuple[int, int, int], seed: int = 0) -> dict[str, Any]:
    """One epilog on small integer matrices: inputs, d after each stage, memory order, outputs."""
    rng = np.random.default_rng([seed, epilog])
    m, k, n = shape
    # cuBLASLt refuses BGRADA on a row-major a; every other epilog gets NumPy's default order
    a_order = "F" if epilog == MatmulEpilog.BGRADA else "C"
    a = np.asarray(rng.integers(-3, 4, (m, k)).astype(float), order=a_order)
    b = rng.integers(-3, 4, (k, n)).astype(float)
    padded = np.zeros((-(-m // epilogs.GELU_ROWS) * epilogs.GELU_ROWS, n), order="F")
    padded[:m] = rng.integers(-2, 3, (m, n))
    choices = {
        "bias": rng.integers(-3, 4, m).astype(float),
        "relu_aux": epilogs.pack_mask(rng.random((m, n)) < 0.6),
        "gelu_aux": padded,
    }
    inputs = {name: choices[name] for name in sorted(epilogs.input_names(epilog))}
    d, call = a @ b, epilogs.Call(a, b, inputs)
    steps = [{"stage": "matmul", "d": d.tolist()}]
    for stage in epilogs.STAGES[epilog]:
        stage(d, call)
        steps.append({"stage": stage.__name__, "d": np.round(d, 12).tolist()})
    result = matmul(a, b, epilog=epilog, epilog_inputs=inputs or None)
    result = result[0] if isinstance(result, tuple) else result
    return {
        "epilog": epilog.name,
        "a": a.tolist(),
        "b": b.tolist(),
        "a_order": a_order,
        "inputs": {name: _flat(x) for name, x in inputs.items()},
        "steps": steps,
        "order": "F" if result.flags.f_contiguous else "C",
        "memory": _flat(result),
        "outputs": {name: _flat(x) for name, x in call.outputs.items()},
    }


def epilog_cases() -> list[dict[str, Any]]:
    """Every epilog on the shapes of the widget, and the packed ones on a mask of two bytes."""
    tall = [MatmulEpilog.RELU_AUX_BIAS, MatmulEpilog.DRELU_BGRAD, MatmulEpilog.GELU_AUX_BIAS]
    tall.append(MatmulEpilog.DGELU_BGRAD)
    return [epilog_case(epilog, (3, 2, 4)) for epilog in epilogs.STAGES] + [
        epilog_case(epilog, (10, 3, 3), seed=1) for epilog in tall
    ]


def main() -> None:
    """Train, write the weights and the cases, and say the accuracy of the network as stored."""
    if find_mnist() is None:
        raise SystemExit(
            "the widget's network is trained on the full MNIST; only the sample is here"
        )
    network = MnistNetNaive(784, HIDDEN, 10)
    train(network, epochs=EPOCHS)
    before = test(network)
    stored = store_network(network)
    accuracy = test(network)
    stored |= {"epochs": EPOCHS, "accuracy": round(accuracy, 4), "mean": MEAN, "std": STD}
    stored["examples"] = example_digits()
    text = f"{HEADER}window.FusionBook = window.FusionBook || {{}};\n"
    WEIGHTS.write_text(
        f"{text}window.FusionBook.weights = {json.dumps(stored, indent=1)};\n", encoding="utf-8"
    )
    cases = {"digits": digit_cases(network), "epilogs": epilog_cases()}
    CASES.write_text(json.dumps(cases, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"test accuracy {accuracy:.4f} in one byte per weight, {before:.4f} in float32")
    for path in (WEIGHTS, CASES):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
