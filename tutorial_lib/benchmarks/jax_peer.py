"""JAX at the work of `torch_peer`: `python -m tutorial_lib.benchmarks.jax_peer --unroll 9`."""

from argparse import Namespace
from functools import partial
from typing import Any

from tutorial_lib import backend
from tutorial_lib.benchmarks.contest import LEARNING_RATE, TF32, Epoch, Problem, main


def peer(problem: Problem, options: Namespace) -> Epoch:
    """An epoch in one jit, compiled ahead: ``lax.scan``, `unroll` batches in each turn.

    `float32` is the precision of its products: "TF32_TF32_F32_X3" makes three of TF32 for each.
    """
    import jax
    from jax import numpy as jnp

    device = jax.devices("gpu" if backend.name == "gpu" else "cpu")[0]
    images, labels, initial = problem.in_numpy()
    dtype = jnp.dtype("float32" if problem.arithmetic == TF32 else problem.arithmetic)
    data = jax.device_put((images.astype(dtype), labels.astype("int32")), device)
    weights = jax.device_put(tuple(initial), device)
    product = partial(jnp.matmul, preferred_element_type="float32")

    def step(weights: Any, batch: Any) -> Any:
        wh, bh, wo, bo = (w.astype(dtype) for w in weights)
        x, labels = batch  # (n, 784) (n,)
        before_relu = x @ wh.T + bh  # (n, H)
        hidden = jnp.maximum(before_relu, 0)
        p = jax.nn.sigmoid((hidden @ wo.T + bo).astype("float32"))  # (n, 10)
        t = jax.nn.one_hot(labels, 10)
        chosen = jnp.where(t > 0, p, 1 - p)  # XLA makes 1 - p of 1 - p + 1e-8, and 0 log 0 is NaN
        loss = -jnp.mean(jnp.log(chosen + 1e-8))
        grad = p - t
        narrow = grad.astype(dtype)
        grad_hidden = (narrow @ wo) * (before_relu >= 0)  # (n, H)
        sums = grad_hidden.sum(0, dtype="float32"), grad.sum(0)
        gradients = product(grad_hidden.T, x), sums[0], product(narrow.T, hidden), sums[1]
        return tuple(w - LEARNING_RATE / len(x) * g for w, g in zip(weights, gradients)), loss

    precision = "tensorfloat32" if problem.arithmetic == TF32 else options.float32
    with jax.default_matmul_precision(precision):
        scan = partial(jax.lax.scan, step, unroll=int(options.unroll))
        run = jax.jit(scan, donate_argnums=0).lower(weights, data).compile()

    def epoch() -> Any:
        nonlocal weights
        weights, losses = jax.block_until_ready(run(weights, data))  # XLA has its own stream
        return losses

    return epoch


if __name__ == "__main__":
    main(peer, "jax", unroll=("1", "9"), float32=("highest", "TF32_TF32_F32_X3"))
