"""PyTorch: `python -m tutorial_lib.benchmarks.torch_peer --form graph --hidden 512`.

Each form does the published step on resident images. A step takes x (n, 784) and t (n, 10), and
fills in p (n, 10), from which the losses of all batches are then computed at once. In half
precision the weights and their updates stay float32, and p - t goes back undivided.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from tutorial_lib import backend
from tutorial_lib.benchmarks.contest import LEARNING_RATE, TF32, Absent, Epoch, Problem, main


def step_of(form: str, weights: list[Any], copies: list[Any], n: int) -> Callable[..., None]:
    """The step in one of its forms, for batches of n images. In half precision, the matmuls read
    `copies` of the weights, rounded anew by each step; otherwise these are the weights."""
    import torch
    from torch.nn.functional import linear

    rate, ones = LEARNING_RATE / n, torch.ones(n, device=weights[0].device)
    optimizer = torch.optim.SGD(weights, lr=LEARNING_RATE, fused=backend.name == "gpu")
    rounded = copies is not weights

    def eager(x: Any, t: Any, p: Any) -> None:
        """As one writes it: autograd, given the gradient of the logits, and an optimizer."""
        wh, bh, wo, bo = weights
        logits = linear(linear(x, wh, bh).relu(), wo, bo)
        torch.sigmoid(logits.detach(), out=p)
        logits.backward((p - t) / n)
        optimizer.step()
        optimizer.zero_grad()

    def descend(w: Any, a: Any, b: Any) -> None:
        """``w -= rate a b`` in the float32 of w, in one matmul."""
        if rounded and backend.name == "gpu":
            torch.addmm(w, a, b, torch.float32, alpha=-rate, out=w)
        else:  # on the CPU, torch has no product of another type than its operands
            w.addmm_(a.float(), b.float(), alpha=-rate)

    def by_hand(x: Any, t: Any, p: Any) -> None:
        """Eleven operations: four add a scaled gradient to a weight, in place."""
        wh, bh, wo, bo = copies
        main_wh, main_bh, main_wo, main_bo = weights
        hidden = torch.addmm(bh, x, wh.T).relu_()  # (n, H)
        torch.sigmoid(torch.addmm(bo, hidden, wo.T).float(), out=p)
        grad = p - t
        narrow = grad.to(x.dtype)
        grad_hidden = torch.ops.aten.threshold_backward(narrow @ wo, hidden, 0)  # (n, H)
        descend(main_wo, narrow.T, hidden)
        main_bo.addmv_(grad.T, ones, alpha=-rate)
        descend(main_wh, grad_hidden.T, x)
        if rounded:
            main_bh.add_(grad_hidden.sum(dim=0, dtype=torch.float32), alpha=-rate)
            torch._foreach_copy_(copies, weights)
        else:
            main_bh.addmv_(grad_hidden.T, ones, alpha=-rate)

    def for_compiler(x: Any, t: Any, p: Any, weights: list[Any], copies: list[Any]) -> None:
        """Through ``torch.compile``, each update is a matmul and one fused kernel, in which half
        precision is rounded, too. Its gradients are rounded once more, as autograd's are."""
        wh, bh, wo, bo = copies
        hidden = torch.addmm(bh, x, wh.T).relu()  # (n, H)
        probabilities = torch.sigmoid(torch.addmm(bo, hidden, wo.T).float())
        grad = probabilities - t
        narrow = grad.to(x.dtype)
        grad_hidden = (narrow @ wo) * (hidden > 0)  # (n, H)
        sums = grad_hidden.sum(dim=0, dtype=torch.float32), grad.sum(dim=0)
        gradients = grad_hidden.T @ x, sums[0], narrow.T @ hidden, sums[1]
        for w, copy, gradient in zip(weights, copies, gradients):
            w -= rate * gradient.float()
            if rounded:
                copy.copy_(w)
        p.copy_(probabilities)

    if form == "compiled":
        compiled = torch.compile(for_compiler, dynamic=False, fullgraph=True)
        return lambda x, t, p: compiled(x, t, p, weights, copies)
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
    dtype = getattr(torch, problem.arithmetic, torch.float32)  # TF32 is stored as float32
    if eager and dtype != torch.float32:
        raise Absent("the eager form is written for float32 and TF32")
    device = "cuda" if backend.name == "gpu" else "cpu"
    matmul = torch.backends.cuda.matmul  # sums in float32 throughout
    matmul.allow_fp16_reduced_precision_reduction = False
    matmul.allow_bf16_reduced_precision_reduction = False
    torch.set_float32_matmul_precision("high" if problem.arithmetic == TF32 else "highest")
    images, labels, initial = problem.in_numpy()
    images, labels = torch.tensor(images, device=device), torch.tensor(labels, device=device)
    images = images.to(dtype)
    weights = [torch.tensor(w, device=device, requires_grad=eager) for w in initial]
    classes = torch.arange(10, device=device)
    probabilities = torch.empty((*labels.shape, 10), device=device)
    copies = weights if dtype == torch.float32 else [w.to(dtype) for w in weights]
    step = step_of(options.form, weights, copies, problem.batch)

    def epoch() -> Any:
        targets = (labels[..., None] == classes).float()  # (steps, n, 10)
        for i in range(problem.steps):
            step(images[i], targets[i], probabilities[i])
        entropy = targets * (probabilities + 1e-8).log()
        entropy += (1 - targets) * (1 - probabilities + 1e-8).log()
        return -entropy.mean(dim=(1, 2))

    return epoch if eager else captured(epoch, [*weights, *copies])


if __name__ == "__main__":
    main(peer, form=("eager", "graph", "compiled"))
