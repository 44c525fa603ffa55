"""Numbers of 8 bits, type e4m3, and the scales that keep a tensor in their range.

A byte of type e4m3 has a sign, 4 bits of exponent and 3 of mantissa: up to 448, down to 2⁻⁹, or
NaN. CuPy and NumPy lack the type, so that arrays of it are uint8 here.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.reference import streams

LARGEST = 448  # of e4m3
HISTORY = 16  # steps that a scale looks back
TENSORS = ("x", "weights_hidden", "hidden", "weights_output", "grad", "grad_hidden")
KERNEL = r"""
extern "C" __global__ void quantize(const float *x, int rows, int columns, const float *scale,
        unsigned char *values, unsigned char *turned, int height, int width, volatile int *amax) {
    __shared__ unsigned char tile[32][33];  // a block reads 32 x 32 numbers and writes them twice
    int row = 32 * blockIdx.y, column = 32 * blockIdx.x, t = threadIdx.x;
    float unit = *scale, largest = 0;
    for (int i = threadIdx.y; i < 32; i += 8) {
        bool inside = row + i < rows && column + t < columns;
        float number = inside ? x[(size_t)(row + i) * columns + column + t] : 0;
        largest = fmaxf(largest, fabsf(number));
        unsigned short two;  // bytes, the lower of number / unit; beyond 448 it is 448
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(two) : "f"(0.0f), "f"(number / unit));
        tile[i][t] = two;
        if (row + i < height && column + t < width)
            values[(size_t)(row + i) * width + column + t] = two;
    }
    __syncthreads();
    for (int i = threadIdx.y; i < 32; i += 8)
        if (column + i < width && row + t < height)
            turned[(size_t)(column + i) * height + row + t] = tile[t][i];
    int bits = __reduce_max_sync(~0u, __float_as_int(largest));  // ordered as the floats are
    if (t == 0 && bits > *amax) atomicMax((int *)amax, bits);
}"""


class Quantized(NamedTuple):
    """``scale · values``: bytes (r, c), their transpose (c, r), both row-major, a scale (1,)."""

    values: Array
    turned: Array
    scale: Array

    def transposed(self) -> "Quantized":
        """Its transpose, which is at hand."""
        return Quantized(self.turned, self.values, self.scale)


def quantize(x: Array, scale: Array, amax: Array) -> Quantized:
    """``x / scale`` in e4m3, for float32 x (r, c): at most ±448, zeros up to multiples of 16.

    Raises `amax` (1,), if it is smaller, to the largest absolute value of x.
    """
    height, width = (-(-size // 16) * 16 for size in x.shape)
    if backend.name == "cpu":
        return Quantized(*streams.launch(_quantize, x, scale, amax, height, width), scale)
    values, turned = xp.empty((height, width), xp.uint8), xp.empty((width, height), xp.uint8)
    rows, columns, *padded = map(np.int32, (*x.shape, height, width))
    arguments = x, rows, columns, scale, values, turned, *padded, amax
    _kernel()((-(-width // 32), -(-height // 32)), (32, 8), arguments)
    return Quantized(values, turned, scale)


@functools.cache
def _kernel() -> Any:
    return xp.RawKernel(KERNEL, "quantize")


def _quantize(x: Array, scale: Array, amax: Array, height: int, width: int) -> tuple[Array, Array]:
    from ml_dtypes import float8_e4m3fn

    np.maximum(amax, abs(x).max(), out=amax)
    values = np.zeros((height, width), float8_e4m3fn)
    values[: len(x), : x.shape[1]] = np.clip(x / scale, -LARGEST, LARGEST)  # rounds to nearest
    return values.view(np.uint8), values.T.copy().view(np.uint8)


class DelayedScaling:
    """A scale for each of `TENSORS`, from its largest absolute values in the last `HISTORY` steps.

    So a tensor is read once, to be rounded and to be searched for its largest value. Only the first
    tensor of a name is searched before it is rounded.
    """

    def __init__(self) -> None:
        self.history = xp.zeros((HISTORY, len(TENSORS)), xp.float32)  # largest absolute values
        self.scales = xp.ones(len(TENSORS), xp.float32)
        self.step, self.known = 0, set()

    def quantize(self, name: str, x: Array) -> Quantized:
        """x (r, c) with the scale of that name, see `quantize`; x enters the history."""
        i = TENSORS.index(name)
        if name not in self.known:
            self.known.add(name)
            self.history[:, i] = abs(x).max()
            self.update()
        return quantize(x, self.scales[i : i + 1], self.history[self.step % HISTORY, i : i + 1])

    def update(self) -> None:
        """Powers of two, which round nothing: the largest value becomes 128 to 256, of 448."""
        _, exponents = xp.frexp(self.history.max(axis=0))
        self.scales[...] = xp.ldexp(xp.float32(2**-8), exponents)

    def next_step(self) -> None:
        """The oldest step leaves the history."""
        self.step += 1
        self.history[self.step % HISTORY] = 0
        self.update()
