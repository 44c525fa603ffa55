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

MODES = {"compiled": None, "autotuned": "max-autotune-no-cudagraphs"}  # captured all the same


def step_of(form: str, weights: list[Any], copies: list[Any], n: int) -> Callable[..., None]:
    """The step in one of its forms, for batches of n images. In half precision, the matmuls read
    `copies` of the weights, rounded anew by each step; otherwise these are the weights."""
    import torch
    from torch.nn.functional import linear

    rate, ones = LEARNING_RATE / n, torch.ones(n, device=weights[0].device)
    optimizer = torch.optim.SGD(weights, lr=LEARNING_RATE, fused=backend.name == "gpu")
    rounded, compiles = copies is not weights, form in MODES

    def eager(x: Any, t: Any, p: Any) -> None:
        """As one writes it: autograd, given the gradient of the logits, and an optimizer."""
        wh, bh, wo, bo = weights
        logits = linear(linear(x, wh, bh).relu(), wo, bo)
        torch.sigmoid(logits.detach(), out=p)
        logits.backward((p - t) / n)
        optimizer.step()
        optimizer.zero_grad()

    def descend(w: Any, a: Any, b: Any) -> None:
        """``w -= rate a b`` in the float32 of w, in one matmul; ``torch.compile`` takes a matmul
        and a fused kernel. Its gradients are rounded once more, as autograd's are."""
        if compiles:
            w -= rate * (a @ b).float()
        elif rounded and backend.name == "gpu":
            torch.addmm(w, a, b, torch.float32, alpha=-rate, out=w)
        else:  # on the CPU, torch has no product of another type than its operands
            w.addmm_(a.float(), b.float(), alpha=-rate)

    def descend_bias(b: Any, grad: Any) -> None:
        if compiles or grad.dtype != torch.float32:
            b -= rate * grad.sum(dim=0, dtype=torch.float32)
        else:
            b.addmv_(grad.T, ones, alpha=-rate)

    def by_hand(x: Any, t: Any, p: Any, weights: list[Any], copies: list[Any]) -> None:
        """Eleven operations: four add a scaled gradient to a weight, in place."""
        wh, bh, wo, bo = copies
        if form == "activation":  # one less
            hidden = torch._addmm_activation(bh, x, wh.T)  # (n, H)
        else:
            hidden = torch.addmm(bh, x, wh.T).relu_()
        torch.sigmoid(torch.addmm(bo, hidden, wo.T).float(), out=p)
        grad = p - t
        narrow = grad.to(x.dtype)
        grad_hidden = torch.ops.aten.threshold_backward(narrow @ wo, hidden, 0)  # (n, H)
        descend(weights[2], narrow.T, hidden)
        descend_bias(weights[3], grad)
        descend(weights[0], grad_hidden.T, x)
        descend_bias(weights[1], grad_hidden)
        if rounded and compiles:
            for w, copy in zip(weights, copies):
                copy.copy_(w)
        elif rounded:
            torch._foreach_copy_(copies, weights)

    if form == "eager":
        return eager
    step = by_hand
    if compiles:
        step = torch.compile(by_hand, dynamic=False, fullgraph=True, mode=MODES[form])
    return lambda x, t, p: step(x, t, p, weights, copies)


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
    main(peer, "torch", form=("eager", "graph", "activation", *MODES))
