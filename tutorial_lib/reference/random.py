"""CuPy's default random stream, without a GPU.

`cupy.random` draws from cuRAND's XORWOW generator. libcurand holds the same generator for the
host, and it needs neither a driver nor a GPU, so the numbers are equal bit for bit. Source:
`cuRAND host API <https://docs.nvidia.com/cuda/curand/host-api-overview.html>`_
and `cupy.random
<https://docs.cupy.dev/en/stable/reference/random.html>`_.
"""

import ctypes
import functools
import secrets

import numpy as np

XORWOW = 101  # CURAND_RNG_PSEUDO_XORWOW


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"libcurand: {what} failed with curandStatus {status}")


@functools.cache
def _library() -> ctypes.CDLL:
    missing = "libcurand, from which the reference draws CuPy's random numbers, was not found: "
    remedy = "install nvidia-curand-cu12, which pip install 'nvmath-python[cu12]' brings"
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ModuleNotFoundError as error:
        raise ImportError(f"{missing}{remedy}, with cuda-pathfinder, which finds it") from error
    try:
        return ctypes.CDLL(load_nvidia_dynamic_lib("curand").abs_path)
    except (OSError, RuntimeError) as error:
        raise ImportError(
            f"{missing}{remedy} (with CUDA 13: nvidia-curand, 'nvmath-python[cu13]')"
        ) from error


@functools.cache
def _generator() -> ctypes.c_void_p:
    generator = ctypes.c_void_p()
    _check(
        _library().curandCreateGeneratorHost(ctypes.byref(generator), XORWOW),
        "curandCreateGeneratorHost",
    )
    _start(generator, secrets.randbits(64))
    return generator


def _start(generator: ctypes.c_void_p, number: int) -> None:
    library = _library()
    _check(
        library.curandSetPseudoRandomGeneratorSeed(generator, ctypes.c_ulonglong(number)),
        "setting the seed",
    )
    _check(library.curandSetGeneratorOffset(generator, ctypes.c_ulonglong(0)), "setting the offset")


def seed(seed: int) -> None:
    """Start the stream again from `seed`, an integer in [0, 2**64).

    Raises ValueError outside that range, TypeError for anything that is not an integer.
    """
    if not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer, not {type(seed).__name__}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must lie in [0, 2**64), got {seed}")
    _start(_generator(), int(seed))


def random_sample(size: int | tuple[int, ...] | None = None, dtype: type = float) -> np.ndarray:
    """The next numbers of the stream, uniform in [0, 1): float32, of shape `size`.

    Raises TypeError for every dtype but float32, which is the one that this book draws.
    """
    if np.dtype(dtype) != np.float32:
        raise TypeError(
            f"the reference stream draws float32 only, not {np.dtype(dtype)}: "
            "pass dtype=numpy.float32"
        )
    out = np.empty(() if size is None else size, np.float32)
    if out.size:
        address = out.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        status = _library().curandGenerateUniform(_generator(), address, ctypes.c_size_t(out.size))
        _check(status, "curandGenerateUniform")
    out[out == 1] = 0  # cuRAND draws from (0, 1]; CuPy folds the 1 onto 0
    return out


def uniform(
    low: float = 0.0,
    high: float = 1.0,
    size: int | tuple[int, ...] | None = None,
    dtype: type = float,
) -> np.ndarray:
    """The next numbers of the stream, uniform in [low, high): float32, of shape `size`.

    Computes ``low + u * (high - low)`` as CuPy's kernel does on the GPU: with a fused
    multiply-add, which rounds to float32 once. Raises TypeError for every dtype but float32.
    """
    u = random_sample(size, dtype)
    low, high = np.float32(low), np.float32(high)
    return (u * np.float64(high - low) + low).astype(
        np.float32
    )  # float64 holds the product exactly
