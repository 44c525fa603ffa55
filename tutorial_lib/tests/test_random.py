"""CuPy's stream in NumPy: against libcurand, CuPy, and numbers that an H200 drew."""

import ctypes
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tutorial_lib.reference import random

H200 = Path(__file__).parent / "data" / "initial_weights_seed1234_hidden30.npz"
ONE = 7681983  # the first number of this seed is cuRAND's 1.0


def draw(seed, size):
    random.seed(seed)
    return random.random_sample(size, np.float32)


@pytest.fixture(scope="module")
def curand():
    """Draws from NVIDIA's libcurand, which has the generator for the host and needs no driver."""
    pathfinder = pytest.importorskip("cuda.pathfinder")
    try:
        library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("curand").abs_path)
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no libcurand: {error}")
    generator, xorwow = ctypes.c_void_p(), 101
    assert library.curandCreateGeneratorHost(ctypes.byref(generator), xorwow) == 0

    def draw_theirs(seed, sizes):
        number, start = ctypes.c_ulonglong(seed), ctypes.c_ulonglong(0)
        assert library.curandSetPseudoRandomGeneratorSeed(generator, number) == 0
        assert library.curandSetGeneratorOffset(generator, start) == 0
        parts = [np.empty(size, np.float32) for size in sizes]
        for part in parts:
            where, count = ctypes.c_void_p(part.ctypes.data), ctypes.c_size_t(part.size)
            assert not part.size or library.curandGenerateUniform(generator, where, count) == 0
        return parts

    yield draw_theirs
    library.curandDestroyGenerator(generator)


def test_initial_weights_equal_the_h200_bit_for_bit():
    """`uniform` must round once: two roundings differ in these numbers."""
    random.seed(1234)
    with np.load(H200) as drawn:
        for name, fan_in in (("wh", 784), ("bh", 784), ("wo", 30), ("bo", 30)):
            bound = 1 / fan_in**0.5
            ours = random.uniform(-bound, bound, drawn[name].shape, dtype=np.float32)
            assert ours.tobytes() == drawn[name].tobytes(), name


# Few calls of up to three rows of the 4,096 generators, cut anywhere.
SIZES = st.lists(st.integers(0, 3) | st.integers(4090, 4100) | st.integers(0, 12_300), max_size=5)
ANY_SEED = st.sampled_from([0, 1, 1234, 2**32 - 1, 2**32, 2**64 - 1]) | st.integers(0, 2**64 - 1)


@given(SIZES, ANY_SEED)
@example([1, 3, 4095, 4097, 5, 0, 4096, 12289, 77, 100_003], 1234)
@example([1], ONE)
def test_libcurand_draws_the_same_numbers_wherever_the_stream_is_cut(curand, sizes, seed):
    """cuRAND draws from (0, 1], CuPy from [0, 1): a drawn 1 becomes 0."""
    random.seed(seed)
    for size, theirs in zip(sizes, curand(seed, sizes)):
        assert seed != ONE or sizes != [1] or theirs[0] == 1
        theirs[theirs == 1] = 0
        ours = random.random_sample(size, np.float32)
        assert ours.tobytes() == theirs.tobytes()
        ours[:] = 7  # which is no part of the stream


def test_millions_of_numbers_come_in_seconds_and_few_of_them_are_kept():
    start = time.perf_counter()
    numbers = draw(5, 6_400_000)
    random.random_sample(3, np.float32)
    assert time.perf_counter() - start < 5
    assert numbers.mean() == pytest.approx(0.5, abs=1e-3)
    stream = random._stream()
    assert stream.left.size < random.GENERATORS
    assert stream.left.base is stream.words.base is None, "a view would keep all numbers"


def test_shapes_follow_size_and_other_dtypes_are_refused():
    assert draw(1, (3, 5)).shape == (3, 5)
    for alone in (random.random_sample(None, np.float32), random.uniform(dtype=np.float32)):
        assert (alone.shape, alone.dtype) == ((), np.float32)
    assert random.uniform(0, [1, 2, 3], dtype=np.float32).shape == (3,)
    with pytest.raises(ValueError, match="shape"):
        random.uniform(0, [1, 2, 3], 2, dtype=np.float32)
    for dtype in (float, np.float16, np.int32):
        with pytest.raises(TypeError, match="float32"):
            random.uniform(0, 1, 3, dtype)


@pytest.fixture
def cupy_seed(monkeypatch):
    """CuPy's own `seed`, which is Python: returns what it hands to cuRAND."""
    generator = pytest.importorskip("cupy.random._generator")
    library = pytest.importorskip("cupy_backends.cuda.libs.curand")
    handed = []
    monkeypatch.setattr(library, "setPseudoRandomGeneratorSeed", lambda _, x: handed.append(x))
    monkeypatch.setattr(library, "setGeneratorOffset", lambda _, offset: None)
    state = SimpleNamespace(_generator=0, _lock=nullcontext(), method=None)

    def seed(number):
        generator.RandomState.seed(state, number)
        return handed.pop()

    return seed


def test_a_seed_means_what_it_means_to_cupy(cupy_seed):
    integers = [0, 5, True, 2**63, 2**64 - 1, np.int8(3), np.uint64(2**64 - 1)]
    for seed in (*integers, np.arange(4), np.array(7)):
        assert draw(seed, 5).tobytes() == draw(cupy_seed(seed), 5).tobytes()


@pytest.mark.parametrize(
    ("error", "seeds"),
    [(ValueError, [-1, np.int8(-1)]), (TypeError, [2**64, -(2**64), 1.0, np.nan, "1", [1, 2]])],
)
def test_bad_seeds_are_refused_as_by_cupy_and_leave_the_stream_alone(cupy_seed, error, seeds):
    random.seed(3)
    for seed in seeds:
        with pytest.raises(error, match=r"seed must .* \[0, 2\*\*64\)"):
            random.seed(seed)
        with pytest.raises(error):
            cupy_seed(seed)
    assert random.random_sample(9, np.float32).tobytes() == draw(3, 9).tobytes()


def test_without_a_seed_all_of_its_64_bits_are_random(monkeypatch):
    assert draw(None, 9).tobytes() != draw(None, 9).tobytes()
    monkeypatch.setattr(random.secrets, "randbits", lambda count: 2**count - 1)
    expected = draw(2**64 - 1, 9).tobytes()
    assert draw(None, 9).tobytes() == expected
    random._stream.cache_clear()  # as a new process finds it
    assert random.random_sample(9, np.float32).tobytes() == expected
