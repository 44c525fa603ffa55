"""Pointers: an array that was handed over unchecked is read with the plan's layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib.reference.layouts import Layout, memory_order
from tutorial_lib.tests.matrices import strides_of_any

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(SHAPES, st.sampled_from("CF"), st.integers(0, 3), SHAPES, st.integers(0, 30), st.data())
def test_memory_is_read_element_by_element_or_not_at_all(shape, order, gap, given_, offset, data):
    """Against the rule itself: element (i, j) lies at the pointer plus i and j strides."""
    memory = np.arange(60.0)
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
        assert np.array_equal(plan.read(x), places)


def test_memory_before_the_array_is_not_read_either():
    memory = np.arange(12.0)
    with pytest.raises(ValueError, match=r"float64 of shape \(4,\).* a crash"):
        Layout.of(memory[:4]).read(memory[::-1])
    assert Layout.of(memory[:1]).read(memory[::-1]).tolist() == [11]


def test_reading_changes_the_dtype_and_never_the_bits():
    whole = np.arange(8, dtype=np.float32)
    read = Layout.of(whole[:4]).read(whole.view(np.float64)[1:])
    assert read.tolist() == [2, 3, 4, 5]
    read[0] = 100
    assert whole[2] == 100  # it is the same memory
    assert Layout.of(whole).read(whole) is whole


def test_memory_lives_as_long_as_what_is_read_of_it_and_stays_read_only():
    read = Layout.of(np.ones((2, 2))).read(np.arange(4.0).reshape(2, 2).T)
    again = Layout((4,), (8,), np.dtype(float)).read(read)
    assert again.tolist() == [0, 1, 2, 3]
    frozen = np.frombuffer(bytes(32), np.float64)
    assert not Layout.of(np.ones(2)).read(frozen).flags.writeable
    with pytest.raises(ValueError, match="no such memory"):
        Layout.of(np.ones(5)).read(frozen)


def test_the_memory_order_is_counted_as_by_cublaslt():
    orders = {((3, 2), (2, 1)): "C", ((3, 2), (1, 3)): "F", ((3, 1), (1, 1)): "F"}
    orders |= {((1, 3), (3, 1)): "C", ((1, 3), (5, 2)): "F", ((3, 1), (2, 7)): "C"}
    for (shape, strides), order in orders.items():
        assert memory_order(Layout(shape, tuple(4 * s for s in strides), np.dtype("f4"))) == order


def test_strides_that_are_no_whole_elements_are_refused():
    """A field of a record: nvmath would divide the stride and round it."""
    records = np.zeros((3, 4), np.dtype([("x", np.float64), ("y", np.float32)]))
    with pytest.raises(ValueError, match="neither row- nor column-major"):
        Layout.of(records["x"]).check_read_as_meant("operand a")
    rows = np.zeros(3, np.dtype([("x", np.float64, 4), ("y", np.float32)]))["x"]
    with pytest.raises(ValueError, match="operand a has strides"):
        Layout.of(rows).check_read_as_meant("operand a")
