"""The kernels: their NumPy twins, and the CUDA sources, run on the CPU by an emulator."""

import ctypes
import re
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from tutorial_lib import binary_cross_entropy, kernels, one_hot, sigmoid, xp
from tutorial_lib.backend import to_numpy
from tutorial_lib.kernels import cuda, in_numpy, launches
from tutorial_lib.networks.one_kernel import MAX_HIDDEN

EMULATOR = Path(__file__).parent / "cuda" / "emulator.cpp"
# A misaligned or outlying access ends the process, as it would on a GPU.
SAFELY = "-fsanitize=alignment,bounds -fsanitize-undefined-trap-on-error"
FLAGS = f"-std=c++17 -w -fno-strict-aliasing -pthread {SAFELY}"
PTX = cuda.FOLDER / "ptx.cuh"  # for which the emulator has functions of its own


class Array(np.ndarray):
    """A NumPy array that names its address as CuPy's does."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


@pytest.fixture
def emulated(compiled, monkeypatch):
    """The module `cuda` with NumPy in place of CuPy and the emulator in place of the GPU."""

    def run(launch, *arguments):
        arguments = [np.intp(x.ctypes.data) if isinstance(x, np.ndarray) else x for x in arguments]
        held = [np.array(x) for x in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(x.ctypes.data for x in held))
        numbers = launch.clusters, launch.cluster, launch.threads, launch.at_once, launch.shared
        source = cuda.source(launch.kernel).replace(PTX.read_text(), "")
        source = EMULATOR.read_text().replace("#include SOURCE", source)
        constants = "".join(f" -D{name}={value}" for name, value in launch.constants.items())
        library = compiled(source, f"{FLAGS} -DKERNEL={launch.kernel}{constants}")
        library.run(*numbers, run.seed, pointers)

    run.seed = 0
    fake = SimpleNamespace(float32=np.float32, int64=np.int64, zeros=np.zeros)
    fake.empty = lambda shape, dtype: np.full(shape, np.nan, dtype)  # nobody has written there
    fake.empty_like = lambda x: np.full_like(x, np.nan)
    monkeypatch.setattr(cuda, "xp", fake)
    monkeypatch.setattr(cuda, "run", run)
    return run


def network(hidden, seed=0, steps=2, more=0):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((256 * steps + more, launches.INPUTS), np.float32).view(Array)
    shapes = (hidden, launches.INPUTS), (hidden,), (10, hidden), (10,)
    parameters = tuple(rng.uniform(-0.05, 0.05, shape).astype("f4") for shape in shapes)
    return images, rng.integers(0, 10, len(images)), parameters


def certain(bias_output, labels):
    """Outputs of exactly 0 and 1, right and wrong: only the loss's 1e-8 keeps it finite."""
    bias_output[...] = 200 * np.sign(bias_output)


def unknown(bias_output, labels):
    """Labels that are none of the ten digits, in the first batch only."""
    labels[: min(len(labels), 256) : 3] = 10
    labels[:1] = 2**32 + 3
    labels[1:2] = -1


@pytest.mark.parametrize("case", [certain, unknown])
def test_the_twin_s_loss_is_the_published_one_of_the_known_labels(case):
    rng = np.random.default_rng(0)
    bias, labels = rng.standard_normal(10, np.float32), rng.integers(0, 10, 100)
    case(bias, labels)
    logits = bias + rng.standard_normal((100, 10)).astype("f4")
    gradient, loss = np.empty_like(logits), np.empty(1, "f4")
    in_numpy.loss_and_gradient(logits, labels, gradient, loss)
    known = (labels >= 0) & (labels < 10)
    p, t = sigmoid(xp.asarray(logits)), one_hot(xp.asarray(labels), 10)
    np.testing.assert_allclose(gradient, to_numpy(p - t) / 100 * known[:, None], atol=1e-8)
    expected = binary_cross_entropy(p, t) if known.all() else np.nan
    np.testing.assert_allclose(loss[0], float(expected), rtol=1e-5)
    assert not known.all() or loss[0] > 5


def test_the_twin_passes_the_gradient_where_a_hidden_unit_is_exactly_zero():
    images, labels, (weights, bias, *output) = network(6, steps=1)
    weights[...], bias[...] = 0, [-1, -0.0, 0, 1, -1e-30, 1e-30]
    in_numpy.train_epoch(images, labels, (weights, bias, *output), 0.1)
    assert (weights != 0).any(axis=1).tolist() == [False, True, True, True, False, True]


def loss_of(module, case, n):
    rng = np.random.default_rng(n)
    logits, labels = rng.normal(0, 4, (n, 10)).astype("f4"), rng.integers(0, 10, n)
    case(logits, labels)
    loss, gradient = np.full(1, np.nan, "f4"), np.full_like(logits, np.nan)
    module.loss_and_gradient(logits, labels, gradient, loss)
    return loss, gradient


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_the_loss_in_half_precision_is_that_of_its_logits_and_the_gradient_undivided(half):
    pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    logits, labels = (rng.standard_normal((256, 10)) * 4).astype(half), rng.integers(0, 10, 256)
    labels[3] = 77
    found = xp.zeros((256, 10), half), xp.zeros(1, "f4")
    kernels.loss_in_half(xp.asarray(logits), xp.asarray(labels), *found)
    exact = np.empty((256, 10), "f4"), np.empty(1, "f4")
    in_numpy.loss_and_gradient(logits.astype("f4"), labels, *exact)
    gradient = to_numpy(found[0].astype(xp.float32))
    np.testing.assert_allclose(gradient, 256 * exact[0], rtol=2**-8, atol=1e-7)
    assert (gradient[3] == 0).all()
    assert np.isnan(to_numpy(found[1])).all()


