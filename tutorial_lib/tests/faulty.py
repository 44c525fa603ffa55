"""A contestant with a fault, in a process of its own: what a benchmark has to survive."""

import os
import sys
import time

import numpy as np

from tutorial_lib.benchmarks.contest import fetch, main
from tutorial_lib.networks import MnistNetNaive


def rounded(x):
    """Float32 with the 10 bits of TF32's significand, rounded to nearest."""
    return ((x.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)


def faulty(problem, options):
    fault, epochs = options.fault, []
    model = MnistNetNaive(784, problem.hidden, 10)
    initial = [fetch(p) for p in model.parameters]
    if fault == "import":
        import no_such_framework  # noqa: F401
    elif fault == "rate":
        model.bias_output += 1e-4
    elif fault == "tf32":
        problem.images = rounded(fetch(problem.images))
    before = {
        "hang": lambda: time.sleep(600),
        "crash": os.abort,
        "quit": lambda: sys.exit("the driver is gone"),
        "silent": lambda: os._exit(0),
    }
    before.get(fault, lambda: None)()

    def epoch():
        epochs.append(1)
        if fault == "later" and len(epochs) > 2:
            raise RuntimeError("launch\n  failed")
        losses = problem.train(model)
        if fault == "nan":
            losses[3] = np.nan
        for parameter, value in zip(model.parameters, initial if fault == "frozen" else ()):
            parameter[...] = value
        return losses[:-1] if fault == "short" else losses

    return epoch, lambda: initial if fault == "unwritten" else model.parameters


if __name__ == "__main__":
    names = "none import hang crash quit silent rate tf32 later nan frozen short unwritten"
    main(faulty, fault=names.split())
