"""The same epoch with nothing between the mathematics and NumPy: the CPU backend's yardstick."""

from argparse import Namespace

import numpy as np

from tutorial_lib.benchmarks.contest import LEARNING_RATE, Epoch, Problem, main


def numpy_loop(problem: Problem, _: Namespace) -> Epoch:
    """The published step written out by hand, called from a loop."""
    *batches, weights = problem.in_numpy()
    wh, bh, wo, bo = weights

    def step(x: np.ndarray, labels: np.ndarray) -> float:
        z = wh @ x.T + bh[:, None]  # (H, n)
        y = np.maximum(z, 0)
        p = 1 / (1 + np.exp(-(wo @ y + bo[:, None]).T))  # (n, 10)
        t = np.eye(10, dtype=p.dtype)[labels]
        grad = (p - t) / len(labels)
        grad_hidden = (wo.T @ grad.T) * (z >= 0)  # (H, n)
        gradients = grad_hidden @ x, grad_hidden.sum(axis=1), grad.T @ y.T, grad.sum(axis=0)
        for parameter, gradient in zip(weights, gradients):
            parameter -= LEARNING_RATE * gradient
        return -np.mean(t * np.log(p + 1e-8) + (1 - t) * np.log(1 - p + 1e-8))

    return lambda: np.array([step(*batch) for batch in zip(*batches)])


if __name__ == "__main__":
    main(numpy_loop)
