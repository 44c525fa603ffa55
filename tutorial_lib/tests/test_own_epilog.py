"""The Triton kernels, on a GPU or in Triton's interpreter: by their definition, and by nvmath."""

from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.lib.array_utils import byte_bounds

from tutorial_lib import MnistNet, backend, kernels, xp
from tutorial_lib.backend import Matmul, MatmulComputeType, MatmulEpilog, to_numpy
from tutorial_lib.benchmarks import own_epilog, profiler
from tutorial_lib.benchmarks.case import Case
from tutorial_lib.dataset import normalized
from tutorial_lib.kernels import in_numpy
from tutorial_lib.networks import NETWORKS, Loop, OwnEpilogPlans
from tutorial_lib.tests.matrices import bits_one_by_one


@pytest.fixture
def own(monkeypatch):
    """`in_triton`, whose results are 77 until written; the interpreter leaves no array."""
    pytest.importorskip("triton", reason="needs Triton, which comes with PyTorch on Linux")
    from triton.runtime import interpreter

    from tutorial_lib.kernels import in_triton

    empty = {"empty": lambda shape, dtype, order="C": xp.full(shape, 77, dtype, order=order)}
    monkeypatch.setattr(in_triton, "xp", SimpleNamespace(**vars(xp) | empty))
    if backend.name == "cpu":
        real, as_tensor, bounds = interpreter._interpreter, in_triton.as_tensor, []

        def inside(access):
            def checked(pointers, *rest):
                used = pointers[rest[-1] if access == "store" else rest[0]]  # by its mask
                if used.size:
                    assert any(low <= used.min() and used.max() < high for low, high in bounds)
                return getattr(real, access)(pointers, *rest)

            return checked

        watched = {access: inside(access) for access in ("load", "store")}
        monkeypatch.setattr(interpreter, "_interpreter", SimpleNamespace(**vars(real) | watched))
        known = lambda x: bounds.append(byte_bounds(x)) or as_tensor(x)  # noqa: E731
        monkeypatch.setattr(in_triton, "as_tensor", known)
    return in_triton


def operands(rng, m, n, k, dtype="float32"):
    """Of the two kernels: whole numbers, whose sums are exact in any arithmetic, and often 0."""
    few = k if k <= 100 else 10
    shapes = (m, k), (n, k), (m,), (few, m), (n, few)
    arrays = (xp.asarray(rng.integers(-1, 2, shape).astype("f4")) for shape in shapes)
    a, b, bias, left, right = (x.astype(dtype) for x in arrays)
    return (a, b.T, bias), (left.T, right.T)


SHAPES = [(30, 256, 784), (1, 1, 1), (17, 33, 9), (130, 5, 24), (257, 65, 65)]
CASES = [(*shape, "float32", None) for shape in SHAPES]
CASES += [(130, 140, 70, "float32", tile) for tile in ((128, 128), (64, 64), (32, 32))]
CASES += [(33, 70, 100, dtype, None) for dtype in ("float16", "bfloat16")]


@pytest.mark.parametrize(("m", "n", "k", "dtype", "tile"), CASES)
def test_the_kernels_give_what_they_should(own, rng, m, n, k, dtype, tile, monkeypatch):
    if (backend.name, dtype) == ("cpu", "bfloat16"):
        pytest.skip("Triton's interpreter takes the bits of a bfloat16 for an integer")
    if tile is not None:
        monkeypatch.setattr(own, "tile", lambda m, n, three_products: tile)
    forward, back = operands(rng, m, n, k, dtype)
    y, mask = own.relu_aux_bias(*forward)
    found = [y, mask, *own.drelu_bgrad(*back, mask)]
    a, b, bias, left, right = (to_numpy(x).astype("f4") for x in (*forward, *back))
    z = a @ b + bias[:, None]
    d = np.where(z < 0, 0, left @ right)
    for x, expected in zip(found, (np.maximum(z, 0), bits_one_by_one(z >= 0), d, d.sum(axis=1))):
        assert (x is mask) or x.dtype == forward[0].dtype
        assert x.flags.f_contiguous
        np.testing.assert_array_equal(to_numpy(x).astype("f4"), expected)


def test_a_half_is_rounded_once_after_the_whole_epilog(own):
    tiny = 2**-14  # whose square is 0 in float16
    given = [[2048, 1], [-tiny, 0]], [[1, 1], [tiny, 0]], [1, 0]
    a, b, bias = (xp.asarray(x, "f2") for x in given)
    y, mask = own.relu_aux_bias(a, b.T, bias)
    assert to_numpy(y).tolist() == [[2050, 1.125], [0, 0]]
    assert to_numpy(mask)[0].tolist() == [1, 3]  # what rounds to -0 is not below 0


def test_nan_infinity_and_minus_zero_go_as_through_the_reference(own):
    a = xp.asarray([[np.nan, np.inf, -0.0, -1, 1], [0] * 5], "f4").T.copy(order="C")
    b, zero = xp.asarray([[1, 0], [0, 0], [-1, 0]], "f4").T, xp.zeros(5, "f4")
    with np.errstate(invalid="ignore"):
        y, mask = own.relu_aux_bias(a, b, zero)
        a = a.copy(order="F")
        found = y, mask, *own.drelu_bgrad(a, b, mask)
        a, b, *rest = (np.asfortranarray(to_numpy(x)) for x in (a, b, zero, mask))
        expected = *in_numpy.relu_aux_bias(a, b, rest[0]), *in_numpy.drelu_bgrad(a, b, rest[1])
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(to_numpy(ours), theirs)


