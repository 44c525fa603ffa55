"""What cuBLASLt does to a matmul's result before it is written: every epilog, in NumPy.

`d` is the (M, N) result of ``alpha * a @ b + beta * c``. A stage changes `d` in place, or looks at
it and leaves an extra output; an epilog is a few stages in a row. On the way to half precision `d`
is float32, and is rounded where cuBLASLt leaves the next stage to another kernel. Source: nvmath
1.0 and `cublasLtEpilogue_t <https://docs.nvidia.com/cuda/cublas/#cublasltepilogue-t>`_.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]
MASK_ROWS = 128  # the ReLU mask holds one bit per row of d, in columns padded to this many bits
GELU_ROWS = 8  # the GELU input is kept in columns padded to this many elements
# cuBLASLt's sqrt(2 / pi), and its 3 * 0.044715 * sqrt(2 / pi): found on an H200, in float64.
ROOT, CUBE = 0.79788456, 0.1070322243


class MatmulEpilog(IntEnum):
    """The epilogs, numbered as in cuBLASLt: RELU is 2, BIAS 4, AUX 128, and their sums."""

    DEFAULT = 1
    RELU = 2
    RELU_AUX = 130
    BIAS = 4
    RELU_BIAS = 6
    RELU_AUX_BIAS = 134
    DRELU = 136
    DRELU_BGRAD = 152
    GELU = 32
    GELU_AUX = 160
    GELU_BIAS = 36
    GELU_AUX_BIAS = 164
    DGELU = 192
    DGELU_BGRAD = 208
    BGRADA = 256
    BGRADB = 512


@dataclass
class Call:
    """One matmul on its way through the stages: operands, extra inputs, extra outputs."""

    a: Array
    b: Array
    inputs: Arrays
    outputs: Arrays = field(default_factory=dict)
    written_as: np.dtype | None = None  # the result's type, where it is narrower than d's


def mask_shape(m: int, n: int) -> tuple[int, int]:
    """Shape in bytes of an (m, n) result's mask: eight rows to a byte, padded to 128 rows."""
    return -(-m // MASK_ROWS) * MASK_ROWS // 8, n


def gelu_shape(m: int, n: int) -> tuple[int, int]:
    """Shape of the GELU input kept for an (m, n) result: its rows padded to a multiple of 8."""
    return -(-m // GELU_ROWS) * GELU_ROWS, n


def pack_mask(kept: Array) -> Array:
    """Booleans (M, N) as bits, uint8, column-major: row i becomes bit i % 8 of byte i // 8."""
    mask = np.zeros(mask_shape(*kept.shape), np.uint8, order="F")
    packed = np.packbits(kept, axis=0, bitorder="little")
    mask[: len(packed)] = packed
    return mask


def unpack_mask(mask: Array, m: int) -> Array:
    """The first `m` rows of a packed mask as booleans, (m, N): what `pack_mask` was given."""
    return np.unpackbits(mask, axis=0, count=m, bitorder="little").view(bool)


def _gelu_gate(x: Array) -> Array:
    return np.tanh(ROOT * (x + 0.044715 * x**3))


# Stages: each is what one word of an epilog's name means.
def bias(d: Array, call: Call) -> None:
    """Add one number per row: ``d[i, :] += bias[i]``."""
    d += call.inputs["bias"].reshape(-1, 1)


def relu(d: Array, call: Call) -> None:
    """Negative elements become 0; NaN stays."""
    np.maximum(d, 0, out=d)


def relu_aux(d: Array, call: Call) -> None:
    """Remember where d is not below 0, packed into bits: the extra output `relu_aux`."""
    call.outputs["relu_aux"] = pack_mask(~(d < 0))


def drelu(d: Array, call: Call) -> None:
    """The gradient of ReLU: keep `d` where the mask `relu_aux` has a 1, elsewhere 0."""
    d[~unpack_mask(call.inputs["relu_aux"], len(d))] = 0


def gelu(d: Array, call: Call) -> None:
    """GELU (Hendrycks and Gimpel, 2016): ``d/2 (1 + tanh(sqrt(2/pi) (d + 0.044715 d^3)))``."""
    d *= 0.5 * (1 + _gelu_gate(d))


def gelu_aux(d: Array, call: Call) -> None:
    """Remember GELU's input, in columns padded to 8 elements: the extra output `gelu_aux`."""
    aux = np.zeros(gelu_shape(*d.shape), d.dtype, order="F")
    aux[: len(d)] = d
    call.outputs["gelu_aux"] = aux


def dgelu(d: Array, call: Call) -> None:
    """The gradient of GELU (tanh form) at the remembered input `gelu_aux`, times `d`."""
    x = call.inputs["gelu_aux"][: len(d)]
    gate = _gelu_gate(x)
    d *= 0.5 * (1 + gate) + 0.5 * x * (1 - gate**2) * (ROOT + CUBE * x**2)


def drelu_bgrad(d: Array, call: Call) -> None:
    """The gradient of the bias that was added before ReLU: the row sums of `d`, (M,)."""
    call.outputs["drelu_bgrad"] = d.sum(axis=1)


def dgelu_bgrad(d: Array, call: Call) -> None:
    """The gradient of the bias that was added before GELU: the row sums of `d`, (M,)."""
    call.outputs["dgelu_bgrad"] = d.sum(axis=1)


def bgrada(d: Array, call: Call) -> None:
    """The row sums of operand a, (M,): a bias gradient if `a` holds the gradients."""
    call.outputs["bgrada"] = call.a.sum(axis=1)


def bgradb(d: Array, call: Call) -> None:
    """The column sums of operand b, (N,): a bias gradient if `b` holds the gradients."""
    call.outputs["bgradb"] = call.b.sum(axis=0)


STAGES: dict[MatmulEpilog, tuple[Callable[[Array, Call], None], ...]] = {
    MatmulEpilog.RELU: (relu,),
    MatmulEpilog.RELU_AUX: (relu_aux, relu),
    MatmulEpilog.BIAS: (bias,),
    MatmulEpilog.RELU_BIAS: (bias, relu),
    MatmulEpilog.RELU_AUX_BIAS: (bias, relu_aux, relu),
    MatmulEpilog.DRELU: (drelu,),
    MatmulEpilog.DRELU_BGRAD: (drelu, drelu_bgrad),
    MatmulEpilog.GELU: (gelu,),
    MatmulEpilog.GELU_AUX: (gelu_aux, gelu),
    MatmulEpilog.GELU_BIAS: (bias, gelu),
    MatmulEpilog.GELU_AUX_BIAS: (bias, gelu_aux, gelu),
    MatmulEpilog.DGELU: (dgelu,),
    MatmulEpilog.DGELU_BGRAD: (dgelu, dgelu_bgrad),
    MatmulEpilog.BGRADA: (bgrada,),
    MatmulEpilog.BGRADB: (bgradb,),
}

# RELU and GELU leave the result in the order of operand a, and so does BGRADA; the rest do not.
COLUMN_MAJOR = set(STAGES) - {MatmulEpilog.RELU, MatmulEpilog.GELU, MatmulEpilog.BGRADA}
# These stages read what will be written, so in half precision rounded numbers: found on an H100.
# There, some algorithms also round before a bias, or round parts of the sum over K.
ROUNDED = {relu_aux, drelu_bgrad, dgelu, dgelu_bgrad}
# The extra input a stage reads, by its name in `epilog_inputs`.
INPUTS = {bias: "bias", drelu: "relu_aux", dgelu: "gelu_aux"}


def input_names(epilog: MatmulEpilog) -> set[str]:
    """The names that `epilog_inputs` must have for this epilog."""
    return {INPUTS[stage] for stage in STAGES[epilog] if stage in INPUTS}


def apply(epilog: MatmulEpilog, d: Array, call: Call) -> None:
    """Run the epilog's stages over `d`, in place; extra outputs go to `call.outputs`."""
    for stage in STAGES[epilog]:
        if stage in ROUNDED and call.written_as is not None:
            d[...] = d.astype(call.written_as)
        stage(d, call)


def compute(
    call: Call, c: Array | None, alpha: float, beta: float, epilog: MatmulEpilog | None, order: str
) -> Array:
    """``epilog(alpha * a @ b + beta * c)``: a new array (M, N) in `order`."""
    a, b = call.a, call.b
    d = np.empty((a.shape[0], b.shape[1]), a.dtype, order=order)
    if order == "F":  # a column-major product is the row-major one of the transposes
        np.matmul(b.T, a.T, out=d.T)
    else:
        np.matmul(a, b, out=d)
    if alpha != 1:
        d *= alpha
    if beta != 0:  # a beta of 0 means that c is not read, even where it holds NaN
        d += beta * c
    if epilog is not None:
        apply(epilog, d, call)
    return d
