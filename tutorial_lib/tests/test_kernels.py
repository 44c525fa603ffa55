"""The CUDA kernels, without a GPU: run by an emulator on the CPU."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tutorial_lib import binary_cross_entropy, one_hot, sigmoid
from tutorial_lib.kernels import cuda
from tutorial_lib.kernels.launches import cut, shared_bytes
from tutorial_lib.networks.one_kernel import MAX_HIDDEN
from tutorial_lib.reference import kernels as reference

KERNELS = Path(__file__).parents[1] / "kernels"
CUDA = Path(__file__).parent / "cuda"
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
POINTER = {np.dtype(t): np.ctypeslib.ndpointer(t, flags="C") for t in ("f4", "i8", "u4")}
# The two cuts of the hidden layer: narrow, and wide, here with two groups that must meet.
NARROW = {"HIDDEN": 30, "UNITS": 32, "CLUSTER": 16, "FEATURES": 56}
WIDE = {"HIDDEN": 72, "UNITS": 40, "CLUSTER": 8, "FEATURES": 104}


@pytest.fixture(scope="session")
def emulate(tmp_path_factory):
    """emulate(file, constants)(function, *arguments): runs a kernel file's function on the CPU."""
    folder, libraries = tmp_path_factory.mktemp("kernels"), {}

    def library(file, **constants):
        key = file, *constants.items()
        if key not in libraries:
            target = folder / f"{len(libraries)}.so"
            defines = [f"-D{name}={value}" for name, value in constants.items()]
            command = ["g++", "-std=c++17", "-O1", "-w", "-fno-strict-aliasing", "-fPIC", "-shared"]
            # A misaligned or outlying access ends the process, as it would on a GPU.
            command += ["-fsanitize=alignment,bounds", "-fsanitize-undefined-trap-on-error"]
            command += ["-pthread", f'-DKERNEL="{KERNELS / file}.cu"', *defines]
            subprocess.run([*command, CUDA / "kernels.cpp", "-o", target], check=True, timeout=120)
            libraries[key] = ctypes.CDLL(str(target))

        def call(function, *arguments):
            converted = [
                POINTER[a.dtype].from_param(a)
                if isinstance(a, np.ndarray)
                else ctypes.c_float(a)
                if isinstance(a, float)
                else ctypes.c_int(a)
                for a in arguments
            ]
            return getattr(libraries[key], function)(*converted)

        return call

    return library


def layer(n, hidden, seed=0):
    rng = np.random.default_rng(seed)
    before_relu = rng.standard_normal((n, hidden), np.float32)
    before_relu[0, 0], before_relu[-1, -1] = -0.0, 0  # a zero passes the gradient
    wo = rng.standard_normal((10, hidden), np.float32) / hidden**0.5
    bo = rng.standard_normal(10, np.float32)
    return before_relu, wo, bo, rng.integers(0, 10, n)


def certain(bo, labels):
    """Outputs of exactly 0 and 1, right and wrong: only the loss's 1e-8 keeps it finite."""
    bo[...] = 200 * np.sign(bo)


def unknown(bo, labels):
    """Labels that are none of the ten digits, in the first batch only."""
    labels[: min(len(labels), 256) : 3] = 10
    labels[:1] = 2**32 + 3
    labels[1:2] = -1


CASES = pytest.mark.parametrize("case", [lambda bo, labels: None, certain, unknown])


@pytest.mark.parametrize("case", [certain, unknown])
def test_the_twin_s_loss_is_the_published_one_of_the_known_labels(case):
    rng = np.random.default_rng(0)
    bo, labels = rng.standard_normal(10).astype("f4"), rng.integers(0, 10, 100)
    case(bo, labels)
    logits = bo + rng.standard_normal((100, 10)).astype("f4")
    gradient, loss = np.empty_like(logits), np.empty(1, "f4")
    reference.loss_and_gradient(logits, labels, gradient, loss)
    known = (labels >= 0) & (labels < 10)
    p, t = sigmoid(logits), one_hot(labels, 10)
    np.testing.assert_allclose(gradient, (p - t) / 100 * known[:, None], atol=1e-8)
    expected = binary_cross_entropy(p, t) if known.all() else np.nan
    np.testing.assert_allclose(loss[0], expected, rtol=1e-5)
    assert not known.all() or loss[0] > 5


