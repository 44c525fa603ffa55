"""Forward and backward of every network by three oracles, its live buffers, its plans, refusals."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutorial_lib import MnistNet, MnistNetNaive, binary_cross_entropy, one_hot, xp
from tutorial_lib.backend import MatmulComputeType, MatmulEpilog, to_numpy
from tutorial_lib.gradcheck import central_differences
from tutorial_lib.networks import NETWORKS, MnistNetHalf, plans
from tutorial_lib.networks.base import PARAMETERS
from tutorial_lib.networks.half import half
from tutorial_lib.networks.inputs import address
from tutorial_lib.networks.plans import Plans, UncheckedPlans


def by_name(*names):
    return pytest.mark.parametrize("network", [NETWORKS[name] for name in names], ids=names)


every_network = by_name(*NETWORKS)
in_float32 = by_name(*(name for name in NETWORKS if name != "half"))


def normal(rng, *shape):
    return xp.asarray(rng.standard_normal(shape).astype(np.float32))


def coarse(x, step):
    """To multiples of `step`: sums of products are then exact, and no ReLU's input near 0 is
    positive in one order of summation and negative in another."""
    return xp.round(x / step) * step


# Arrays as they come: the same numbers, or the first of them, laid out in many ways.


def strided(x):
    return x.repeat(2, axis=0)[::2]


def offset(x):
    """Dense, but not from a multiple of 16 bytes on."""
    memory = xp.zeros(x.size + 1, x.dtype)
    memory[1:] = x.ravel()
    return memory[1:].reshape(x.shape)


DENSE = [lambda x: x, lambda x: xp.concatenate([x[:1]] * 48 + [x])[48:]]  # a part of a larger one
VIEWS = [
    *DENSE,
    strided,
    offset,
    lambda x: x[::-1].copy()[::-1],
    lambda x: xp.asfortranarray(x) if x.ndim > 1 else strided(x),
    lambda x: xp.broadcast_to(x[:1], x.shape),
]


@pytest.mark.parametrize("network", [MnistNetNaive, MnistNet])
@pytest.mark.parametrize("shape", [(784, 30, 10), (20, 1, 10), (13, 129, 7), (1, 5, 2)])
@pytest.mark.parametrize("n", [1, 2, 17, 256])
def test_gradients_against_autograd_and_central_differences(network, shape, n, rng):
    import torch

    images = normal(rng, n, shape[0]).astype(np.float64)
    targets = one_hot(xp.asarray(rng.integers(0, shape[2], n)), shape[2]).astype(np.float64)
    with network(*shape).astype(np.float64) as model:
        probabilities = model.forward(images)
        gradients = model.backward((probabilities - targets) / n)

        parameters = [torch.tensor(to_numpy(p), requires_grad=True) for p in model.parameters]
        wh, bh, wo, bo = parameters
        logits = torch.relu(torch.tensor(to_numpy(images)) @ wh.T + bh) @ wo.T + bo
        expected, t = torch.sigmoid(logits), torch.tensor(to_numpy(targets))
        loss = torch.nn.functional.binary_cross_entropy(expected, t)
        (loss * shape[2]).backward()  # the published gradient averages over the batch only
        np.testing.assert_allclose(to_numpy(probabilities), expected.detach(), atol=1e-12)
        for ours, theirs in zip(gradients, parameters):
            np.testing.assert_allclose(to_numpy(ours), theirs.grad, atol=1e-12)

        def tried_loss():
            return float(binary_cross_entropy(model.forward(images), targets)) * shape[2]

        for parameter, gradient in zip(model.parameters, gradients):
            elements = [tuple(int(i) for i in rng.integers(0, parameter.shape)) for _ in range(8)]
            tried = central_differences(tried_loss, parameter, elements, step=1e-6)
            np.testing.assert_allclose([float(gradient[e]) for e in elements], tried, atol=1e-7)


@in_float32
@settings(max_examples=12)
@given(
    width=st.sampled_from([1, 30, 257]),
    batches=st.lists(st.sampled_from([1, 2, 17, 256]), min_size=2, max_size=3),
    image_view=st.sampled_from(VIEWS),
    grad_view=st.sampled_from(VIEWS),
)
def test_forward_and_backward_are_the_plain_network_s_whatever_is_written_into_the_buffers(
    network, width, batches, image_view, grad_view
):
    plain, rng = MnistNetNaive(784, width, 10), np.random.default_rng(0)
    with network(784, width, 10) as model:
        for parameter in (*model.parameters, *plain.parameters):
            parameter[...] = coarse(parameter, 2**-10)
        for n in batches:
            images = image_view(coarse(normal(rng, n, 784), 2**-4))
            grad = grad_view(normal(rng, n, 10) / n)
            found = model.forward(images), *model.backward(grad)
            expected = plain.forward(images.copy()), *plain.backward(grad.copy())
            for ours, theirs in zip(found, expected):
                assert ours.shape == theirs.shape
                np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), atol=1e-5)
            for parameter in (*model.parameters, *plain.parameters):
                parameter += 2**-7 * parameter.ndim


@every_network
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_cannot_be_bound_to_another_array(network, name):
    model = network(784, 30, 10)
    buffer = getattr(model, name)
    with pytest.raises(AttributeError, match=rf"{name} is a live buffer.*{name}\[\.\.\.\]"):
        setattr(model, name, buffer.copy())
    exec(f"model.{name} -= 0.1")  # the published update binds the name to the array it already has
    assert getattr(model, name) is buffer


@pytest.mark.parametrize(
    ("networks", "shape", "message"),
    [
        (NETWORKS, (0, 30, 10), "at least one unit, got 0-30-10"),
        (NETWORKS, (784, 30, -1), "at least one unit"),
        (["inplace", "captured", "half"], (784, 30, 9), "10 outputs, not 9"),
        (["one-kernel"], (784, 8449, 10), "up to 8,448, not 784-8449-10: take MnistNetCaptured"),
        (["one-kernel"], (783, 30, 10), "take MnistNetCaptured"),
        (["one-kernel"], (784, 30, 9), "take MnistNetCaptured"),
    ],
)
def test_sizes_that_a_network_is_not_made_for(networks, shape, message):
    for name in networks:
        with pytest.raises(ValueError, match=message):
            NETWORKS[name](*shape)


def test_the_widest_networks_that_the_kernels_take_and_another_seed():
    published, other = (NETWORKS["one-kernel"](784, 512, 10, seed=seed) for seed in (1234, 1))
    assert (MnistNetNaive(784, 512, 10).bias_output == published.bias_output).all()
    assert (published.bias_output != other.bias_output).any()


@every_network
def test_astype_keeps_the_choices_shares_nothing_and_computes_in_that_type(network, rng):
    tf32 = None if network is MnistNetHalf else MatmulComputeType.COMPUTE_32F_FAST_TF32
    images = normal(rng, 3, 784)
    with network(784, 4, 10, compute_type=tf32) as model:
        model.forward(images)
        copy, plain = (net.astype(np.float64) for net in (model, MnistNetNaive(784, 4, 10)))
        assert (type(copy.plans), type(copy.launch)) == (type(model.plans), type(model.launch))
        assert (copy.plans.compute_type, copy.plans.planned, copy.saved) == (tf32, {}, None)
        assert [p.dtype for p in copy.parameters] == [np.float64] * 4
        copy.plans.compute_type = None  # which a GPU does not have for float64
        found, expected = (
            to_numpy(net.forward(images.astype(np.float64))) for net in (copy, plain)
        )
        np.testing.assert_allclose(found, expected, atol=1e-12)
        copy.weights_hidden[...] = 0
        assert bool(model.weights_hidden.all())


# Half precision.

HALVES = pytest.mark.parametrize(
    ("dtype", "rounding"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)]
)


@HALVES
def test_gradients_in_half_precision_are_off_by_its_rounding_however_small(dtype, rounding, rng):
    plain = MnistNetNaive(784, 30, 10).astype(np.float64)
    with MnistNetHalf(784, 30, 10, dtype=dtype) as model:
        for parameter, exact in zip(model.parameters, plain.parameters):
            parameter[...] = exact[...] = parameter.astype(model.dtype).astype(np.float32)
        for n in (256, 3, 256):
            images = strided(normal(rng, n, 784).astype(model.dtype))
            grad = strided(normal(rng, n, 10) * 3e-4 / n)  # in float16, a multiple of 6e-8
            found = model.forward(images), *model.backward(grad)
            expected = plain.forward(images.astype(float)), *plain.backward(grad.astype(float))
            for ours, theirs in zip(found, map(to_numpy, expected)):
                assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
                assert abs(to_numpy(ours) - theirs).max() < 3 * rounding * abs(theirs).max()


@HALVES
def test_the_parameters_and_their_copies_are_aligned_parts_of_two_arrays(dtype, rounding):
    model = MnistNetHalf(784, 3, 10, dtype=dtype)
    for part, parameter in zip(model.rounded, model.parameters):
        assert part.shape == parameter.shape
        assert (address(part) - address(model.copies)) % 16 == 0
    model.masters[...] = 1 + 0.6 * rounding
    model.forward(xp.ones((1, 784), xp.float32))
    assert all(bool((p == np.float32(1 + 0.6 * rounding)).all()) for p in model.parameters)
    assert all(bool((p == 1).all()) for p in model.rounded)


def test_other_dtypes_are_refused_and_bfloat16_without_its_package(monkeypatch):
    model = MnistNetHalf(784, 3, 10, dtype="float16")
    with pytest.raises(TypeError, match=r"ndarray of float32, not a .*bfloat16"):
        model.forward(xp.ones((1, 784), half("bfloat16")))
    with pytest.raises(ValueError, match="float16 or bfloat16, not 'float8'"):
        MnistNetHalf(784, 3, 10, dtype="float8")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match="pip install ml_dtypes"):
        MnistNetHalf(784, 3, 10)


# Plans.


@pytest.fixture
def planned(monkeypatch):
    """What is planned and freed, in order."""
    events = []

    class Recording(plans.Matmul):
        def plan(self, *, epilog=None, **rest):
            events.append(epilog)
            return super().plan(epilog=epilog, **rest)

        def reset_operands(self, **operands):
            events.append({name for name, x in operands.items() if x is not None})
            super().reset_operands(**operands)

        def free(self):
            events.append("free")
            super().free()

    monkeypatch.setattr(plans, "Matmul", Recording)
    return events


def test_the_published_epilogs_are_planned_once_for_each_batch_size(planned, rng):
    images = normal(rng, 12, 784)
    forward = [MatmulEpilog.RELU_AUX_BIAS, MatmulEpilog.BIAS]
    with MnistNet(784, 30, 10) as model:
        probabilities = to_numpy(model.forward(images))
        assert planned == forward
        for n in (12, 3, 12, 3):
            model.backward(model.forward(images[:n]))
        backward = [None, MatmulEpilog.DRELU_BGRAD, None]
        assert [e for e in planned if not isinstance(e, set)] == [*forward, *backward] * 2
        held = list(model.plans.planned.values())
        assert len(held) == 10
        model.free()
        assert planned[-10:] == ["free"] * 10
        assert not model.plans.planned
        with pytest.raises(RuntimeError, match="call forward first"):
            model.backward(images[:, :10])
        for mm in held:
            with pytest.raises(Exception, match="free"):
                mm.execute()
        assert np.array_equal(to_numpy(model.forward(images)), probabilities)


def test_a_failing_plan_is_freed_and_not_kept(planned):
    x, made = xp.ones((4, 4), xp.float32), Plans()
    with pytest.raises(ValueError, match="bias"):
        made.run("x", x, x, epilog=MatmulEpilog.BIAS)
    assert (planned, made.planned) == ([MatmulEpilog.BIAS, "free"], {})


def test_checked_plans_reset_only_what_lies_elsewhere_and_unchecked_ones_do_not_look(planned, rng):
    a, b, bias = normal(rng, 8, 8), normal(rng, 8, 6), normal(rng, 8)
    c, d, other = a.copy(), b.copy(), bias.copy()
    checked, unchecked = Plans(), UncheckedPlans()
    runs = [(a, b, bias), (a, b, bias), (c, b, bias), (c, d, other), (a, d, bias)]
    for x, y, z, alpha in [*((*operands, None) for operands in runs), (a, d, bias, 3.0)]:
        plan = {"epilog": MatmulEpilog.BIAS, "inputs": {"bias": z}, "alpha": alpha}
        expected = to_numpy((alpha or 1) * x @ y + z[:, None])
        for made in (checked, unchecked):
            np.testing.assert_allclose(to_numpy(made.run("x", x, y, **plan)), expected, atol=1e-5)
    assert planned[2:] == [{"a"}, {"b", "epilog_inputs"}, {"a", "epilog_inputs"}, {"alpha"}]
    for wrong in (a.astype(xp.float64), xp.asfortranarray(a), a.T):
        unchecked.run("x", wrong, d, inputs={"bias": bias})  # as if it were a
        with pytest.raises(ValueError, match=r"dtype|data type|stride|layout"):
            checked.run("x", wrong, d, inputs={"bias": bias})
    checked.free()
    unchecked.free()
