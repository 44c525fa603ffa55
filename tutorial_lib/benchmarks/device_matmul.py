"""An epilog of your own by nvmath's device API: cuBLASDx multiplies, Numba compiles the kernel.

Each block of threads multiplies one tile of the result, has it in its registers when it is done,
and goes on in Python, element by element. It needs a GPU, `nvmath-python[cu13-dx]`, NumPy < 2.5.
"""

from collections.abc import Callable
from typing import Any

from tutorial_lib.backend import Array, xp
from tutorial_lib.reference.epilogs import mask_shape


def kernel(mm: Any) -> Callable:
    """The kernel for the tiles of `mm`, a `nvmath.device.Matmul`; Numba compiles it when called."""
    from numba import cuda
    from nvmath.device.cublasdx_numba import pipeline_extensions

    (m, n, _), zero = mm.size, xp.float32(0)
    rows = -(-m // 8)  # of the tile's mask, in bytes

    @cuda.jit(extensions=pipeline_extensions, launch_bounds=[mm.block_size, 1])
    def relu_aux_bias(pipeline, bias, y, mask):  # noqa: ANN001
        top, left = m * cuda.blockIdx.x, n * cuda.blockIdx.y  # where the tile is in y
        shared = cuda.shared.array(0, "int8", alignment=pipeline.buffer_alignment)

        # The product: tiles of a and b go through shared memory, the sums stay in registers.
        tile = pipeline.get_tile(shared, cuda.blockIdx.x, cuda.blockIdx.y)
        sums = mm.suggest_accumulator()
        tile.execute(sums)
        tile._del()
        cuda.syncthreads()

        # The epilog: a thread has some elements of the tile, and cuBLASDx knows which.
        z = sums.get_results()
        if sums.is_thread_active():
            for element in range(z.layout.size):
                if not sums.is_predicated() or sums.is_index_in_bounds(element):
                    i, j = sums.map_fragment_index(element)
                    v = z[element] + bias[top + i]
                    y[top + i, left + j] = zero if v < zero else v
                    shared[j * m + i] = not v < zero
        cuda.syncthreads()

        # The mask: eight rows, which other threads may have had, become one byte.
        for at in range(cuda.threadIdx.x, rows * n, mm.block_size):
            i, j = at % rows, at // rows
            byte = 0
            for row in range(8 * i, min(8 * i + 8, m)):
                byte |= shared[j * m + row] << row % 8
            mask[top // 8 + i, left + j] = byte

    return relu_aux_bias


def planned(
    a: Array, b: Array, bias: Array, tile: tuple[int, int, int], *, block: int = 128, depth: int = 2
) -> tuple[Callable[[], None], Array, Array]:
    """A call that writes y = relu(a b + bias) (M, N) and its packed mask, then both arrays.

    `a` (M, K) is row-major, the others column-major; `bias` is (M,). The `tile` (m, n, k) divides
    M, N and K, with m a multiple of 8 or M itself; `depth` tiles are loaded ahead.
    """
    from numba import cuda
    from nvmath.device import Matmul

    options = {"arrangement": ("row_major", "col_major", "col_major"), "alignment": (16, 16, 16)}
    options |= {"block_size": block, "static_block_dim": True}
    options |= {"with_pipeline": True, "enable_input_streaming": True}
    mm = Matmul(tile, (a.dtype.type, b.dtype.type, xp.float32), "real", **options)
    pipeline, compiled = mm.suggest_device_pipeline(depth, a, b), kernel(mm)
    y = xp.empty((len(a), b.shape[1]), a.dtype, order="F")
    mask = xp.zeros(mask_shape(*y.shape), xp.uint8, order="F")
    arrays = [cuda.as_cuda_array(x, sync=False) for x in (bias, y, mask)]
    grid = len(a) // tile[0], b.shape[1] // tile[1]
    memory = max(pipeline.buffer_size, tile[0] * tile[1])

    def call() -> None:
        stream = cuda.external_stream(xp.cuda.get_current_stream().ptr)
        compiled[grid, pipeline.block_dim, stream, memory](pipeline, *arrays)

    return call, y, mask
