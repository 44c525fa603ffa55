"""A matmul to be measured: its sizes, its arithmetic, its epilog, and operands for it."""

from typing import NamedTuple

from tutorial_lib import backend
from tutorial_lib.backend import Array, Matmul, MatmulComputeType, MatmulEpilog, MatmulOptions, xp
from tutorial_lib.reference.epilogs import gelu_shape, input_names, mask_shape

ARITHMETICS = ("float32", "tf32", "float16", "bfloat16")
FORWARD = ("RELU_BIAS", "RELU_AUX_BIAS", "GELU_AUX_BIAS")
BACKWARD = ("DRELU_BGRAD", "DGELU_BGRAD")


class Case(NamedTuple):
    """An (m, k) by (k, n) product with the epilog of that name, or with none."""

    arithmetic: str
    epilog: str | None
    m: int
    n: int
    k: int

    def random(self, rows: int, columns: int) -> Array:
        """Numbers from -1 to 1, row-major, as the arithmetic stores them."""
        numbers = backend.random.uniform(-1, 1, (rows, columns), dtype=xp.float32)
        return numbers if "32" in self.arithmetic else numbers.astype(self.arithmetic)

    def operands(self) -> tuple[Array, Array]:
        """A (m, k) and b (k, n), like weights and images.T or, back, weights.T and gradients.T."""
        back = self.epilog in (*BACKWARD, "DRELU", "DGELU", "BGRADA")
        a = self.random(self.k, self.m).T if back else self.random(self.m, self.k)
        row_major = self.epilog == "BGRADB"  # which takes no other b
        return a, self.random(self.k, self.n) if row_major else self.random(self.n, self.k).T

    def inputs(self) -> tuple[dict[str, Array] | None, Array | None]:
        """What the epilog reads: as nvmath takes it, and as the forms in `unfused` do."""
        names = input_names(MatmulEpilog[self.epilog]) if self.epilog else set()
        if "bias" in names:
            bias = self.random(self.m, 1)
            return {"bias": bias[:, 0]}, bias
        if "gelu_aux" in names:
            aux = self.random(self.n, gelu_shape(self.m, self.n)[0]).T
            return {"gelu_aux": aux}, aux[: self.m]
        if "relu_aux" in names:
            kept = self.random(self.n, 8 * mask_shape(self.m, self.n)[0]) > 0
            packed = xp.packbits(kept, bitorder="little").reshape(self.n, -1)
            return {"relu_aux": packed.T}, kept[:, : self.m].T
        return None, None

    def planned(
        self, a: Array, b: Array, inputs: dict[str, Array] | None = None
    ) -> tuple[Matmul, tuple]:
        """The matmul, planned with its epilog, and cuBLASLt's algorithms; free it after use."""
        tf32 = MatmulComputeType.COMPUTE_32F_FAST_TF32 if self.arithmetic == "tf32" else None
        mm = Matmul(a, b, options=MatmulOptions(compute_type=tf32))
        epilog = MatmulEpilog[self.epilog] if self.epilog else None
        return mm, mm.plan(epilog=epilog, epilog_inputs=inputs)
