"""Pointers: an array that was handed over unchecked is read with the plan's layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib.reference.layouts import Layout, memory_order
from tutorial_lib.tests.matrices import HALVES, strides_of_any

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(SHAPES, st.sampled_from("CF"), st.integers(0, 3), SHAPES, st.integers(0, 30), st.data())
def test_memory_is_read_element_by_element_or_not_at_all(shape, order, gap, given_, offset, data):
    """Against the rule itself: element (i, j) lies at the pointer plus i and j strides."""
    memory = np.frombuffer(np.arange(60.0).tobytes())  # read-only, of an owner that is no array
    rows, columns = shape
    strides = (columns + gap, 1) if order == "C" else (1, rows + gap)
    plan = Layout(shape, tuple(8 * s for s in strides), np.dtype(np.float64))
    steps = data.draw(strides_of_any(given_).filter(lambda s: min(s) >= 0))
    if offset + sum((n - 1) * s for n, s in zip(given_, steps)) >= 60:
        return  # no such array
    x = np.lib.stride_tricks.as_strided(memory[offset:], given_, [8 * s for s in steps])
    i, j = np.indices(shape)
    places = offset + i * strides[0] + j * strides[1]
    if places.max() >= 60:
        with pytest.raises(ValueError, match="no such memory"):
            plan.read(x)
    else:
        read = plan.read(x)
        assert np.array_equal(read, places)
        assert not read.flags.writeable


def test_reading_keeps_the_bits_and_the_memory_and_stays_behind_the_pointer():
    whole = np.arange(8, dtype=np.float32)
    read = Layout.of(whole[:4]).read(whole.view(np.float64)[1:])
    assert read.tolist() == [2, 3, 4, 5]
    read[0] = 100
    assert whole[2] == 100  # it is the same memory
    assert Layout.of(whole).read(whole) is whole
    halves = np.arange(8).astype(HALVES[1])
    read = Layout.of(halves[:4]).read(halves.view(np.float32)[1:])
    assert (read.dtype, *read) == (HALVES[1], 2, 3, 4, 5)
    read = Layout.of(np.ones((2, 2))).read(np.arange(4.0).reshape(2, 2).T)
    assert Layout.of(np.ones(4)).read(read).tolist() == [0, 1, 2, 3]  # nobody else holds it
    backwards = np.arange(12.0)[::-1]
    with pytest.raises(ValueError, match=r"float64 of shape \(4,\).* a crash"):
        Layout.of(np.ones(4)).read(backwards)
    assert Layout.of(np.ones(1)).read(backwards).tolist() == [11]


def test_the_memory_order_is_counted_as_by_cublaslt():
    orders = {((3, 2), (2, 1)): "C", ((3, 2), (1, 3)): "F", ((3, 1), (1, 1)): "F"}
    orders |= {((1, 3), (3, 1)): "C", ((1, 3), (5, 2)): "F", ((3, 1), (2, 7)): "C"}
    for (shape, strides), order in orders.items():
        assert memory_order(Layout(shape, tuple(4 * s for s in strides), np.dtype("f4"))) == order
    fields = [("x", np.float64, 4), ("y", np.float32)]  # 4.5 numbers: nvmath would round the stride
    for records, message in (
        (np.zeros(3, fields)["x"], "operand a has strides"),
        (np.zeros((3, 4), [("x", np.float64), fields[1]])["x"], "neither row- nor column-major"),
    ):
        with pytest.raises(ValueError, match=message):
            Layout.of(records).check_read_as_meant("operand a")
