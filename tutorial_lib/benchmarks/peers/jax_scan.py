"""JAX: ``lax.scan`` over the epoch in one jit, the weights donated."""

import os
from typing import Any

import numpy as np

from tutorial_lib import backend
from tutorial_lib.benchmarks.contestant import TF32, Absent, Contestant, Problem, require_arithmetic


class JaxScan(Contestant):
    """The published step, scanned over all batches, compiled ahead of time.

    `unroll` batches make one turn of the loop. XLA runs on a stream of its own, so that events on
    the default stream do not see it. Its default precision for float32 may be TF32 on a GPU, so
    that each arithmetic is asked for: "highest" is float32.
    """

    on_default_stream = False

    def __init__(self, problem: Problem, arithmetic: str, *, unroll: int = 1) -> None:
        require_arithmetic(arithmetic)
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else: 75 % of the memory
        import jax

        platform = "gpu" if backend.name == "gpu" else "cpu"
        try:
            device = jax.devices(platform)[0]
        except RuntimeError as error:
            raise Absent(f"JAX {jax.__version__} has no {platform}: {error}") from error
        images, labels = problem.batches
        self.jax = jax
        self.images = jax.device_put(images, device)
        self.labels = jax.device_put(labels.astype(np.int32), device)
        self.initial = tuple(jax.device_put(w, device) for w in problem.weights)
        self._losses: Any = None
        self.reset()
        epoch = _epoch(problem.learning_rate, unroll)
        with jax.default_matmul_precision("tensorfloat32" if arithmetic == TF32 else "highest"):
            lowered = jax.jit(epoch, donate_argnums=0).lower(self.weights, self.images, self.labels)
            self.compiled = lowered.compile()

    def epoch(self) -> None:
        """One call of the compiled epoch; it gives back the buffers that it was given."""
        self.weights, self._losses = self.compiled(self.weights, self.images, self.labels)

    def losses(self) -> np.ndarray:
        """The losses of the last epoch, copied."""
        return np.array(self._losses)

    def parameters(self) -> list[np.ndarray]:
        """The weights, copied."""
        return [np.array(w) for w in self.weights]

    def reset(self) -> None:
        """Fresh copies of the initial weights, since those in use are donated."""
        self.weights = tuple(self.jax.numpy.copy(w) for w in self.initial)

    def wait(self) -> None:
        """``jax.block_until_ready``."""
        self.jax.block_until_ready((self.weights, self._losses))

    def close(self) -> None:
        """Drop all arrays."""
        self.compiled = self.images = self.labels = self._losses = None
        self.initial, self.weights = (), ()


def _epoch(learning_rate: float, unroll: int):
    import jax
    from jax import numpy as jnp

    def step(weights: Any, batch: Any) -> Any:
        wh, bh, wo, bo = weights
        x, labels = batch
        before_relu = x @ wh.T + bh
        hidden = jnp.maximum(before_relu, 0)
        p = jax.nn.sigmoid(hidden @ wo.T + bo)
        t = jax.nn.one_hot(labels, 10)
        loss = -jnp.mean(t * jnp.log(p + 1e-8) + (1 - t) * jnp.log(1 - p + 1e-8))
        grad = (p - t) / len(x)
        grad_hidden = (grad @ wo) * (before_relu >= 0)
        gradients = grad_hidden.T @ x, grad_hidden.sum(0), grad.T @ hidden, grad.sum(0)
        return tuple(w - learning_rate * g for w, g in zip(weights, gradients)), loss

    def epoch(weights: Any, images: Any, labels: Any) -> Any:
        return jax.lax.scan(step, weights, (images, labels), unroll=unroll)

    return epoch