@pytest.mark.parametrize("count", [1, 255, 256, 1031])
def test_the_rounding_kernel_writes_each_number_once(emulated, count):
    """In float32, in which it is a copy: the emulator has no half precision."""
    numbers = np.random.default_rng(0).standard_normal((count, 4), np.float32)
    copies = np.full((count + 1, 4), np.nan, np.float32)
    cuda.round_to_half(numbers, copies[:count])
    assert np.array_equal(copies[:count], numbers)
    assert np.isnan(copies[count:]).all()


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_rounding_is_to_the_nearest_and_of_two_to_the_even_one(half):
    pytest.importorskip("ml_dtypes")
    last = 2.0 ** {"float16": -10, "bfloat16": -7}[half]
    numbers = np.array([[1 + 0.5 * last, 1 + 1.5 * last, 1 - last / 8, -np.inf]], "f4")
    copies = xp.zeros((1, 4), half)
    kernels.round_to_half(xp.asarray(numbers), copies)
    expected = [[1, 1 + 2 * last, 1, -np.inf]]
    assert to_numpy(copies.astype(xp.float32)).tolist() == expected


def epoch(module, case, hidden, seed, width=None, **precision):
    """Some steps, with the network cut as one of that `width` would be."""
    images, labels, parameters = network(hidden, seed, steps=2 + seed, more=3)
    parameters[0][0] = parameters[1][0] = 0  # a hidden unit that is exactly 0 passes the gradient
    if seed:  # begins between the pieces that a thread fetches
        images = images.reshape(-1)[seed : seed - 784].reshape(-1, 784)
    case(parameters[-1], labels)
    labels, cut = labels[: len(images)], launches.cut(width or hidden)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launches, "cut", lambda hidden: cut)
        return module.train_epoch(images, labels, parameters, 0.1, **precision), *parameters


WORK = [(loss_of, (n,), 1e-7) for n in (1, 5, 256, 1000)]
# An epoch in one cluster, and in several that must meet.
WORK += [(epoch, s, 1e-6) for s in [(5, 0), (13, 1)]]
RUNS = [(*work, case) for work in WORK for case in (lambda *nothing: None, certain, unknown)]
RUNS += [(epoch, (25, 0, 57), 1e-6, certain), (epoch, (41, 1, 145), 1e-6, certain)]


@pytest.mark.parametrize(("work", "sizes", "atol", "case"), RUNS)
def test_a_kernel_computes_what_its_twin_does(emulated, work, sizes, atol, case):
    emulated.seed = sum(sizes)
    (loss, *found), (expected_loss, *expected) = (work(m, case, *sizes) for m in (cuda, in_numpy))
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol)


def test_tf32_is_a_product_of_rounded_numbers(emulated):
    (loss, *found), (expected_loss, *expected) = (
        epoch(module, certain, 13, 0, precision="tf32") for module in (cuda, in_numpy)
    )
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-3)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert abs(found[0] - expected[0]).max() > 1e-6


def broken(bias_output, labels):
    """Not a number, which then everything becomes."""
    bias_output[3] = np.nan


@pytest.fixture
def wide(monkeypatch):
    """wide_epoch.cu for few units, in blocks of few, and few features."""
    for name, value in {"INPUTS": 272, "MAX_NARROW": 0, "MULTIPROCESSORS": 26}.items():
        monkeypatch.setattr(launches, name, value)


@pytest.mark.parametrize(
    ("hidden", "precision", "case", "steps", "atol"),
    [
        (200, "tf32x3", unknown, 2, 1e-6),
        (420, "tf32x3", certain, 1, 1e-6),  # two tiles of units a block
        (416, "tf32", certain, 1, 2e-4),  # in so many blocks that two threads sum a logit
        (200, "tf32", broken, 2, 0),
    ],
)
def test_the_kernel_for_wide_layers_computes_what_its_twin_does(
    emulated, wide, hidden, precision, case, steps, atol
):
    results = []
    for module in (cuda, in_numpy):
        images, labels, parameters = network(hidden, seed=4, steps=steps)
        case(parameters[-1], labels)
        losses = module.train_epoch(images, labels, parameters, 0.1, precision)
        results.append((*parameters, losses))
    for ours, theirs in zip(*results):
        rtol = 1e-3 if precision == "tf32" else 1e-5
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def test_the_kernel_for_wide_layers_repeats_itself_to_the_bit_also_with_a_profile(emulated, wide):
    (*data, parameters), (*_, profiled) = network(200, steps=1), network(200, steps=1)
    cuda.train_epoch(*data, parameters, 0.1, "tf32")
    emulated.seed = 1  # threads take turns in another order
    phases = cuda.epoch_phases(*data, profiled, 0.1, "tf32")
    assert all((ours == theirs).all() for ours, theirs in zip(profiled, parameters))
    assert list(phases)[:2] == ["hidden layer", "send logits"]
    assert (len(phases), min(phases.values()) > 0) == (6, True)


