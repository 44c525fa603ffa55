"""A contestant with a fault, in a process of its own: what a benchmark has to survive."""

import importlib
import os
import sys
import time

import numpy as np

from tutorial_lib.backend import xp
from tutorial_lib.benchmarks.contest import fetch, main
from tutorial_lib.networks import MnistNetNaive


def fail():
    raise RuntimeError("launch\n  failed")


BEFORE = {
    "hang": lambda: time.sleep(600),
    "crash": os.abort,
    "quit": lambda: sys.exit("the driver is gone"),
    "silent": lambda: os._exit(0),
    "import": lambda: importlib.import_module("no_such_framework"),
}
LATER = {"later": fail, "hang_later": BEFORE["hang"], "crash_later": os.abort}


def faulty(problem, options):
    fault, epochs = options.fault, []
    BEFORE.get(fault, bool)()
    model = MnistNetNaive(784, problem.hidden, 10)
    initial = [p.copy() for p in model.parameters]
    if fault == "tf32":  # the 10 bits of its significand, rounded to nearest
        bits = fetch(problem.images).view(np.uint32)
        problem.images = xp.asarray(((bits + 0x1000) & 0xFFFFE000).view(np.float32))

    def epoch():
        epochs.append(1)
        if len(epochs) > 2:
            LATER.get(fault, bool)()
        losses = problem.train(model)
        if fault == "nan":
            losses[3] = np.nan
        for parameter, value in zip(model.parameters, initial if fault == "frozen" else ()):
            parameter[...] = value
        return losses[:-1] if fault == "short" else losses

    print('{"as": "a compiler prints"}')
    return epoch


if __name__ == "__main__":
    main(faulty, fault=["none", *BEFORE, *LATER, "tf32", "nan", "frozen", "short"])
