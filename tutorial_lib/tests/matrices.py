"""Hypothesis strategies and slow, obvious definitions that the reference is held against."""

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

EXTENTS = st.one_of(st.integers(1, 20), st.sampled_from([1, 7, 8, 9, 127, 128, 129, 130, 256]))
ORDERS = st.sampled_from(["C", "F"])
HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
DTYPES = st.sampled_from([*HALVES, np.dtype(np.float32), np.dtype(np.float64)])


@st.composite
def problems(draw):
    """Operands a (M, K), b (K, N), in any memory order, some of them views of larger arrays."""
    m, n, k = draw(EXTENTS), draw(EXTENTS), draw(st.integers(2, 20))
    dtype = draw(DTYPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return matrix(draw, rng, (m, k), dtype), matrix(draw, rng, (k, n), dtype)


def matrix(draw, rng, shape, dtype, order=None):
    """Numbers around 0 in some memory order, at times a view with a gap behind each line."""
    order = order or draw(ORDERS)
    rows, columns = shape if order == "C" else shape[::-1]
    gap = draw(st.sampled_from([0, 0, 3]))
    x = rng.uniform(-1, 1, (rows, columns + gap)).astype(dtype)[:, :columns]
    return x if order == "C" else x.T


def stacked(draw, rng, shape, dtype, batch, convert):
    """A matrix, or a batch of them: in any order, with gaps between them, or row by row."""
    if batch is None:
        return convert(matrix(draw, rng, shape, dtype))
    (rows, columns), transposed, gap = shape, draw(st.booleans()), draw(st.sampled_from([1, 2]))
    rows, columns = (columns, rows) if transposed else (rows, columns)
    by_row = draw(st.booleans())
    extents = (rows, gap * batch, columns) if by_row else (gap * batch, rows, columns)
    x = convert(rng.uniform(-1, 1, extents).astype(dtype))
    x = (x.swapaxes(0, 1) if by_row else x)[::gap]
    return x.swapaxes(1, 2) if transposed else x


def bits_one_by_one(positive):
    """The packed mask by the rule: row i is bit i % 8 of byte i // 8, padded to 128 rows."""
    m, n = positive.shape
    mask = np.zeros((-(-m // 128) * 16, n), np.uint8)
    for i in range(m):
        for j in range(n):
            mask[i // 8, j] |= int(positive[i, j]) << i % 8
    return mask


def close(actual, expected, scale=1.0):
    """Equal up to rounding, for sums of up to a few hundred terms of size `scale`, which those of
    half precision form in float32 and round, at most twice."""
    tolerance = 200 * np.finfo(np.result_type(actual.dtype, np.float32)).eps * max(scale, 1)
    rounded = float(ml_dtypes.finfo(actual.dtype).eps)
    actual = actual.astype(np.float64)
    np.testing.assert_allclose(actual, expected, rtol=tolerance + rounded, atol=tolerance)


def strides_of_any(shape):
    """Strides in elements for a matrix: dense, with gaps, overlapping, repeated, backwards."""
    rows, columns = shape
    likely = [1, rows, columns, rows + 2, columns + 2, 2, 0, -1, -rows, -columns]
    return st.tuples(st.sampled_from(likely), st.sampled_from(likely))


def numbers_in_memory(shape, strides, size=2000):
    """A float64 matrix of these strides in elements, amid numbers that all differ."""
    memory = np.random.default_rng(1).standard_normal(size)
    strides = [8 * stride for stride in strides]
    return np.lib.stride_tricks.as_strided(memory[size // 2 :], shape, strides)
