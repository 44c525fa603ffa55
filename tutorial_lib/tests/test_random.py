"""CuPy's stream without a GPU: against numbers that an H200 drew."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib.reference import random

H200 = Path(__file__).parent / "data" / "initial_weights_seed1234_hidden30.npz"


def test_initial_weights_equal_the_h200_bit_for_bit():
    random.seed(1234)
    with np.load(H200) as drawn:
        for name, fan_in in (("wh", 784), ("bh", 784), ("wo", 30), ("bo", 30)):
            bound = 1 / fan_in**0.5
            ours = random.uniform(-bound, bound, drawn[name].shape, dtype=np.float32)
            assert ours.tobytes() == drawn[name].tobytes(), name


@given(st.lists(st.integers(0, 301), min_size=1, max_size=6), st.integers(0, 2**64 - 1))
def test_several_calls_draw_what_one_call_draws(sizes, seed):
    random.seed(seed)
    whole = random.random_sample(sum(sizes), np.float32)
    random.seed(seed)
    parts = [random.random_sample(size, np.float32) for size in sizes]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert ((whole >= 0) & (whole < 1)).all()


def test_seeds_differ_and_shapes_follow_size():
    random.seed(1)
    one = random.random_sample((3, 5), np.float32)
    random.seed(2)
    assert not np.array_equal(one, random.random_sample((3, 5), np.float32))
    assert random.random_sample(None, np.float32).shape == ()
    assert one.shape == (3, 5)
    assert one.dtype == np.float32


def test_a_drawn_one_becomes_zero(monkeypatch):
    class AlwaysOne:
        def curandGenerateUniform(self, generator, address, size):  # noqa: N802
            for i in range(size.value):
                address[i] = 1.0
            return 0

    monkeypatch.setattr(random, "_generator", lambda: None)
    monkeypatch.setattr(random, "_library", AlwaysOne)
    assert random.random_sample(4, np.float32).tolist() == [0, 0, 0, 0]


def test_uniform_rounds_once():
    """CuPy's kernel multiplies and adds in one rounding; two roundings differ in these numbers."""
    random.seed(1234)
    u = random.random_sample(1000, np.float32)
    low, high = np.float32(-1 / 28), np.float32(1 / 28)
    random.seed(1234)
    ours = random.uniform(-1 / 28, 1 / 28, 1000, dtype=np.float32)
    assert (ours != u * (high - low) + low).any()
    assert (ours == (u * np.float64(high - low) + np.float64(low)).astype(np.float32)).all()


@pytest.mark.parametrize(
    "draw", [random.random_sample, lambda size, dtype: random.uniform(0, 1, size, dtype)]
)
@pytest.mark.parametrize("dtype", [float, np.float64, np.float16, np.int32])
def test_other_dtypes_are_refused(draw, dtype):
    with pytest.raises(TypeError, match="float32"):
        draw(3, dtype)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), ("1", TypeError)]
)
def test_bad_seeds(seed, error):
    with pytest.raises(error, match="seed"):
        random.seed(seed)


def test_missing_libcurand_names_its_package(monkeypatch):
    def fail(name):
        raise RuntimeError(f"no lib{name}")

    monkeypatch.setattr("cuda.pathfinder.load_nvidia_dynamic_lib", fail)
    random._library.cache_clear()
    with pytest.raises(ImportError, match="nvidia-curand-cu12"):
        random._library()
    random._library.cache_clear()


def test_a_failing_call_is_an_error(monkeypatch):
    class Broken:
        def curandGenerateUniform(self, *args):  # noqa: N802
            return 102

    random.seed(0)
    monkeypatch.setattr(random, "_library", Broken)
    with pytest.raises(RuntimeError, match="curandStatus 102"):
        random.random_sample(3, np.float32)
