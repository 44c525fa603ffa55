"""Both networks: gradients by two oracles, equality, live buffers, plans, and refusals."""

import numpy as np
import pytest

from tutorial_lib import MnistNet, MnistNetNaive, binary_cross_entropy, one_hot, xp
from tutorial_lib.backend import MatmulEpilog, name, to_numpy
from tutorial_lib.gradcheck import central_differences
from tutorial_lib.networks import fused
from tutorial_lib.networks.base import PARAMETERS

NETWORKS = [MnistNetNaive, MnistNet]
SHAPES = [(784, 30, 10), (20, 1, 10), (13, 129, 7), (1, 5, 2)]
BATCHES = [1, 2, 17, 256]


def problem(network, shape, batch, rng, dtype=np.float64):
    model = network(*shape).astype(dtype)
    images = xp.asarray(rng.standard_normal((batch, shape[0])).astype(dtype))
    targets = one_hot(xp.asarray(rng.integers(0, shape[2], batch)), shape[2]).astype(dtype)
    return model, images, targets


def gradients(model, images, targets):
    return model.backward((model.forward(images) - targets) / len(images))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_gradients_against_autograd(network, shape, batch, rng):
    import torch

    model, images, targets = problem(network, shape, batch, rng)
    parameters = [torch.tensor(to_numpy(p), requires_grad=True) for p in model.parameters]
    wh, bh, wo, bo = parameters
    logits = torch.relu(torch.tensor(to_numpy(images)) @ wh.T + bh) @ wo.T + bo
    probabilities = torch.sigmoid(logits)
    loss = torch.nn.functional.binary_cross_entropy(probabilities, torch.tensor(to_numpy(targets)))
    (loss * shape[2]).backward()  # the published gradient averages over the batch only
    with model:
        np.testing.assert_allclose(
            to_numpy(model.forward(images)), probabilities.detach(), atol=1e-12
        )
        for ours, p in zip(gradients(model, images, targets), parameters):
            np.testing.assert_allclose(to_numpy(ours), p.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("batch", [1, 9])
def test_gradients_against_central_differences(network, shape, batch, rng):
    model, images, targets = problem(network, shape, batch, rng)

    def loss():
        return float(binary_cross_entropy(model.forward(images), targets)) * shape[2]

    with model:
        for parameter, gradient in zip(model.parameters, gradients(model, images, targets)):
            elements = [tuple(int(i) for i in rng.integers(0, parameter.shape)) for _ in range(8)]
            tried = central_differences(loss, parameter, elements, step=1e-6)
            np.testing.assert_allclose([float(gradient[e]) for e in elements], tried, atol=1e-7)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("width", [1, 30, 257])
def test_fused_equals_naive(width, batch, rng):
    images = xp.asarray(rng.standard_normal((batch, 784)).astype(np.float32))
    targets = one_hot(xp.asarray(rng.integers(0, 10, batch)), 10)
    naive, model = MnistNetNaive(784, width, 10), MnistNet(784, width, 10)
    with model:
        np.testing.assert_allclose(
            to_numpy(model.forward(images)), to_numpy(naive.forward(images)), atol=1e-6
        )
        for ours, theirs in zip(
            gradients(model, images, targets), gradients(naive, images, targets)
        ):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_parameters_are_live_buffers(network, rng):
    images = xp.asarray(rng.standard_normal((5, 784)).astype(np.float32))
    with network(784, 30, 10) as model:
        before = model.forward(images).copy()
        for i, parameter in enumerate(model.parameters):
            parameter += 0.01 * (i + 1)
        fresh = network(784, 30, 10)
        for name_, parameter in zip(PARAMETERS, model.parameters):
            getattr(fresh, name_)[...] = parameter
        after = model.forward(images)
        assert abs(after - before).max() > 1e-3
        assert abs(after - fresh.forward(images)).max() < 1e-6
        fresh.free()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name_", PARAMETERS)
def test_a_parameter_cannot_be_bound_to_another_array(network, name_):
    model = network(784, 30, 10)
    buffer = getattr(model, name_)
    with pytest.raises(AttributeError, match=rf"{name_} is a live buffer.*{name_}\[\.\.\.\]"):
        setattr(model, name_, buffer.copy())
    exec(f"model.{name_} -= 0.1")  # the published update binds the name to the array it already has
    assert getattr(model, name_) is buffer


@pytest.mark.parametrize("network", NETWORKS)
def test_batch_sizes_may_alternate(network, rng):
    images = xp.asarray(rng.standard_normal((12, 784)).astype(np.float32))
    with network(784, 30, 10) as model:
        whole = to_numpy(model.forward(images))
        for size in (1, 5, 12, 5, 1):
            np.testing.assert_allclose(
                to_numpy(model.forward(images[:size])), whole[:size], atol=1e-6
            )


def test_plans_are_kept_per_batch_size_and_freed(rng):
    images = xp.asarray(rng.standard_normal((12, 784)).astype(np.float32))
    model = MnistNet(784, 30, 10)
    assert not model._matmuls
    model.forward(images)
    assert len(model._matmuls) == 2
    plans = dict(model._matmuls)
    model.backward(model.forward(images))
    assert len(model._matmuls) == 5
    assert all(model._matmuls[key] is plan for key, plan in plans.items())
    model.forward(images[:3])
    assert len(model._matmuls) == 7
    probabilities = to_numpy(model.forward(images))
    model.free()
    assert not model._matmuls
    with pytest.raises(Exception, match="free"):
        plans["hidden", 12].execute()
    with pytest.raises(RuntimeError, match="call forward first"):
        model.backward(images[:, :10])
    assert np.array_equal(to_numpy(model.forward(images)), probabilities)
    model.free()


def test_the_fused_network_uses_the_published_epilogs(monkeypatch, rng):
    """Five matmuls, three of them with an epilog: what it says on the page is what is called."""
    planned = []

    class Recording(fused.Matmul):
        def plan(self, *, epilog=None, **rest):
            planned.append(epilog)
            return super().plan(epilog=epilog, **rest)

    monkeypatch.setattr(fused, "Matmul", Recording)
    images = xp.asarray(rng.standard_normal((4, 784)).astype(np.float32))
    with MnistNet(784, 30, 10) as model:
        model.backward(model.forward(images))
        model.backward(model.forward(images))
    assert planned == [
        MatmulEpilog.RELU_AUX_BIAS,
        MatmulEpilog.BIAS,
        None,
        MatmulEpilog.DRELU_BGRAD,
        None,
    ]


@pytest.mark.parametrize("network", NETWORKS)
def test_any_memory_layout_of_the_images(network, rng):
    images = rng.standard_normal((6, 784)).astype(np.float32)
    grad = rng.standard_normal((6, 10)).astype(np.float32)
    with network(784, 30, 10) as model:
        expected = to_numpy(model.forward(xp.asarray(images)))
        expected_gradients = model.backward(xp.asarray(grad))
        column_major, gapped = xp.asarray(images, order="F"), xp.zeros((12, 784), xp.float32)[::2]
        gapped[...] = xp.asarray(images)
        for x in (column_major, gapped):
            np.testing.assert_allclose(to_numpy(model.forward(x)), expected, atol=1e-6)
            for ours, theirs in zip(
                model.backward(xp.asarray(grad, order="F")), expected_gradients
            ):
                np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_bad_images(network):
    with network(784, 30, 10) as model:
        for images, error, match in (
            (xp.ones((4, 783), xp.float32), ValueError, r"\(n, 784\)"),
            (xp.ones(784, xp.float32), ValueError, r"\(n, 784\)"),
            (xp.ones((0, 784), xp.float32), ValueError, "n at least 1"),
            (xp.ones((4, 784), xp.float64), TypeError, "float32.*float64"),
            (xp.ones((4, 784), xp.uint8), TypeError, "uint8"),
            ([[0.0] * 784], TypeError, "list"),
        ):
            with pytest.raises(error, match=match):
                model.forward(images)


@pytest.mark.parametrize("network", NETWORKS)
def test_bad_gradients(network):
    with network(784, 30, 10) as model:
        grad = xp.ones((4, 10), xp.float32)
        with pytest.raises(RuntimeError, match="call forward first"):
            model.backward(grad)
        model.forward(xp.ones((4, 784), xp.float32))
        with pytest.raises(ValueError, match=r"\(4, 10\), not \(3, 10\)"):
            model.backward(grad[:3])
        with pytest.raises(TypeError, match="float32"):
            model.backward(grad.astype(xp.float64))
        model.backward(grad)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(0, 30, 10), (784, 0, 10), (784, 30, -1)])