@needs_compiler
@CASES
@pytest.mark.parametrize("n", [1, 5, 256, 1000])
def test_the_loss_kernel(emulate, n, case):
    rng = np.random.default_rng(n)
    logits, labels = rng.normal(0, 4, (n, 10)).astype("f4"), rng.integers(0, 10, n)
    case(logits, labels)
    expected, loss = np.empty_like(logits), np.empty((), "f4")
    reference.loss_and_gradient(logits, labels, expected, loss)
    gradient, found = np.full_like(logits, np.nan), np.full(1, np.nan, "f4")
    emulate("loss")("run_loss", n, logits, labels, gradient, found, n)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    np.testing.assert_allclose(found[0], loss, rtol=1e-5)


@needs_compiler
@pytest.mark.parametrize(
    ("n", "hidden"), [(16, 30), (17, 33), (1, 1), (40, 300), (32, 1031)], ids=str
)
@CASES
def test_the_output_layer_kernels(emulate, n, hidden, case):
    before_relu, wo, bo, labels = layer(n, hidden)
    case(bo, labels)
    bh = np.ones(hidden, "f4")
    expected, sums = reference.output_layer(before_relu, wo, bo, labels)
    clusters = -(-n // 16)
    grad_hidden = np.full_like(before_relu, np.nan)
    partial = np.full((clusters, 11, hidden), np.nan, "f4")
    partial_small, loss = np.full((clusters, 11), np.nan, "f4"), np.full(1, np.nan, "f4")
    run = emulate("output_layer")
    inputs = before_relu, wo, bo, labels
    run("run_output_layer", 0, *inputs, grad_hidden, partial, partial_small, n, hidden)
    np.testing.assert_allclose(grad_hidden, expected, atol=1e-6)
    after = [x.copy() for x in (wo, bh, bo)]
    run("run_update_small", 0, partial, partial_small, *after, loss, clusters, hidden, 0.5)
    expected_loss = np.empty(1, "f4")
    reference.update_small(sums, wo, bh, bo, expected_loss, 0.5)
    for found, value in zip(after, (wo, bh, bo)):
        np.testing.assert_allclose(found, value, atol=2e-6)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)


