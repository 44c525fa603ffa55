"""PyTorch, one operation after another: autograd and ``torch.optim.SGD``."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tutorial_lib import backend
from tutorial_lib.benchmarks.contestant import TF32, Absent, Contestant, Problem, require_arithmetic


class TorchContestant(Contestant):
    """What the PyTorch contestants share: data, weights, targets, the loss.

    On the backend's device: `images` (steps, n, 784), `labels` (steps, n), `weights`, and
    `probabilities` (steps, n, 10), which each step fills in. The losses of all batches are then
    computed from them at once.
    """

    def __init__(self, problem: Problem, arithmetic: str) -> None:
        require_arithmetic(arithmetic)
        import torch

        self.torch, self.problem, self.arithmetic = torch, problem, arithmetic
        self.device = "cuda" if backend.name == "gpu" else "cpu"
        if self.device == "cuda" and not torch.cuda.is_available():
            raise Absent(f"PyTorch {torch.__version__} does not see the GPU")
        images, labels = problem.batches
        self.images = torch.from_numpy(images).to(self.device)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.initial = [torch.from_numpy(w).to(self.device) for w in problem.weights]
        self.weights = [w.clone() for w in self.initial]
        self.classes = torch.arange(10, device=self.device)
        self.probabilities = torch.empty((*self.labels.shape, 10), device=self.device)
        self._losses: Any = None

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """PyTorch's float32 matmuls in this contestant's arithmetic; then as it was."""
        before = self.torch.get_float32_matmul_precision()
        self.torch.set_float32_matmul_precision("high" if self.arithmetic == TF32 else "highest")
        try:
            yield
        finally:
            self.torch.set_float32_matmul_precision(before)

    def targets(self) -> Any:
        """All labels as rows with a single 1: (steps, n, 10)."""
        return (self.labels[..., None] == self.classes).to(self.torch.float32)

    def batch_losses(self, targets: Any) -> Any:
        """The published loss of each batch, (steps,), from `probabilities`."""
        return mean_losses(self.torch, self.probabilities, targets)

    def losses(self) -> np.ndarray:
        """The losses of the last epoch, copied."""
        return self._losses.detach().cpu().numpy().copy()

    def parameters(self) -> list[np.ndarray]:
        """The weights, copied."""
        return [w.detach().cpu().numpy().copy() for w in self.weights]

    def reset(self) -> None:
        """Write the initial weights into the buffers."""
        with self.torch.no_grad():
            for w, initial in zip(self.weights, self.initial):
                w.copy_(initial)

    def wait(self) -> None:
        """``torch.cuda.synchronize``."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def close(self) -> None:
        """Drop all tensors and hand PyTorch's cached memory back."""
        self.images = self.labels = self.probabilities = self._losses = None
        self.initial, self.weights = [], []
        if self.device == "cuda":
            self.torch.cuda.empty_cache()


def mean_losses(torch: Any, p: Any, t: Any) -> Any:
    """``binary_cross_entropy`` of each batch: p and t (steps, n, 10), losses (steps,)."""
    eps = 1e-8
    return -(t * torch.log(p + eps) + (1 - t) * torch.log(1 - p + eps)).mean(dim=(1, 2))


class TorchEager(TorchContestant):
    """The step as one writes it: linear, ReLU, linear, backward, a fused ``torch.optim.SGD``.

    The published gradient of the logits goes into autograd, so no loss has to be differentiated.
    """

    def __init__(self, problem: Problem, arithmetic: str) -> None:
        super().__init__(problem, arithmetic)
        for w in self.weights:
            w.requires_grad_()
        self.optimizer = self.torch.optim.SGD(
            self.weights, lr=problem.learning_rate, fused=self.device == "cuda"
        )

    def epoch(self) -> None:
        """All batches, from Python."""
        linear = self.torch.nn.functional.linear
        wh, bh, wo, bo = self.weights
        with self.precision():
            targets = self.targets()
            for x, t, p in zip(self.images, targets, self.probabilities):
                logits = linear(linear(x, wh, bh).relu(), wo, bo)
                self.torch.sigmoid(logits.detach(), out=p)
                logits.backward((p - t) / len(x))
                self.optimizer.step()
                self.optimizer.zero_grad()
            self._losses = self.batch_losses(targets)