def test_bad_widths(network, shape):
    with pytest.raises(ValueError, match="at least one unit"):
        network(*shape)


def test_the_seed_is_a_parameter():
    published, same, other = (MnistNetNaive(784, 30, 10, seed=s) for s in (1234, 1234, 1))
    assert MnistNetNaive(784, 30, 10).weights_hidden[0, 0] == published.weights_hidden[0, 0]
    assert (published.weights_output == same.weights_output).all()
    assert (published.weights_output != other.weights_output).any()


def test_a_failing_plan_is_freed_and_not_kept(monkeypatch):
    freed = []

    class Refusing(fused.Matmul):
        def plan(self, **arguments):
            raise ValueError("no such plan")

        def free(self):
            freed.append(self)
            super().free()

    monkeypatch.setattr(fused, "Matmul", Refusing)
    model = MnistNet(784, 30, 10)
    with pytest.raises(ValueError, match="no such plan"):
        model.forward(xp.ones((4, 784), xp.float32))
    assert len(freed) == 1
    assert not model._matmuls


@pytest.mark.skipif(name == "gpu", reason="CuPy does not warn")
def test_central_differences_put_the_parameter_back_and_want_float64():
    parameter = np.array([1.0, 2.0])
    slopes = central_differences(lambda: (parameter**2).sum(), parameter, [(0,), (1,)])
    np.testing.assert_allclose(slopes, [2, 4], rtol=1e-8)
    assert parameter.tolist() == [1, 2]
    with pytest.raises(TypeError, match="float64"):
        central_differences(lambda: 0.0, np.ones(2, np.float32), [(0,)])
