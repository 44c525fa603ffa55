"""The Matmul of nvmath on NumPy, with cuBLASLt's habits where a caller sees them.

Arrays are held, not copied: change a weight in place and the next `execute` reads the change. A
tensor of torch is copied, as nvmath copies what lies on the CPU.
Source: `nvmath.linalg.advanced.Matmul <https://docs.nvidia.com/cuda/nvmath-python/>`_ 1.0.
"""

from typing import Any

import numpy as np

from tutorial_lib.reference import epilogs, refusals, streams, tensors
from tutorial_lib.reference.epilogs import Array, Arrays, MatmulEpilog
from tutorial_lib.reference.layouts import HALF, Layout, batch_of, matrix, memory_order, stack
from tutorial_lib.reference.options import Algorithm, MatmulOptions, MatmulPlanPreferences, coerce
from tutorial_lib.reference.stated import StatedMatmul


class Matmul(StatedMatmul):
    """``epilog(alpha * a @ b + beta * c)``: stated once, planned once, executed many times.

    a (M, K), b (K, N), c (M, N) or (M, 1), of one dtype: float16, bfloat16 (of ml_dtypes), float32
    or float64; with a and b of half precision, c may be float32, and then the result is, too. Each
    row- or column-major, NumPy's or, except for bfloat16, torch's on the CPU. Of a batch, a or b is
    (B, ..., ...); so may be c and inputs.
    The result, (M, N) or (B, M, N), has the memory order of c; without a c, it is column-major if
    the epilog needs that, else in the order of a. Raises ValueError for operands that do not fit or
    that nvmath would read as other memory, InvalidMatmulState after `free`. Ignores `stream`.
    """

    def plan(
        self,
        *,
        preferences: MatmulPlanPreferences | dict[str, Any] | None = None,
        algorithms: Any = None,
        epilog: MatmulEpilog | None = None,
        epilog_inputs: Arrays | None = None,
        stream: Any = None,
    ) -> tuple[Algorithm, ...]:
        """Choose the epilog, hold its inputs, return the algorithms, of which NumPy has one.

        Raises ValueError for a missing, surplus or ill-shaped epilog input, AssertionError for
        DEFAULT (plan without an epilog instead) and for algorithms that no plan returned, TypeError
        for unknown preferences, cuBLASLtError for what cuBLASLt does not support, as a plan after
        one with another epilog. After an error the Matmul is not planned.
        """
        self.require_not_freed()
        streams.refuse("planning a matmul")
        self.logger.info("= PLANNING PHASE =")
        self.planned, self.inputs, self.input_layouts = False, {}, {}
        coerce(MatmulPlanPreferences, preferences)
        if epilog is None and epilog_inputs is not None:
            ignored = "Matmul: epilog inputs %s are ignored, since there is no epilog"
            self.logger.warning(ignored, sorted(epilog_inputs))
        self.inputs = refusals.check_inputs(self.layouts, epilog, epilog_inputs, self.package)
        self.input_layouts = {name: Layout.of(x) for name, x in self.inputs.items()}
        if epilog is not None:
            self.logger.info("The specified epilog is %s.", epilog.name)
            self.earlier.add(epilog)
        given = (Algorithm(),) if algorithms is None else algorithms
        self.algorithms = refusals.check_algorithms(given)
        a, b, c = map(self.layouts.get, "abc")
        refusals.check_supported(self.earlier, epilog, a, b, c)
        column_major = c is None and epilog in epilogs.COLUMN_MAJOR
        self.epilog, self.order = epilog, "F" if column_major else memory_order(c or a)
        self.planned = True
        return self.algorithms

    def autotune(
        self,
        iterations: int = 10,
        prune: int | None = None,
        release_workspace: bool = False,
        stream: Any = None,
    ) -> None:
        """Nothing to choose between: NumPy has one algorithm. RuntimeError before `plan`."""
        self._require_plan("Autotuning")
        self.logger.info("= AUTOTUNING PHASE =")

    def execute(
        self, *, algorithm: Any = None, release_workspace: bool = False, stream: Any = None
    ) -> Array | tuple[Array, Arrays]:
        """The result; with extra outputs, the pair (result, {name: output}).

        Of a batch, a gradient of the bias is (B, M, 1), or (B, N, 1) for BGRADB. Raises
        RuntimeError before `plan`, ValueError for an algorithm that the plan did not return.
        """
        self._require_plan("Execution")
        self.logger.info("= EXECUTION PHASE =")
        if algorithm is not None and algorithm not in self.algorithms:
            raise ValueError("the algorithm is none of those that plan() returned")
        self.last_capture = streams.recording
        alpha, beta = streams.plain([self.alpha, self.beta])  # on the host
        if "c" not in self.operands and beta[0] != 0:
            raise AssertionError("beta was reset unchecked, but there is no operand c")
        d, outputs = streams.launch(self._compute, self.operands, self.inputs, alpha[0], beta[0])
        d = tensors.returned(self.operands["c"] if self.options.inplace else d, self.package)
        if self.options.inplace and self.package == "torch":
            d = self.given_c.copy_(d)
        outputs = {name: tensors.returned(x, self.package) for name, x in outputs.items()}
        return (d, outputs) if outputs else d

    def _compute(self, operands: Arrays, inputs: Arrays, alpha: float, beta: float):
        """What the memory of the operands gives, read as the plan reads it. With operands of half
        precision, all is computed in float32; what is written is rounded to the result's type."""
        self.require_not_freed()
        operands = {name: self.layouts[name].read(x) for name, x in operands.items()}
        inputs = {name: self.input_layouts[name].read(x) for name, x in inputs.items()}

        def rounded(x: Array, order: str) -> Array:
            return x if x.dtype == np.uint8 else x.astype(self.result_dtype, order, copy=False)

        def product(i: int):
            a, b, c = (matrix(operands.get(name), i) for name in "abc")
            call = epilogs.Call(a, b, {name: matrix(x, i) for name, x in inputs.items()})
            call.written_as = self.result_dtype if self.result_dtype.name in HALF else None
            d = epilogs.compute(call, c, alpha, beta, self.epilog, self.order)
            extra = {name: rounded(x, "F") for name, x in call.outputs.items()}
            return rounded(d, self.order), extra

        if batch := batch_of(operands["a"], operands["b"]):
            matrices, extra = zip(*map(product, range(*batch)))
            d = stack(matrices, self.order)
            outputs = {name: stack([x[name] for x in extra], "F") for name in extra[0]}
        else:
            d, outputs = product(0)
        if self.options.inplace:
            operands["c"][...], d = d, None
        return d, outputs

    def _require_plan(self, what: str) -> None:
        self.require_not_freed()
        if not self.planned:
            raise RuntimeError(f"{what} cannot be performed before plan() has been called")


def matmul(
    a: Array,
    b: Array,
    /,
    c: Array | None = None,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    epilog: MatmulEpilog | None = None,
    epilog_inputs: Arrays | None = None,
    options: MatmulOptions | dict[str, Any] | None = None,
    preferences: MatmulPlanPreferences | dict[str, Any] | None = None,
    stream: Any = None,
) -> Array | tuple[Array, Arrays]:
    """One matmul, stated, planned, executed and freed: see `Matmul`."""
    with Matmul(a, b, c, alpha=alpha, beta=beta, options=options) as mm:
        mm.plan(epilog=epilog, epilog_inputs=epilog_inputs, preferences=preferences)
        return mm.execute()
