"""The operations of a training step that are no matmul: in plain CuPy, fused, as kernels in C."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import Array, random, to_numpy, xp
from tutorial_lib.benchmarks.contest import need_gpu
from tutorial_lib.benchmarks.fusion import in_a_graph, spread
from tutorial_lib.benchmarks.profiler import count, kernels
from tutorial_lib.timing import measure

fuse = getattr(xp, "fuse", lambda function: function)  # NumPy runs the operations one by one
EPS, RATE = 1e-8, 0.1
SOURCES = tuple(f"benchmarks/{name}.py" for name in ("elementwise", "fusion", "profiler"))


def output(z: Array, t: Array, n: int) -> tuple[Array, Array]:
    """Probabilities and the mean loss's gradient, of n images' logits z and targets t (n, 10)."""
    p = 1 / (1 + xp.exp(-z))
    return p, (p - t) / n


def loss(p: Array, t: Array, size: int) -> Array:
    """The mean binary cross-entropy of `size` probabilities p with targets t: a scalar array."""
    return -xp.sum((t * xp.log(p + EPS) + (1 - t) * xp.log(1 - p + EPS)) / size)


def update(gradient: Array, learning_rate: float, parameter: Array) -> None:
    """A step of gradient descent, in place."""
    parameter -= learning_rate * gradient


def hidden(x: Array, bias: Array) -> tuple[Array, Array]:
    """Bias (H, 1), ReLU and its mask, after the product x (H, n)."""
    z = x + bias
    return xp.maximum(z, 0), z >= 0


# As kernels: what each reads, what it writes, and C for one element; in a sum, what follows, too.
LOSS = f"(t * log(p + {EPS}f) + (1 - t) * log(1 - p + {EPS}f)) / size"
C = {
    output: ("T z, T t, int32 m", "T p, T g", "p = 1 / (1 + exp(-z)); g = (p - t) / m"),
    loss: ("T p, T t, int32 size", "T mean", LOSS, "a + b", "mean = -a", "0"),
    update: ("T gradient, float32 rate", "T parameter", "parameter -= rate * gradient"),
    hidden: ("T x, T b", "T y, bool open", "T z = x + b; y = z < 0 ? T(0) : z; open = z >= 0"),
}


def forms(function: Callable) -> dict[str, Callable]:
    """The function as it stands, fused and, on a GPU, as a kernel."""
    found = {"plain": function, "fuse": fuse(function)}
    if backend.name == "gpu":
        kind = xp.ReductionKernel if function is loss else xp.ElementwiseKernel
        found["kernel"] = kind(*C[function], name=function.__name__)
    return found


def arguments(h: int, n: int = 256) -> dict[Callable, tuple]:
    """What each function gets in a step on n images with h hidden units."""
    draw = partial(random.uniform, -1, 1, dtype=xp.float32)
    z, t, p = draw((n, 10)), abs(draw((n, 10))), abs(draw((n, 10)))
    step = draw((h, 784)), RATE, draw((h, 784))
    return dict(zip(C, ((z, t, n), (p, t, p.size), step, (draw((h, n)), draw((h, 1))))))


def outcome(call: Callable, given: tuple) -> list[np.ndarray]:
    """What a form computes from copies of its arguments; the update changes the last of them."""
    given = [x.copy() if isinstance(x, Array) else x for x in given]
    found = call(*given)
    found = given[-1] if found is None else found
    return [to_numpy(x) for x in (found if isinstance(found, tuple) else [found])]


def run() -> None:
    """Check and time every form, print, write ``book/results/elementwise.json``."""
    need_gpu("the operations are timed")
    rows = []
    for h, function in product((30, 512, 8192), C):
        given = arguments(h)[function]
        for form, call in forms(function).items():
            for ours, plain in zip(outcome(call, given), outcome(function, given)):
                np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)
            work = partial(call, *given)
            row = {"of": function.__name__, "h": h, "form": form, "kernels": count(kernels(work))}
            row |= {"graph": in_a_graph(work), "python": spread(measure(work, repeats=50).host, 1)}
            print(*row.values(), flush=True)
            rows.append(row)
    what = "a step's operations beside the matmuls: kernels; microseconds in a graph, of Python"
    results.write("elementwise", {"what": what, "rows": rows}, sources=SOURCES)
