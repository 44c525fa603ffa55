"""A matmul that has been stated: the operands that it holds, and how they give place to others."""

import contextlib
import logging
from typing import Any

import numpy as np

from tutorial_lib.reference import refusals, streams, tensors
from tutorial_lib.reference.epilogs import Array, Arrays, MatmulEpilog
from tutorial_lib.reference.layouts import Layout
from tutorial_lib.reference.options import MatmulComputeType, MatmulOptions, coerce


class StatedMatmul(contextlib.AbstractContextManager):
    """``alpha * a @ b + beta * c``, not planned yet: see `Matmul`, which adds the plan."""

    def __init__(
        self,
        a: Array,
        b: Array,
        /,
        c: Array | None = None,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        options: MatmulOptions | dict[str, Any] | None = None,
        stream: Any = None,
    ) -> None:
        self.planned = False
        self.options = coerce(MatmulOptions, options)
        self.logger = self.options.logger or logging.getLogger()
        self.logger.info("= SPECIFICATION PHASE =")
        given = {"a": a, "b": b} | ({} if c is None else {"c": c})
        self.operands: Arrays = refusals.check_operands(given, beta, self.options)
        self.package, self.given_c = tensors.package(a), c
        self.layouts = {name: Layout.of(x) for name, x in self.operands.items()}
        dtype = self.layouts["a"].dtype
        operands = "The data type of operand A is '%s', and that of operand B is '%s'."
        self.logger.info(operands, dtype, dtype)
        self.result_dtype = self.layouts.get("c", self.layouts["a"]).dtype
        self.logger.info("The data type for the result D is '%s'.", self.result_dtype)
        scale = np.result_type(dtype, np.float32)
        default = MatmulComputeType[f"COMPUTE_{8 * scale.itemsize}F"]
        self.logger.info("The compute type is %s.", (self.options.compute_type or default).name)
        self.alpha, self.beta = np.ones(1, scale), np.zeros(1, scale)
        self._set_scale("alpha", alpha)
        self._set_scale("beta", beta)
        self.inputs, self.input_layouts = {}, {}  # of the epilog
        self.last_capture: streams.Recording | None = None  # that the last call was part of
        self.earlier: set[MatmulEpilog] = set()  # the epilogs of all plans
        self.logger.info("The Matmul operation has been created.")

    def reset_operands(
        self,
        *,
        a: Array | None = None,
        b: Array | None = None,
        c: Array | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        epilog_inputs: Arrays | None = None,
        stream: Any = None,
    ) -> None:
        """Hold other operands, of the same shape, strides and dtype; those not named stay.

        ValueError for a mismatch or if nothing is named, KeyError for an epilog input that the plan
        does not have; what comes before it (alpha, beta, a, b, c, inputs) has changed.
        """
        self.require_not_freed()
        if c is not None and "c" not in self.operands:
            raise ValueError("this Matmul was made without an operand c, so c cannot be reset")
        if all(value is None for value in (a, b, c, alpha, beta, epilog_inputs)):
            raise ValueError("reset_operands needs at least one operand")
        self._set_scale("alpha", alpha)
        self._set_scale("beta", beta)
        self._replace({"a": a, "b": b, "c": c}, epilog_inputs or {}, checked=True)

    def reset_operands_unchecked(
        self,
        *,
        a: Array | None = None,
        b: Array | None = None,
        c: Array | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        epilog_inputs: Arrays | None = None,
        stream: Any = None,
    ) -> None:
        """Swap pointers: the next `execute` reads new memory with the layout of the old operand. A
        wrong one gives wrong numbers, or a ValueError where it lies outside the array's memory."""
        self.require_not_freed()
        for scale, value in ((self.beta, beta), (self.alpha, alpha)):
            if value is not None:
                scale[0] = value
        if c is not None and "c" not in self.operands:
            raise IndexError("this Matmul was made without an operand c")
        self._replace({"a": a, "b": b, "c": c}, epilog_inputs or {}, checked=False)

    def free(self) -> None:
        """Let go of operands and plan. Freeing twice is allowed, other use afterwards is not.

        RuntimeError if the last call was in a capture that failed: nvmath waits for its event.
        """
        if self.last_capture is not None and not self.last_capture.ended:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: the last call was in a failed capture")
        self.operands = self.inputs = self.given_c = None

    def require_not_freed(self) -> None:
        """Raise InvalidMatmulState after `free`."""
        if self.operands is None:
            raise refusals.InvalidMatmulState("this Matmul was freed; make a new one")

    def __exit__(self, *exception: object) -> None:
        self.free()

    def _replace(self, operands: Arrays, inputs: Arrays, *, checked: bool) -> None:
        """Hold other arrays; the numbers of tensors go to the memory of the copies."""
        operands = {name: x for name, x in operands.items() if x is not None}
        self.given_c = operands.get("c", self.given_c)
        for held, layouts, news in (
            (self.operands, self.layouts, operands),
            (self.inputs, self.input_layouts, inputs),
        ):
            for name, new in news.items():
                layout = layouts[name]
                if checked:
                    refusals.check_matches(new, layout, name, self.package)
                    shown = name.upper() if news is operands else name
                    self.logger.info("Operand '%s' has been reset to the new value.", shown)
                if self.package == "torch":
                    held[name][...] = tensors.as_array(new)
                else:
                    held[name] = new

    def _set_scale(self, name: str, value: float | None) -> None:
        """Write a number into `alpha` or `beta`, (1,), which is how nvmath converts it."""
        if name == "beta" and value is not None and "c" not in self.operands:
            self.logger.warning("Matmul: beta=%s is ignored, there is no operand c", value)
        elif value is not None:
            try:
                getattr(self, name)[0] = value
            except (TypeError, ValueError) as error:
                dtype = self.alpha.dtype
                raise ValueError(f"{name}={value!r} cannot be converted to {dtype}") from error
