"""The two epilogs that cuBLASLt runs as kernels of their own in float32, written inside the matmul.

Triton compiles the functions marked `triton.jit`. A launch starts a grid of programs; each runs the
function and computes one tile of the result, with whole arrays as in NumPy. Arrays are passed as
addresses: `a + i * K + k` is where element (i, k) lies. A `tl.constexpr` is known to the compiler.
Without a GPU, Triton's interpreter runs the programs one by one, in NumPy.
"""

import contextlib
import os
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.reference.epilogs import mask_shape

if backend.name == "cpu":
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton looks at it when it is imported

import torch
import triton
import triton.language as tl


@triton.jit
def relu_aux_bias_kernel(
    a, b, bias, y, mask, M, N, K: tl.constexpr,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of y = relu(a b + bias), and a bit for each of its elements."""
    i = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)[:, None]  # the tile's rows, as a column
    j = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)[None, :]  # its columns, as a row
    row_exists, column_exists = i < M, j < N  # a tile may reach beyond the matrix

    # The matmul: a is row-major, b and y are column-major. What does not exist is read as 0.
    z = tl.zeros((TILE_M, TILE_N), tl.float32)
    for start in range(0, K, TILE_K):
        k = start + tl.arange(0, TILE_K)
        left = tl.load(a + i * K + k[None, :], row_exists & (k < K)[None, :], other=0)
        right = tl.load(b + k[:, None] + j * K, (k < K)[:, None] & column_exists, other=0)
        z = tl.dot(left, right, z, input_precision=PRECISION)

    # The epilog: z is in registers, and nothing has been written yet.
    z = (z + tl.load(bias + i, row_exists, other=0)).to(y.dtype.element_ty)
    tl.store(y + i + j * M, tl.where(z < 0, 0, z), row_exists & column_exists)

    # Row i of the mask is bit i % 8 of byte i // 8. Its columns are padded to 128 rows, with 0.
    bits = tl.where((z < 0) | ~row_exists, 0, 1 << i % 8)
    octets = tl.sum(tl.reshape(bits, (TILE_M // 8, 8, TILE_N)), axis=1)  # eight rows to a byte
    byte = tl.program_id(0) * (TILE_M // 8) + tl.arange(0, TILE_M // 8)[:, None]
    tl.store(mask + byte + j * (tl.cdiv(M, 128) * 16), octets.to(tl.uint8), column_exists)


@triton.jit
def drelu_bgrad_kernel(
    a, b, mask, d, bias_gradient, M, N: tl.constexpr, K: tl.constexpr,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A few rows of d = (a b) * mask with all their columns, so that it has their sums, too."""
    i = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)[:, None]
    k = tl.arange(0, TILE_K)  # K is small: one tile has all of it
    row_exists = i < M
    left = tl.load(a + i + k[None, :] * M, row_exists & (k < K)[None, :], other=0)

    sums = tl.zeros((TILE_M, TILE_N), tl.float32)
    for start in range(0, N, TILE_N):
        j = start + tl.arange(0, TILE_N)[None, :]
        exists = row_exists & (j < N)
        right = tl.load(b + k[:, None] + j * K, (k < K)[:, None] & (j < N), other=0)
        byte = tl.load(mask + i // 8 + j * (tl.cdiv(M, 128) * 16), exists, other=0)
        product = tl.dot(left, right, input_precision=PRECISION)
        product = tl.where((byte >> i % 8 & 1) == 1, product, 0)
        tl.store(d + i + j * M, product, exists)
        sums += product
    tl.store(bias_gradient + i, tl.sum(sums, axis=1, keep_dims=True), row_exists)


def relu_aux_bias(
    a: Array, b: Array, bias: Array, precision: str = "tf32x3"
) -> tuple[Array, Array]:
    """``relu(a b + bias)``, (M, N) column-major, and its mask: as `in_numpy.relu_aux_bias`.

    Triton's "tf32" cuts the operands off where cuBLASLt rounds them: on an H100, the largest error
    is 7e-4 of the largest value, and not 3e-4.
    """
    (m, k), n = a.shape, b.shape[1]
    rows, _ = mask_shape(m, n)
    y, mask = xp.empty((m, n), a.dtype, order="F"), xp.empty((rows, n), xp.uint8, order="F")
    tile_m, tile_n = tile(m, n, three_products=precision == "tf32x3" and a.dtype == xp.float32)
    grid = triton.cdiv(8 * rows, tile_m), triton.cdiv(n, tile_n)  # with the padding of the mask
    tiles = {"TILE_M": tile_m, "TILE_N": tile_n, "TILE_K": 64, "PRECISION": precision}
    arrays, warps = (a, b, bias, y, mask), 8 if tile_m == 128 else 4
    launch(relu_aux_bias_kernel, grid, arrays, m, n, k, num_warps=warps, **tiles)
    return y, mask


def tile(m: int, n: int, *, three_products: bool) -> tuple[int, int]:
    """The rows and columns that a program computes, by what was fastest on an H100.

    Large tiles read less of a and b; small ones leave work for each of 132 multiprocessors. Float32
    by tf32x3 takes three products, and more registers.
    """
    if m * n >= 128 * 128 * 128:
        return 128, 128
    if three_products:
        return 64, 32
    return (64, 64) if m * n >= 128 * 64 * 64 else (32, 32)


def drelu_bgrad(a: Array, b: Array, mask: Array, precision: str = "tf32x3") -> tuple[Array, Array]:
    """``(a b) * mask``, (M, N) column-major, and its row sums: as `in_numpy.drelu_bgrad`."""
    (m, k), n = a.shape, b.shape[1]
    d, bias_gradient = xp.empty((m, n), a.dtype, order="F"), xp.empty(m, a.dtype)
    tile_m, tile_n = (32, 128) if m > 4096 else (16, 256)
    tile_k = max(16, triton.next_power_of_2(k))  # tensor cores take no fewer than 16
    tiles = {"TILE_M": tile_m, "TILE_N": tile_n, "TILE_K": tile_k, "PRECISION": precision}
    arrays = a, b, mask, d, bias_gradient
    launch(drelu_bgrad_kernel, (triton.cdiv(m, tile_m),), arrays, m, n, k, num_warps=4, **tiles)
    return d, bias_gradient


def launch(
    kernel: Any, grid: tuple[int, ...], arrays: tuple[Array, ...], *sizes: int, **options: Any
) -> None:
    """Launch a program for each point of the grid, on the backend's current stream."""
    with torch_follows() if backend.name == "gpu" else contextlib.nullcontext():
        kernel[grid](*map(as_tensor, arrays), *sizes, num_stages=3, **options)


def torch_follows() -> contextlib.AbstractContextManager:
    """Inside the block torch's current stream, on which Triton launches, is the one of CuPy."""
    pointer, cuda = xp.cuda.get_current_stream().ptr, torch.cuda
    # For torch, an external stream at address 0 is a new one, which waits for nobody.
    return cuda.stream(cuda.ExternalStream(pointer) if pointer else cuda.default_stream())


def as_tensor(x: Array) -> torch.Tensor:
    """A tensor of torch, as Triton takes it, in the memory of x."""
    if str(x.dtype) == "bfloat16":  # which torch does not take from others
        return torch.as_tensor(x.view("int16")).view(torch.bfloat16)
    return torch.as_tensor(x)
