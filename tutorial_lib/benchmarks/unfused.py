"""What an epilog does, as work of its own after a plain product: in CuPy, or in one kernel.

Each form takes the product z (M, N) and what the epilog reads: the bias (M, 1), ReLU's mask, or
GELU's input, both (M, N). It returns the result and, where the epilog has one, the extra output.
"""

import functools
from collections.abc import Callable

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.reference.epilogs import CUBE, ROOT

FROM_RESULT = "DRELU_BGRAD, y"  # where ReLU was open shows in its result y, too: it is above 0


def _gelu(v: Array) -> Array:
    return 0.5 * v * (1 + xp.tanh(ROOT * (v + 0.044715 * (v * v * v))))


def _dgelu(v: Array) -> Array:
    gate = xp.tanh(ROOT * (v + 0.044715 * (v * v * v)))
    return 0.5 * (1 + gate) + 0.5 * v * (1 - gate * gate) * (ROOT + CUBE * (v * v))


# As one would write it in CuPy: nearly every sign is a kernel. On the way back z is column-major;
# its transpose is row-major, the order in which CuPy's kernels go through memory.
IN_CUPY: dict[str, Callable[[Array, Array], tuple[Array, ...]]] = {
    "RELU_BIAS": lambda z, bias: (xp.maximum(z + bias, 0),),
    "RELU_AUX_BIAS": lambda z, bias: (xp.maximum(v := z + bias, 0), v >= 0),
    "GELU_AUX_BIAS": lambda z, bias: (_gelu(v := z + bias), v),
    "DRELU_BGRAD": lambda z, mask: ((d := z.T * mask.T).T, d.sum(axis=0)),
    FROM_RESULT: lambda z, y: ((d := z.T * (y.T > 0)).T, d.sum(axis=0)),
    "DGELU_BGRAD": lambda z, aux: ((d := z.T * _dgelu(aux.T)).T, d.sum(axis=0)),
}

# As one elementwise kernel: what it reads besides z, what it writes, and its code. Element i of a
# row-major z is in row i / n.
_BIAS = "raw T x, uint32 n"
_SUM = "float v = (float)z + (float)x[(unsigned)i / n]; "
_GATE = f"tanhf({ROOT}f * (v + 0.044715f * v * v * v))"
_SLOPE = f"(0.5f * (1 + gate) + 0.5f * v * (1 - gate * gate) * ({ROOT}f + {CUBE}f * v * v))"
IN_ONE_KERNEL = {
    "RELU_BIAS": (_BIAS, "T z", _SUM + "z = v > 0 ? v : 0.f"),
    "RELU_AUX_BIAS": (_BIAS, "T z, bool mask", _SUM + "mask = v >= 0; z = v > 0 ? v : 0.f"),
    "GELU_AUX_BIAS": (_BIAS, "T z, T aux", _SUM + f"aux = v; z = 0.5f * v * (1 + {_GATE})"),
    "DRELU_BGRAD": ("bool x", "T z", "if (!x) z = 0.f"),
    FROM_RESULT: ("T x", "T z", "if (!((float)x > 0)) z = 0.f"),
    "DGELU_BGRAD": ("T x", "T z", f"float v = x, gate = {_GATE}; z = (float)z * {_SLOPE}"),
}


@functools.cache
def _kernel(epilog: str) -> Callable[..., None]:
    return xp.ElementwiseKernel(*IN_ONE_KERNEL[epilog], f"after_{epilog[:5].lower()}")


def in_one_kernel(epilog: str, z: Array, read: Array) -> tuple[Array, ...]:
    """By one kernel that overwrites z, and a sum for a bias gradient; on the CPU by `IN_CUPY`."""
    if backend.name == "cpu":
        return IN_CUPY[epilog](z, read)
    extra = {"RELU_AUX_BIAS": bool, "GELU_AUX_BIAS": z.dtype}.get(epilog)
    if epilog.startswith("D"):
        _kernel(epilog)(read.T, z.T)
        return z, z.T.sum(axis=0)
    outputs = (z,) if extra is None else (z, xp.empty_like(z, extra))
    _kernel(epilog)(read, z.shape[1], *outputs)
    return outputs
