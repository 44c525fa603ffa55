"""JAX: `python -m tutorial_lib.benchmarks.jax_peer --unroll 9 --hidden 512`.

The work is that of `torch_peer`: ``lax.scan`` over the epoch in one jit, the weights donated.
"""

import functools
from argparse import Namespace
from typing import Any

import numpy as np

from tutorial_lib import backend
from tutorial_lib.benchmarks.contest import LEARNING_RATE, TF32, Contestant, Problem, main


def scan(problem: Problem, options: Namespace) -> Contestant:
    """The published step, scanned, `unroll` batches in each turn, and compiled ahead of time.

    JAX may take TF32 for float32 on a GPU, so each arithmetic is asked for: "highest" is float32.
    XLA has a stream of its own, so the epoch waits for it: its time on the GPU is that of the host.
    """
    import jax
    from jax import numpy as jnp

    device = jax.devices("gpu" if backend.name == "gpu" else "cpu")[0]
    images, labels, initial = problem.in_numpy()
    data = jax.device_put((images, labels.astype(np.int32)), device)
    weights = jax.device_put(tuple(initial), device)

    def step(weights: Any, batch: Any) -> Any:
        wh, bh, wo, bo = weights
        x, labels = batch  # (n, 784) (n,)
        before_relu = x @ wh.T + bh  # (n, H)
        hidden = jnp.maximum(before_relu, 0)
        p = jax.nn.sigmoid(hidden @ wo.T + bo)  # (n, 10)
        t = jax.nn.one_hot(labels, 10)
        loss = -jnp.mean(t * jnp.log(p + 1e-8) + (1 - t) * jnp.log(1 - p + 1e-8))
        grad = (p - t) / len(x)
        grad_hidden = (grad @ wo) * (before_relu >= 0)  # (n, H)
        gradients = grad_hidden.T @ x, grad_hidden.sum(0), grad.T @ hidden, grad.sum(0)
        return tuple(w - LEARNING_RATE * g for w, g in zip(weights, gradients)), loss

    with jax.default_matmul_precision("tensorfloat32" if problem.arithmetic == TF32 else "highest"):
        scanned = functools.partial(jax.lax.scan, step, unroll=int(options.unroll))
        run = jax.jit(scanned, donate_argnums=0).lower(weights, data).compile()

    def epoch() -> Any:
        nonlocal weights
        weights, losses = jax.block_until_ready(run(weights, data))
        return losses

    return epoch, lambda: weights


if __name__ == "__main__":
    main(scan, unroll=("1", "9"))
