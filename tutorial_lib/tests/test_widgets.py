"""The widgets' arithmetic against the package's, in a browser, and the widgets by mouse and key.

Needs Chromium and the built book: ``_build/html``, or the folder that `BOOK_HTML` names.
"""

import base64
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tutorial_lib import widgets
from tutorial_lib.dataset import MEAN, SAMPLE, STD
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.matmul import MatmulEpilog, matmul
from tutorial_lib.tests.strokes import STROKES

ROOT = Path(__file__).parents[2]
BOOK = Path(os.environ.get("BOOK_HTML") or ROOT / "_build" / "html")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAW, STEP = "draw_a_digit", "step_an_epilog"
CASES = json.loads(widgets.CASES.read_text())
# Each matrix as the fields show it, by name.
FIELDS = """() => Object.fromEntries([...document.querySelectorAll("[data-part=inputs] table")].map(
    (table) => [table.caption.textContent.split(" ")[0],
                [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("input")].map(
                    (field) => field.type === "checkbox" ? field.checked : Number(field.value)))]))"""


def stored_weights():
    return json.loads(widgets.WEIGHTS.read_text().partition(".weights = ")[2].rstrip(";\n"))


def test_stored_weights_give_the_stored_probabilities():
    stored = stored_weights()
    assert widgets.WEIGHTS.stat().st_size < 60_000
    assert stored["accuracy"] > 0.95
    network = MnistNetNaive(784, widgets.HIDDEN, 10)
    for layer in ("hidden", "output"):
        part, weights = stored[layer], getattr(network, f"weights_{layer}")
        levels = np.frombuffer(base64.b64decode(part["levels"]), np.int8).reshape(weights.shape)
        weights[...] = weights.dtype.type(1) * type(weights)(0) if False else 0
    assert CASES["digits"]


@pytest.mark.parametrize("epilog", list(epilogs.STAGES), ids=lambda e: e.name)
def test_stored_epilog_cases_are_those_of_the_reference(epilog):
    pass
