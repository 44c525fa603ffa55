"""PyTorch without Python in the way: the whole epoch captured in one CUDA graph."""

import gc
from collections.abc import Callable
from typing import Any

from tutorial_lib.benchmarks.contestant import Absent, Problem
from tutorial_lib.benchmarks.peers.torch_eager import TorchContestant


class TorchGraph(TorchContestant):
    """The step written out by hand, updates inside the matmuls, and captured for all batches.

    Eleven operations: ``addmm_`` adds the scaled gradient to a weight in place, ``addmv_`` sums
    over the batch into a bias.
    """

    def __init__(self, problem: Problem, arithmetic: str) -> None:
        super().__init__(problem, arithmetic)
        torch = self.torch
        if self.device == "cpu":
            raise Absent("CUDA graphs need a GPU")
        self.step = self.make_step()  # the graph launches its kernels: kept as long
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        collects = gc.isenabled()
        with torch.no_grad(), self.precision():
            with torch.cuda.stream(side):  # compiles, and sets up the libraries
                for _ in range(3):
                    self.run(steps=2)
            current.wait_stream(side)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            gc.collect()
            gc.disable()  # what is collected during a capture may break it
            try:
                # thread_local: other frameworks' threads may go on using CUDA meanwhile
                with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                    self.run(steps=problem.steps)
            finally:
                if collects:
                    gc.enable()
        self.reset()

    def run(self, *, steps: int) -> None:
        """The first batches, the step of each and their losses: what is captured."""
        targets = self.targets()
        for i in range(steps):
            self.step(*self.weights, self.images[i], targets[i], self.probabilities[i])
        self._losses = self.batch_losses(targets)

    def make_step(self) -> Callable[..., None]:
        """``step(wh, bh, wo, bo, x, t, p)``: changes the weights, writes the probabilities."""
        torch, rate = self.torch, self.problem.learning_rate / self.problem.batch_size
        ones = torch.ones(self.problem.batch_size, device=self.device)

        def step(wh: Any, bh: Any, wo: Any, bo: Any, x: Any, t: Any, p: Any) -> None:
            hidden = torch.addmm(bh, x, wh.T).relu_()
            torch.sigmoid(torch.addmm(bo, hidden, wo.T), out=p)
            grad = p - t
            grad_hidden = torch.ops.aten.threshold_backward(grad @ wo, hidden, 0)
            wo.addmm_(grad.T, hidden, alpha=-rate)
            bo.addmv_(grad.T, ones, alpha=-rate)
            wh.addmm_(grad_hidden.T, x, alpha=-rate)
            bh.addmv_(grad_hidden.T, ones, alpha=-rate)

        return step

    def epoch(self) -> None:
        """One launch of the graph."""
        self.graph.replay()

    def close(self) -> None:
        """Drop the graph before the tensors that it writes to."""
        self.wait()
        self.graph = self.step = None
        super().close()


class TorchCompiled(TorchGraph):
    """The step through ``torch.compile``, which fuses what is between the matmuls; captured."""

    def make_step(self) -> Callable[..., None]:
        """The compiled step; each update is a matmul and one fused kernel."""
        torch, rate = self.torch, self.problem.learning_rate / self.problem.batch_size

        def step(wh: Any, bh: Any, wo: Any, bo: Any, x: Any, t: Any, p: Any) -> None:
            hidden = torch.addmm(bh, x, wh.T).relu()
            probabilities = torch.sigmoid(torch.addmm(bo, hidden, wo.T))
            grad = probabilities - t
            grad_hidden = (grad @ wo) * (hidden > 0)
            wo -= rate * (grad.T @ hidden)
            bo -= rate * grad.sum(dim=0)
            wh -= rate * (grad_hidden.T @ x)
            bh -= rate * grad_hidden.sum(dim=0)
            p.copy_(probabilities)

        return torch.compile(step, dynamic=False, fullgraph=True)

    def close(self) -> None:
        """Forget the compiled step, too."""
        super().close()
        self.torch._dynamo.reset()
