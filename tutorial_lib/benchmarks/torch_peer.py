"""PyTorch: `python -m tutorial_lib.benchmarks.torch_peer --form graph --hidden 512`.

Each form does the work of the published step on resident images: the published loss of each batch,
``(p - t) / n`` as the gradient of the logits, plain gradient descent. A step takes x (n, 784) and
t (n, 10), and fills in p (n, 10), from which the losses of all batches are then computed at once.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from tutorial_lib import backend
from tutorial_lib.benchmarks.contest import LEARNING_RATE, TF32, Absent, Epoch, Problem, main


def step_of(form: str, weights: list[Any], n: int) -> Callable[[Any, Any, Any], None]:
    """The step in one of its forms, for batches of n images."""
    import torch
    from torch.nn.functional import linear

    wh, bh, wo, bo = weights
    rate, ones = LEARNING_RATE / n, torch.ones(n, device=bo.device)
    optimizer = torch.optim.SGD(weights, lr=LEARNING_RATE, fused=backend.name == "gpu")

    def eager(x: Any, t: Any, p: Any) -> None:
        """As one writes it: autograd, given the gradient of the logits, and an optimizer."""
        logits = linear(linear(x, wh, bh).relu(), wo, bo)
        torch.sigmoid(logits.detach(), out=p)
        logits.backward((p - t) / n)
        optimizer.step()
        optimizer.zero_grad()

    def by_hand(x: Any, t: Any, p: Any) -> None:
        """Eleven operations: four add a scaled gradient to a weight, in place."""
        hidden = torch.addmm(bh, x, wh.T).relu_()  # (n, H)
        torch.sigmoid(torch.addmm(bo, hidden, wo.T), out=p)
        grad = p - t
        grad_hidden = torch.ops.aten.threshold_backward(grad @ wo, hidden, 0)  # (n, H)
        wo.addmm_(grad.T, hidden, alpha=-rate)
        bo.addmv_(grad.T, ones, alpha=-rate)
        wh.addmm_(grad_hidden.T, x, alpha=-rate)
        bh.addmv_(grad_hidden.T, ones, alpha=-rate)

    def for_compiler(x: Any, t: Any, p: Any, wh: Any, bh: Any, wo: Any, bo: Any) -> None:
        """Through ``torch.compile``, each update is a matmul and one fused kernel."""
        hidden = torch.addmm(bh, x, wh.T).relu()  # (n, H)
        probabilities = torch.sigmoid(torch.addmm(bo, hidden, wo.T))
        grad = probabilities - t
        grad_hidden = (grad @ wo) * (hidden > 0)  # (n, H)
        wo -= rate * (grad.T @ hidden)
        bo -= rate * grad.sum(dim=0)
        wh -= rate * (grad_hidden.T @ x)
        bh -= rate * grad_hidden.sum(dim=0)
        p.copy_(probabilities)

    if form == "compiled":
        compiled = torch.compile(for_compiler, dynamic=False, fullgraph=True)
        return lambda x, t, p: compiled(x, t, p, *weights)
    return eager if form == "eager" else by_hand


def captured(epoch: Epoch, weights: list[Any]) -> Epoch:
    """The epoch as one CUDA graph, the weights as they were; Absent without a GPU."""
    import torch

    if backend.name != "gpu":
        raise Absent("a CUDA graph needs a GPU")
    initial, graph = [w.clone() for w in weights], torch.cuda.CUDAGraph()
    epoch()  # compiles, and sets up the libraries
    with torch.cuda.graph(graph):
        losses = epoch()
    for w, value in zip(weights, initial):
        w.copy_(value)

    def replay() -> Any:
        graph.replay()
        return losses

    return replay


def peer(problem: Problem, options: Namespace) -> Epoch:
    """PyTorch in one of its forms; all but the eager one are captured."""
    import torch

    eager = options.form == "eager"
    device = "cuda" if backend.name == "gpu" else "cpu"
    torch.set_float32_matmul_precision("high" if problem.arithmetic == TF32 else "highest")
    images, labels, initial = problem.in_numpy()
    images, labels = torch.tensor(images, device=device), torch.tensor(labels, device=device)
    weights = [torch.tensor(w, device=device, requires_grad=eager) for w in initial]
    classes = torch.arange(10, device=device)
    probabilities = torch.empty((*labels.shape, 10), device=device)
    step = step_of(options.form, weights, problem.batch)

    def epoch() -> Any:
        targets = (labels[..., None] == classes).float()  # (steps, n, 10)
        for i in range(problem.steps):
            step(images[i], targets[i], probabilities[i])
        entropy = targets * (probabilities + 1e-8).log()
        entropy += (1 - targets) * (1 - probabilities + 1e-8).log()
        return -entropy.mean(dim=(1, 2))

    return epoch if eager else captured(epoch, weights)


if __name__ == "__main__":
    main(peer, form=("eager", "graph", "compiled"))