@needs_compiler
@pytest.mark.parametrize("cut", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("seed", [0, 1])
@CASES
def test_the_epoch_kernel(emulate, cut, seed, case):
    steps, hidden = 2, cut["HIDDEN"]
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((256 * steps, 784), np.float32)
    labels = rng.integers(0, 10, len(images))
    shapes = (hidden, 784), (hidden,), (10, hidden), (10,)
    parameters = [rng.uniform(-0.05, 0.05, shape).astype("f4") for shape in shapes]
    case(parameters[-1], labels)
    expected = [parameter.copy() for parameter in parameters]
    losses = reference.train_epoch(images, labels, expected, 0.1)
    run, cluster = emulate("epoch", **cut), cut["CLUSTER"]
    parts = np.full((steps, cluster), np.nan, "f4")
    scratch = np.full((2, -(-hidden // cut["UNITS"]), 256, 10), np.nan, "f4")
    arrived = np.zeros(cluster, "u4")
    run("run_epoch", seed, images, labels, *parameters, parts, scratch, arrived, steps, 0.1)
    np.testing.assert_allclose(parts.sum(axis=1), losses, rtol=1e-5)
    for found, value in zip(parameters, expected):
        np.testing.assert_allclose(found, value, atol=1e-6)


class Array(np.ndarray):
    """A NumPy array that names its address as CuPy's does."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


class Launches:
    """CuPy's RawModule and its kernels, as `cuda` uses them, on the emulator."""

    def __init__(self, emulate):
        self.emulate, self.attributes, self.cooperative = emulate, [], []

    def RawModule(self, *, code, options):  # noqa: N802 (CuPy's name)
        (file,) = [name for name in ("loss", "output_layer", "epoch") if own(name) in code]
        defines = [option[2:].split("=") for option in options if option.startswith("-D")]
        run = self.emulate(file, **{name: int(value) for name, value in defines})
        return SimpleNamespace(get_function=lambda name: Kernel(self, name, run))


class Kernel:
    max_dynamic_shared_size_bytes = 48 * 1024  # what CUDA gives without asking
    ptr = 7

    def __init__(self, launches, name, run):
        self.launches, self.name, self.run = launches, name, run

    @property
    def kernel(self):
        return self

    def __call__(self, grid, block, arguments, shared_mem=0, enable_cooperative_groups=False):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        self.run("ask_for_shared", shared_mem)
        self.launches.cooperative.append(enable_cooperative_groups)
        values = [a.item() if isinstance(a, np.generic) else a for a in arguments]
        threads = {"loss_and_gradient": 1024, "output_layer": 512}.get(self.name, 256)
        assert block == (threads,)
        name = {"loss_and_gradient": "run_loss"}.get(self.name, f"run_{self.name}")
        assert (self.run(name, 0, *values),) == grid
        self.run("ask_for_shared", 232 * 1024)


def own(name):
    return (KERNELS / f"{name}.cu").read_text()[:80]


@pytest.fixture
def launches(emulate, monkeypatch):
    """The module `cuda` with NumPy in place of CuPy and the emulator in place of the GPU."""
    launches = Launches(emulate)
    driver = SimpleNamespace(funcSetAttribute=lambda *values: launches.attributes.append(values))
    fake = SimpleNamespace(
        **{name: getattr(np, name) for name in ("float32", "uint32", "empty", "empty_like")},
        zeros=np.zeros,
        cuda=SimpleNamespace(driver=driver),
        RawModule=launches.RawModule,
    )
    monkeypatch.setattr(cuda, "xp", fake)
    for cache in (cuda._module, cuda._kernel):
        cache.cache_clear()
    yield launches
    for cache in (cuda._module, cuda._kernel):
        cache.cache_clear()


@needs_compiler
@pytest.mark.parametrize(("n", "hidden"), [(33, 30), (16, 700)])
def test_the_launcher_passes_what_the_small_kernels_take(launches, n, hidden):
    before_relu, wo, bo, labels = layer(n, hidden)
    after = {}
    for module in (cuda, reference):
        small = wo.copy(), np.ones(hidden, "f4"), bo.copy()
        loss, grad, logits = np.zeros(1, "f4"), np.zeros((n, 10), "f4"), before_relu[:, :10].copy()
        grad_hidden, sums = module.output_layer(before_relu, *small[::2], labels)
        module.update_small(sums, *small, loss, 0.5)
        first = loss.copy()
        module.loss_and_gradient(logits, labels, grad, loss)
        after[module] = [*small, grad_hidden, first, grad, loss]
    for ours, theirs in zip(after[cuda], after[reference]):
        np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=1e-5)
    assert not any(launches.cooperative)


@needs_compiler
@pytest.mark.parametrize(("hidden", "cluster"), [(30, 16), (131, 8)])
def test_the_launcher_passes_what_the_epoch_kernel_takes(launches, hidden, cluster):
    rng = np.random.default_rng(1)
    images = rng.standard_normal((2 * 256 + 3, 784), np.float32).view(Array)
    labels = rng.integers(0, 10, len(images))
    shapes = (hidden, 784), (hidden,), (10, hidden), (10,)
    parameters = [rng.uniform(-0.05, 0.05, shape).astype("f4") for shape in shapes]
    expected = [parameter.copy() for parameter in parameters]
    losses = cuda.train_epoch(images, labels, tuple(parameters), 0.1)
    np.testing.assert_allclose(
        losses, reference.train_epoch(np.asarray(images), labels, expected, 0.1), rtol=1e-5
    )
    for found, value in zip(parameters, expected):
        np.testing.assert_allclose(found, value, atol=1e-6)
    assert launches.cooperative == [True]
    assert len(launches.attributes) == (cluster > 8)


def test_the_phases_are_cycles_a_step_from_a_kernel_compiled_to_count_them(monkeypatch):
    compiled, arguments = [], []

    def take(*names, **constants):
        compiled.append(constants)
        return SimpleNamespace(kernel=launch)

    def launch(grid, block, values, shared, **options):
        arguments.append(values)
        if isinstance(values[-1], np.ndarray):
            values[-1][:] = 2 * np.arange(12)  # in two steps

    monkeypatch.setattr(cuda, "_kernel", take)
    names = ("float32", "uint32", "int64", "empty", "zeros")
    monkeypatch.setattr(cuda, "xp", SimpleNamespace(**{name: getattr(np, name) for name in names}))
    images, labels = np.zeros((515, 784), "f4").view(Array), np.zeros(515, int)
    parameters = [np.zeros(shape, "f4") for shape in ((130, 784), (130,), (10, 130), (10,))]
    assert cuda.epoch_phases(images, labels, parameters, 0.1) == list(range(12))
    cuda.train_epoch(images, labels, parameters, 0.1)
    assert compiled[0] == compiled[1] | {"PROFILE": 1}
    assert len(arguments[0]) == len(arguments[1]) + 1
    # A thread fetches 16 bytes at a time: images that begin between such pieces are copied.
    storage = np.arange(512 * 784 + 4, dtype="f4")
    for start in range(4):
        view = storage[start : start + 512 * 784].reshape(512, 784).view(Array)
        cuda.train_epoch(view, labels[:512], parameters, 0.1)
        taken = arguments[-1][0]
        assert taken.data.ptr % 16 == 0
        np.testing.assert_array_equal(taken, view)


@needs_compiler
def test_a_small_launch_does_not_shrink_a_later_large_one(launches):
    for hidden in (4096, 16, 4096):
        cuda.output_layer(*layer(16, hidden))


def test_a_twin_passes_the_gradient_where_the_hidden_unit_is_exactly_zero():
    before_relu, wo, bo, labels = layer(4, 6)
    before_relu[...] = [[-1, -0.0, 0, 1, -1e-30, 1e-30]] * 4
    grad_hidden, _ = reference.output_layer(before_relu, wo, bo, labels)
    assert (grad_hidden != 0).all(axis=0).tolist() == [False, True, True, True, False, True]


@needs_compiler
def test_what_is_not_a_number_is_not_hidden(emulate):
    before_relu, wo, bo, labels = layer(16, 40)
    before_relu[3, 7] = np.nan
    outputs = np.zeros((16, 40), "f4"), np.zeros((1, 11, 40), "f4"), np.zeros((1, 11), "f4")
    inputs = before_relu, wo, bo, labels
    emulate("output_layer")("run_output_layer", 0, *inputs, *outputs, 16, 40)
    assert np.isnan(outputs[2][0, 10])  # the loss
    expected, _ = reference.output_layer(*inputs)
    np.testing.assert_array_equal(np.isnan(outputs[0]), np.isnan(expected))
    assert np.isnan(expected[3]).sum() > 10


@needs_compiler
@pytest.mark.parametrize("constants", [NARROW, WIDE], ids=["narrow", "wide"])
def test_the_shared_memory_asked_for_is_what_the_kernel_lays_out(emulate, constants):
    asked = shared_bytes(*(constants[name] for name in ("UNITS", "CLUSTER", "FEATURES")))
    assert emulate("epoch", **constants)("shared_bytes") == asked
    assert asked <= 227 * 1024  # of a block on Hopper


def test_every_cut_covers_the_network_and_fits_on_an_h200():
    for hidden in range(1, MAX_HIDDEN + 1):
        units, cluster, features = cut(hidden)
        assert units % 8 == features % 8 == 256 % cluster == 0
        assert cluster * features >= 784
        assert -(-hidden // units) <= {8: 15, 16: 7}[cluster]
