"""Numbers of 8 bits, type e4m3, and the scales that keep a tensor in their range.

A byte of type e4m3 has a sign, 4 bits of exponent and 3 of mantissa: up to 448, down to 2⁻⁹, or
NaN. CuPy and NumPy lack the type, so that arrays of it are uint8 here.
"""

from typing import NamedTuple

import numpy as np

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.reference import streams

LARGEST = 448  # of e4m3
HISTORY = 16  # steps that a scale looks back
TENSORS = ("x", "weights_hidden", "hidden", "weights_output", "grad", "grad_hidden")
KERNEL = r"""
extern "C" __global__ void quantize(
        const float *__restrict__ x, int rows, int columns, const float *__restrict__ scale,
        unsigned char *__restrict__ values, unsigned char *__restrict__ turned,
        int height, int width, volatile int *amax) {
    __shared__ __align__(4) unsigned char tile[32][132];  // of 32 x 128 numbers, for a block
    int row = 32 * blockIdx.y, column = 128 * blockIdx.x, t = threadIdx.x;
    float units = 1 / *scale, largest = 0;
    for (int i = threadIdx.y; i < 32; i += 8) {
        float y[4];  // a thread writes four bytes at once
        for (int j = 0; j < 4; j++) {
            bool inside = row + i < rows && column + 4 * t + j < columns;
            y[j] = inside ? x[(size_t)(row + i) * columns + column + 4 * t + j] : 0;
            largest = fmaxf(largest, fabsf(y[j]));
            y[j] *= units;
        }
        unsigned short low, high;  // two bytes each; a number beyond 448 becomes 448
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(y[1]), "f"(y[0]));
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(y[3]), "f"(y[2]));
        unsigned four = *(unsigned *)&tile[i][4 * t] = low | (unsigned)high << 16;
        if (row + i < height && column + 4 * t < width)
            *(unsigned *)&values[(size_t)(row + i) * width + column + 4 * t] = four;
    }
    __syncthreads();
    for (int i = 4 * threadIdx.y + t / 8, r = 4 * (t % 8); i < 128; i += 32)
        if (column + i < width && row + r < height)
            *(unsigned *)&turned[(size_t)(column + i) * height + row + r] =
                tile[r][i] | tile[r + 1][i] << 8 | tile[r + 2][i] << 16 | tile[r + 3][i] << 24;
    int bits = __reduce_max_sync(~0u, __float_as_int(largest));  // ordered as the floats are
    if (t == 0 && bits > *amax) atomicMax((int *)amax, bits);
}"""
kernel = xp.RawKernel(KERNEL, "quantize") if backend.name == "gpu" else None


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

    `scale` (1,) is a power of two. Raises `amax` (1,), if it is smaller, to the largest absolute
    value of x.
    """
    height, width = (-(-size // 16) * 16 for size in x.shape)
    if backend.name == "cpu":
        return Quantized(*streams.launch(_quantize, x, scale, amax, height, width), scale)
    values, turned = xp.empty((height, width), xp.uint8), xp.empty((width, height), xp.uint8)
    rows, columns, *padded = map(np.int32, (*x.shape, height, width))
    arguments = x, rows, columns, scale, values, turned, *padded, amax
    kernel((-(-width // 128), -(-height // 32)), (32, 8), arguments)
    return Quantized(values, turned, scale)


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
        self.scales = xp.ones((len(TENSORS), 4), xp.float32)  # the first; cuBLASLt wants 16 bytes
        self.step, self.known = 0, set()

    def quantize(self, name: str, x: Array) -> Quantized:
        """x (r, c) with the scale of that name, see `quantize`; x enters the history."""
        i = TENSORS.index(name)
        if name not in self.known:
            self.known.add(name)
            self.history[:, i] = abs(x).max()
            self.update()
        return quantize(x, self.scales[i, :1], self.history[self.step % HISTORY, i : i + 1])

    def update(self) -> None:
        """Powers of two, which round nothing: the largest value becomes 32 to 64. Up to 448, it may
        grow sevenfold in a step."""
        _, exponents = xp.frexp(self.history.max(axis=0))
        self.scales[:, 0] = xp.ldexp(xp.float32(2**-6), exponents)

    def next_step(self) -> None:
        """The oldest step leaves the history."""
        self.step += 1
        self.history[self.step % HISTORY] = 0
        self.update()
