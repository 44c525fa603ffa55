"""CuPy's default random stream, without a GPU: cuRAND's XORWOW generator, bit for bit.

A generator holds five words and a counter. Each step makes a new word from the oldest and the
newest one, advances the counter, and draws the sum of the two. cuRAND runs 4,096 such generators
from one seed, 2**67 steps apart, and takes one number of each in turn.

Sources: Marsaglia, `Xorshift RNGs <https://doi.org/10.18637/jss.v008.i14>`_ (2003); cuRAND,
`Ordering <https://docs.nvidia.com/cuda/curand/host-api-overview.html#generator-options>`_.
"""

import functools
import hashlib
import secrets

import numpy as np

from tutorial_lib.reference.streams import refuse

GENERATORS = 4096
WORD = 2**32
Size = int | tuple[int, ...] | None


def _next_word(oldest: np.ndarray, newest: np.ndarray) -> np.ndarray:
    mixed = oldest ^ (oldest >> 2)
    return newest ^ (newest << 4) ^ mixed ^ (mixed << 1)


def _to_bits(words: np.ndarray) -> np.ndarray:
    """States, (n, 5) uint32, as zeros and ones, (n, 160) float32."""
    return np.unpackbits(words.view(np.uint8), axis=1).astype(np.float32)


def _to_words(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits.astype(np.uint8), axis=1).view(np.uint32)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two matrices of zeros and ones, modulo 2; float32, for the sake of BLAS."""
    return ((a @ b).astype(np.uint8) & 1).astype(np.float32)


@functools.cache
def _jumps() -> list[np.ndarray]:
    """Matrices (160, 160) that take a row of 160 bits on by 2**67, 2**68, …, 2**78 steps."""
    words = _to_words(np.eye(160))  # a step is linear in the bits: what it makes of each alone
    step = np.column_stack([words[:, 1:], _next_word(words[:, 0], words[:, 4])])
    powers = [_to_bits(step)]
    while 2 ** len(powers) < GENERATORS * 2**67:
        powers.append(_product(powers[-1], powers[-1]))
    return powers[67:]


@functools.lru_cache(maxsize=16)
def _start(seed: int) -> tuple[np.ndarray, int]:
    """Where `seed` starts the generators: their words (5, 4096) and their common counter."""
    low = 1099087573 * (seed % WORD ^ 0xAAD26B49)
    high = 2591861531 * (seed // WORD ^ 0xF7DCEFDD)
    first = (123456789 + low, 362436069 ^ low, 521288629 + high, 88675123 ^ high, 5783321 + low)
    states = _to_bits(np.array([[word % WORD for word in first]], np.uint32))
    for jump in _jumps():  # each doubles the generators
        states = np.concatenate([states, _product(states, jump)])
    return np.ascontiguousarray(_to_words(states).T), 6615241 + low + high


class _Stream:
    """The numbers that follow from a seed, at first a random one, in pieces of any size."""

    def __init__(self) -> None:
        self.seed(secrets.randbits(64))

    def seed(self, seed: int) -> None:
        """Begin anew."""
        self.words, self.counter = _start(seed)
        self.left = np.empty(0, np.uint32)  # of the last step, not yet handed out

    def draw(self, count: int) -> np.ndarray:
        """The next `count` numbers, uint32."""
        steps = -(-(count - self.left.size) // GENERATORS)
        words = np.concatenate([self.words, np.empty((steps, GENERATORS), np.uint32)])
        for i in range(steps):
            words[i + 5] = _next_word(words[i], words[i + 4])
        counters = np.arange(1, steps + 1, dtype=np.uint32) * 362437 + self.counter % WORD
        numbers = np.concatenate([self.left, (words[5:] + counters[:, None]).ravel()])
        self.words = words[-5:].copy()
        self.counter += 362437 * steps
        self.left = numbers[count:].copy()
        return numbers[:count]


_stream = functools.cache(_Stream)  # the one stream


def seed(seed: int | np.ndarray | None = None) -> None:
    """Start the stream again from an integer in [0, 2**64), an array's MD5 sum, or at random.

    Raises TypeError for what NumPy does not take for an integer, as 2**64, and ValueError below 0.
    """
    if seed is None:
        seed = secrets.randbits(64)
    elif isinstance(seed, np.ndarray):
        seed = int(hashlib.md5(seed, usedforsecurity=False).hexdigest()[:16], 16)
    elif np.asarray(seed).dtype.kind not in "biu" or np.ndim(seed):
        raise TypeError(f"seed must be an integer in [0, 2**64), not {seed!r}")
    elif seed < 0:
        raise ValueError(f"seed must lie in [0, 2**64), got {seed}")
    _stream().seed(int(seed))


def random_sample(size: Size = None, dtype: type = float) -> np.ndarray:
    """The next numbers of the stream in [0, 1), of shape `size`; TypeError unless float32."""
    if np.dtype(dtype) != np.float32:
        found = f"the reference stream draws float32 only, not {np.dtype(dtype)}"
        raise TypeError(f"{found}: pass dtype=numpy.float32")
    refuse("drawing random numbers", NotImplementedError)
    out = np.empty(() if size is None else size, np.float32)
    scale = np.float32(2**-32)
    out.flat = _stream().draw(out.size).astype(np.float32) * scale + scale / 2
    out[out == 1] = 0  # cuRAND draws from (0, 1]; CuPy folds the 1 onto 0
    return out


def uniform(low: float = 0, high: float = 1, size: Size = None, dtype: type = float) -> np.ndarray:
    """The next numbers of the stream in [low, high), of shape `size`; TypeError unless float32.
    Computes ``low + u * (high - low)`` with one rounding, as the GPU's fused multiply-add does."""
    low, high = np.float32(low), np.float32(high)
    u = random_sample(np.broadcast(low, high).shape if size is None else size, dtype)
    u[...] = u * np.float64(high - low) + low  # float64 holds the product exactly
    return u