def test_masks_are_exchanged_with_nvmath(own, rng):
    (a, b, bias), back = operands(rng, 130, 48, 64)
    ours = own.relu_aux_bias(a, b, bias)[1]
    with Matmul(a, b) as forward, Matmul(*back) as backward:
        forward.plan(epilog=MatmulEpilog.RELU_AUX_BIAS, epilog_inputs={"bias": bias})
        theirs = forward.execute()[1]["relu_aux"]
        assert (theirs.shape, theirs.strides) == (ours.shape, ours.strides)
        backward.plan(epilog=MatmulEpilog.DRELU_BGRAD, epilog_inputs={"relu_aux": ours})
        d, extra = backward.execute()
        for x, y in zip(own.drelu_bgrad(*back, theirs), (d, extra["drelu_bgrad"])):
            np.testing.assert_array_equal(to_numpy(x), to_numpy(y))


@pytest.mark.parametrize("kernel", ["relu_aux_bias", "drelu_bgrad"])
def test_what_a_pointer_does_not_say_is_checked(kernel, rng):
    good, back = operands(rng, 10, 10, 10)  # square: the shape tells nothing of the order
    if kernel == "drelu_bgrad":
        good = *back, xp.zeros((10, 16), "u1").T
    getattr(kernels, kernel)(*good)
    for i, x in enumerate(good):
        other_order = x.copy(order="F" if x.flags.c_contiguous else "C") if x.ndim == 2 else x[::2]
        wrong = [x.astype("f8"), x.astype("f2"), to_numpy(x).tolist(), x[None], x[:-1], x[::-1]]
        wrong += [x[:-1].copy(order="K")] if i else []  # the first decides on the sizes
        for bad in (*wrong, other_order):
            with pytest.raises((TypeError, ValueError), match=r"^[a-z.T]+ must (be|have) "):
                getattr(kernels, kernel)(*good[:i], bad, *good[i + 1 :])


def test_a_result_of_more_elements_than_a_kernel_can_count_is_refused():
    a = xp.ones((2**16, 2), np.float16)
    with pytest.raises(ValueError, match=r"^the result of relu_aux_bias has more elements"):
        kernels.relu_aux_bias(a, a.T, a[:, 0].copy())


@pytest.mark.parametrize(("pointer", "stream"), [(0, "default"), (64, "external 64")])
def test_torch_launches_on_the_stream_of_cupy(pointer, stream, own, monkeypatch):
    current = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=pointer))
    external = lambda address: f"external {address}" if address else "one of torch's own"  # noqa: E731
    stand_in = {"stream": str, "default_stream": lambda: "default", "ExternalStream": external}
    monkeypatch.setattr(own, "xp", SimpleNamespace(cuda=current))
    monkeypatch.setattr(own, "torch", SimpleNamespace(cuda=SimpleNamespace(**stand_in)))
    assert own.torch_follows() == stream


@pytest.mark.parametrize("launch", [None, Loop])
def test_a_network_trains_with_them_as_with_nvmath(launch):
    images, labels = (x[:1024] for x in normalized(True))
    with NETWORKS["captured"](784, 30, 10) as model:
        expected = to_numpy(model.epoch(images, labels))
    own = NETWORKS["own-epilog"] if launch is None else MnistNet
    with own(784, 30, 10, plans=OwnEpilogPlans, launch=launch) as model:
        losses = to_numpy(model.epoch(images, labels))
        assert not {"hidden", "grad_relu"} & {name for name, *_ in model.plans.planned}
    np.testing.assert_allclose(losses, expected, atol=1e-5)


PRECISIONS = {None: "tf32x3", "32F": "tf32x3", "32F_FAST_TF32": "tf32", "32F_PEDANTIC": None}


@pytest.mark.parametrize(("compute", "precision"), PRECISIONS.items())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_compute_type_decides_on_kernel_and_precision(
    compute, precision, dtype, rng, monkeypatch
):
    if dtype == "float64":
        compute = precision = None
    (a, b, bias), _ = operands(rng, 8, 6, 4, dtype)
    monkeypatch.setattr(kernels, "relu_aux_bias", kernel := Mock(return_value=(1, 2)))
    made = OwnEpilogPlans(compute and MatmulComputeType[f"COMPUTE_{compute}"])
    made.run("x", a, b, epilog=MatmulEpilog.RELU_AUX_BIAS, inputs={"bias": bias})
    assert [call.kwargs["precision"] for call in kernel.mock_calls] == [precision] * bool(precision)
    assert len(made.planned) == (precision is None)
    made.free()


@pytest.mark.parametrize(("epilog", "k"), own_epilog.EPILOGS.items())
def test_the_benchmark_compares_three_forms_of_the_same(epilog, k, monkeypatch):
    if backend.name == "cpu":
        monkeypatch.setattr(profiler, "kernels", lambda work: [("void name<1>(int)", 1.0)])
    row = own_epilog.compared(Case("float32", epilog, 128, 8, k))
    assert row.get("differ", 0) == 0
    for form in ("fused", "one kernel", "own"):
        assert len(row[form]["us"]) == 3
        assert len(row[form]["off"]) == (2 if k == 10 else 1)
        assert max(row[form]["off"]) < 1e-6


@pytest.mark.gpu
def test_each_is_one_kernel(rng):
    forward, back = operands(rng, 512, 256, 784)
    _, mask = kernels.relu_aux_bias(*forward)
    for kernel, given in {"relu_aux_bias": forward, "drelu_bgrad": (*back, mask)}.items():
        getattr(kernels, kernel)(*given)  # compiled
        launched = profiler.kernels(lambda k=kernel, x=given: getattr(kernels, k)(*x))
        assert [name for name, _ in launched] == [f"{kernel}_kernel"]
