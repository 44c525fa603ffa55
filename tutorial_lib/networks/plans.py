"""How a network's matmuls are planned: checked or not, by the first or the fastest algorithm."""

from typing import Any

from tutorial_lib import kernels
from tutorial_lib.backend import Array, Matmul, MatmulComputeType, MatmulEpilog, MatmulOptions, xp
from tutorial_lib.graphs import captured_time
from tutorial_lib.networks.inputs import place

# Of the matmuls in the book's own kernels, by compute type.
PRECISIONS = {None: "tf32x3", MatmulComputeType.COMPUTE_32F: "tf32x3"}
PRECISIONS |= {MatmulComputeType.COMPUTE_32F_FAST_TF32: "tf32"}


class Plans:
    """Each matmul planned when it first comes, and its operands checked whenever they are new.

    `compute_type` is the arithmetic of the matmuls, by default that of their operands' type.
    """

    def __init__(self, compute_type: int | None = None) -> None:
        self.compute_type = compute_type
        self.planned: dict[tuple, Matmul] = {}  # by name and shapes
        self.algorithms: dict[tuple, Any] = {}  # what each of them is run with
        self.places: dict[tuple, dict[str, tuple]] = {}  # where the operands of each of them lie

    def run(
        self,
        name: str,
        a: Array,
        b: Array,
        c: Array | None = None,
        *,
        alpha: float | None = None,
        epilog: MatmulEpilog | None = None,
        inputs: dict[str, Array] | None = None,
    ) -> Any:
        """``epilog(alpha a b + c)`` for a (M, K), b (K, N), written into c (M, N) if there is one.

        Planned at the first call with that `name` and these shapes; it keeps that call's c, epilog.
        """
        key = name, a.shape, b.shape
        operands = {"a": a, "b": b, "epilog_inputs": inputs}
        if key in self.planned:
            self.reset(key, alpha, operands)
        else:
            options = MatmulOptions(inplace=c is not None, compute_type=self.compute_type)
            mm = Matmul(a, b, c, alpha=alpha, beta=None if c is None else 1.0, options=options)
            try:
                self.algorithms[key] = self.plan(mm, c, epilog=epilog, epilog_inputs=inputs)
            except Exception:
                mm.free()
                raise
            self.planned[key], self.places[key] = mm, place(operands)
        return self.planned[key].execute(algorithm=self.algorithms[key])

    def descend(self, name: str, weights: Array, a: Array, b: Array, learning_rate: float) -> None:
        """``weights -= learning_rate · a b`` in place: weights (M, N), a (M, n), b (n, N)."""
        self.run(name, a, b, weights, alpha=-learning_rate)

    def plan(self, mm: Matmul, c: Array | None, **epilog: Any) -> Any:
        """Plan the matmul; returns the algorithm to run it with, None for cuBLASLt's first."""
        mm.plan(**epilog)

    def reset(self, key: tuple, alpha: float | None, operands: dict[str, Any]) -> None:
        """Give a planned matmul those operands that do not lie where it reads them already."""
        before, now = self.places[key], place(operands)
        moved = {name: x for name, x in operands.items() if now[name] != before[name]}
        if moved or alpha is not None:
            self.planned[key].reset_operands(**moved, alpha=alpha)
            self.places[key] = now

    def free(self) -> None:
        """Free all plans."""
        while self.planned:
            self.planned.popitem()[1].free()


class UncheckedPlans(Plans):
    """Each operand checked when its matmul is planned, and never again.

    After that, ``reset_operands_unchecked`` swaps pointers and trusts you: an array of another
    dtype or memory order gives wrong numbers, or a crash.
    """

    def reset(self, key: tuple, alpha: float | None, operands: dict[str, Any]) -> None:
        """Swap the pointers."""
        self.planned[key].reset_operands_unchecked(**operands, alpha=alpha)


class MeasuredPlans(UncheckedPlans):
    """Unchecked, and each matmul's algorithm chosen by timing all candidates inside a graph."""

    def plan(self, mm: Matmul, c: Array | None, **epilog: Any) -> Any:
        """The algorithm that is fastest among its own repetitions, in a graph."""
        algorithms = mm.plan(**epilog, preferences={"limit": 32})  # of them at most
        if len(algorithms) == 1:
            return None
        before = None if c is None else c.copy()
        fastest = min(algorithms, key=lambda one: captured_time(lambda: mm.execute(algorithm=one)))
        if c is not None:
            c[...] = before  # what the timed updates changed
        return fastest


class OwnEpilogPlans(UncheckedPlans):
    """RELU_AUX_BIAS and DRELU_BGRAD by the book's own kernels, one each; the rest by nvmath.

    Float64, and a compute type that the kernels do not have, stay with nvmath as well.
    """

    def run(self, name: str, a: Array, b: Array, c: Array | None = None, **plan: Any) -> Any:
        """As `Plans.run`; with one of the two epilogs, a launch of a kernel that needs no plan."""
        epilog, precision = plan.get("epilog"), PRECISIONS.get(self.compute_type)
        own = precision and a.dtype != xp.float64
        if own and epilog == MatmulEpilog.RELU_AUX_BIAS:
            y, mask = kernels.relu_aux_bias(a, b, plan["inputs"]["bias"], precision=precision)
            return y, {"relu_aux": mask}
        if own and epilog == MatmulEpilog.DRELU_BGRAD:
            d, sums = kernels.drelu_bgrad(a, b, plan["inputs"]["relu_aux"], precision=precision)
            return d, {"drelu_bgrad": sums}
        return super().run(name, a, b, c, **plan)
