"""The steps that the sweep enqueues, each network's without what would wait for the GPU."""

from tutorial_lib.benchmarks.contestant import Problem
from tutorial_lib.benchmarks.rungs import Rung
from tutorial_lib.functions import one_hot

STEPS = 16  # launched one by one, these stay below what CUDA's queue holds
EPOCH = 234  # steps in one captured epoch


class Steps(Rung):
    """The step of the plain or the published network, on batches and targets made beforehand."""

    def __init__(self, problem: Problem, arithmetic: str, *, network: str) -> None:
        super().__init__(problem, arithmetic, network=network)
        n = problem.batch_size
        batches = [slice(i * n, (i + 1) * n) for i in range(problem.steps)]
        self.batches = [(problem.images[b], one_hot(problem.labels[b], 10)) for b in batches]

    def epoch(self) -> None:
        """One step for each batch."""
        rate = self.problem.learning_rate
        for images, targets in self.batches:
            predictions = self.model.forward(images)
            gradients = self.model.backward((predictions - targets) / len(images))
            for parameter, gradient in zip(self.model.parameters, gradients):
                parameter -= rate * gradient


# name: how it is built, its network, the steps that are enqueued at once
NETWORKS: dict[str, tuple[type[Rung], str, int]] = {
    "naive CuPy": (Steps, "naive", STEPS),
    "published fused": (Steps, "fused", STEPS),
    "update in the matmul": (Rung, "inplace", STEPS),
    "captured epoch": (Rung, "captured", EPOCH),
}