@pytest.mark.parametrize(("cut", "hidden", "bound"), [("narrow", 8, 3e-7), ("wide", 200, 6e-7)])
def test_gradients_are_exact_although_tensor_cores_round_sums_down(
    emulated, cut, hidden, bound, request
):
    """Long chains of additions would drift. The rate leaves only the gradients in the weights."""
    if cut == "wide":
        request.getfixturevalue("wide")
    images, labels, found = network(hidden, steps=1)
    exact = [parameter.astype("f8") for parameter in found]
    first, images = [parameter.copy() for parameter in exact], abs(images)  # so that sums grow
    cuda.train_epoch(images, labels, found, 1e6)
    in_numpy.train_epoch(images.astype("f8"), labels, exact, 1e6)
    for ours, theirs, before in zip(found, exact, first):
        assert abs(ours - theirs).max() < bound * abs(theirs - before).max()


def test_a_profile_counts_the_cycles_of_each_phase_and_changes_no_result(emulated):
    (images, labels, parameters), (*_, profiled) = network(5, steps=1), network(5, steps=1)
    cuda.train_epoch(images, labels, parameters, 0.1)
    phases = cuda.epoch_phases(images, labels, profiled, 0.1)
    assert list(phases)[1:4] == ["hidden partial", "waiting for partials", "sum over cluster"]
    assert (len(phases), min(phases.values()) > 0) == (10, True)
    assert all((ours == theirs).all() for ours, theirs in zip(profiled, parameters))


def test_every_cut_covers_the_network_and_fits_on_a_hopper_gpu():
    for hidden in range(1, launches.MAX_NARROW + 1):
        units, cluster, features = launches.cut(hidden)
        assert units % 16 == features % 16 == 8  # odd multiples of 8, for the sake of banks
        assert cluster * features > 784  # with one for the bias
        assert launches.epoch(hidden).clusters <= {8: 15, 16: 7}[cluster]
        assert launches.epoch(hidden).shared <= 227 * 1024
    for hidden in range(launches.MAX_NARROW + 1, MAX_HIDDEN + 1):
        launch = launches.epoch(hidden)
        assert launch.shared <= 227 * 1024
        assert 26 <= launch.clusters <= 132  # at least an image for each, at most 10 images


# The arrays that a kernel takes, with their shapes.
TAKES = {
    "loss_and_gradient": "logits 256 10, labels 256, gradient 256 10, loss 1",
    "loss_in_half": "logits 256 10, labels 256, gradient 256 10, loss 1",
    "round_to_half": "masters 8 4, copies 8 4",
    "train_epoch": "images 256 784, labels 256, weights_hidden 7 784, bias_hidden 7, "
    "weights_output 10 7, bias_output 10",
}


@pytest.mark.parametrize("kernel", TAKES)
def test_a_kernel_takes_no_array_that_is_not_what_its_pointer_says(kernel):
    def call(x, y, *rest):
        given = x, y, *rest
        if kernel == "train_epoch":
            given = x, y, rest, 0.1
        getattr(kernels, kernel)(*given)

    good = {}
    for name, *shape in (array.split() for array in TAKES[kernel].split(", ")):
        dtype = "f2" if "half" in kernel and name not in ("loss", "masters") else "f4"
        good[name] = xp.zeros([int(n) for n in shape], "i8" if name == "labels" else dtype)
    call(*good.values())
    for name, x in good.items():
        wrong = [x.astype("f4" if name == "labels" else "f8"), to_numpy(x).tolist(), x[None], x[0]]
        wrong += [xp.repeat(x, 2, 0)[::2], x[::-1]] if len(x) > 1 else []
        wrong += [xp.asfortranarray(x)] if x.ndim == 2 else []
        for bad in wrong:
            with pytest.raises((TypeError, ValueError), match=rf"^{re.escape(name)} must "):
                call(*{**good, name: bad}.values())


def test_a_kernel_is_compiled_for_each_gpu_that_is_current(monkeypatch):
    monkeypatch.setattr(cuda, "xp", fake := MagicMock())
    for gpu in (70, 71, 70):  # which no machine has
        fake.cuda.Device.return_value.id = gpu
        cuda.run(launches.loss_and_gradient())
    assert fake.RawModule.call_count == 2


def test_blocks_that_form_no_clusters_are_counted_by_multiprocessor(monkeypatch):
    """Asked how many clusters of one block it runs, a driver says 0."""
    monkeypatch.setattr(cuda, "xp", fake := MagicMock())
    monkeypatch.setattr(cuda, "compiled", MagicMock())
    fake.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor.return_value = 2
    fake.cuda.Device.return_value.attributes = {"MultiProcessorCount": 114}
    assert cuda.clusters_at_once(launches.epoch(8192)) == 228
