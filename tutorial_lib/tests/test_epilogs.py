"""Every epilog against its definition in float64, the derivative ones against autograd."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.matmul import Matmul, MatmulOptions, matmul
from tutorial_lib.reference.matmul import MatmulEpilog as E
from tutorial_lib.tests.matrices import bits_one_by_one, close, matrix, problems

NEED_COLUMN_MAJOR = set(E) - {E.DEFAULT, E.RELU, E.GELU, E.BGRADA}


def product(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


def gelu(x):
    """The tanh form, of a NumPy array or a torch tensor, with cuBLASLt's rounded sqrt(2 / pi)."""
    tanh = np.tanh if isinstance(x, np.ndarray) else x.__class__.tanh
    return 0.5 * x * (1 + tanh(0.79788456 * (x + 0.044715 * x**3)))


def run(a, b, epilog, **inputs):
    result = matmul(a, b, epilog=epilog, epilog_inputs=inputs or None)
    d, extra = result if isinstance(result, tuple) else (result, {})
    assert d.dtype == a.dtype
    if epilog in NEED_COLUMN_MAJOR:
        assert d.strides == (d.itemsize, d.shape[0] * d.itemsize)
    return d, extra


@given(problems())
def test_plain_matmul(operands):
    a, b = operands
    d = matmul(a, b)
    close(d, product(a, b))


@given(problems(), st.data())
def test_bias_relu_and_their_mask(operands, data):
    a, b = operands
    rng = np.random.default_rng(1)
    bias = rng.uniform(-1, 1, (len(a), 1)).astype(a.dtype)
    if data.draw(st.booleans()):
        bias = bias.ravel()
    z = product(a, b)
    z_bias = z + bias.reshape(-1, 1)
    close(run(a, b, E.RELU)[0], np.where(z > 0, z, 0))
    close(run(a, b, E.BIAS, bias=bias)[0], z_bias)
    close(run(a, b, E.RELU_BIAS, bias=bias)[0], np.where(z_bias > 0, z_bias, 0))
    for epilog, inputs in ((E.RELU_AUX, {}), (E.RELU_AUX_BIAS, {"bias": bias})):
        before = matmul(a, b, epilog=E.BIAS, epilog_inputs=inputs) if inputs else matmul(a, b)
        d, extra = run(a, b, epilog, **inputs)
        close(d, np.where(z_bias > 0, z_bias, 0) if inputs else np.where(z > 0, z, 0))
        assert set(extra) == {"relu_aux"}
        mask = extra["relu_aux"]
        near_zero = np.abs(before) < 1e-5  # two roundings of one sum may fall on two sides of 0
        expected = bits_one_by_one(
            np.where(near_zero, epilogs.unpack_mask(mask, len(a)), before >= 0)
        )
        assert mask.dtype == np.uint8
        assert mask.strides == (1, len(mask))
        assert np.array_equal(mask, expected)


@given(problems(), st.data())
def test_gelu_and_its_input(operands, data):
    a, b = operands
    bias = np.random.default_rng(1).uniform(-1, 1, len(a)).astype(a.dtype)
    z = product(a, b)
    close(run(a, b, E.GELU)[0], gelu(z), scale=3)
    close(run(a, b, E.GELU_BIAS, bias=bias)[0], gelu(z + bias[:, None]), scale=3)
    for epilog, inputs, before in (
        (E.GELU_AUX, {}, z),
        (E.GELU_AUX_BIAS, {"bias": bias}, z + bias[:, None]),
    ):
        d, extra = run(a, b, epilog, **inputs)
        close(d, gelu(before), scale=3)
        assert set(extra) == {"gelu_aux"}
        assert extra["gelu_aux"].shape == (-(-len(a) // 8) * 8, b.shape[1])
        assert extra["gelu_aux"].strides == (a.itemsize, a.itemsize * len(extra["gelu_aux"]))
        close(extra["gelu_aux"][: len(a)], before)


@given(problems(min_k=2), st.integers(0, 2**32 - 1))
def test_relu_gradient(operands, seed):
    a, b = operands
    positive = np.random.default_rng(seed).random((len(a), b.shape[1])) < 0.5
    mask = epilogs.pack_mask(positive)
    expected = product(a, b) * positive
    close(run(a, b, E.DRELU, relu_aux=mask)[0], expected)
    d, extra = run(a, b, E.DRELU_BGRAD, relu_aux=mask)
    close(d, expected)
    assert set(extra) == {"drelu_bgrad"}
    assert extra["drelu_bgrad"].shape == (len(a),)
    close(extra["drelu_bgrad"], expected.sum(axis=1), scale=b.shape[1])


@given(problems(min_k=2), st.integers(0, 2**32 - 1))
def test_gelu_gradient_against_autograd(operands, seed):
    import torch

    a, b = operands
    m, n = len(a), b.shape[1]
    aux = np.zeros((-(-m // 8) * 8, n), a.dtype, order="F")
    aux[:m] = np.random.default_rng(seed).uniform(-4, 4, (m, n))
    x = torch.tensor(aux[:m].astype(np.float64), requires_grad=True)
    gelu(x).backward(torch.tensor(product(a, b)))
    expected = x.grad.numpy()
    close(run(a, b, E.DGELU, gelu_aux=aux)[0], expected, scale=100)
    d, extra = run(a, b, E.DGELU_BGRAD, gelu_aux=aux)
    close(d, expected, scale=100)
    assert set(extra) == {"dgelu_bgrad"}
    close(extra["dgelu_bgrad"], expected.sum(axis=1), scale=100 * n)


@pytest.mark.parametrize(
    ("forward", "backward"), [(E.RELU_AUX_BIAS, E.DRELU_BGRAD), (E.GELU_AUX_BIAS, E.DGELU_BGRAD)]
)
@pytest.mark.parametrize("shape", [(30, 256, 20), (1, 3, 2), (130, 5, 9)])
def test_a_layer_forward_and_backward_against_autograd(forward, backward, shape, rng):
    """The pair that a network uses: an AUX epilog forward, its BGRAD derivative backward."""
    import torch

    m, n, k = shape
    w, x, upstream, above = (rng.standard_normal(s) for s in ((m, k), (k, n), (7, n), (7, m)))
    bias = rng.standard_normal(m)
    y, extra = run(w, x, forward, bias=bias)
    d, bgrad = run(above.T, upstream, backward, **extra)

    activation = torch.relu if forward == E.RELU_AUX_BIAS else gelu
    z = torch.tensor(w @ x + bias[:, None], requires_grad=True)
    torch_y = activation(z)
    np.testing.assert_allclose(y, torch_y.detach().numpy(), atol=1e-12)
    (torch.tensor(above) @ torch_y).backward(torch.tensor(upstream))
    # cuBLASLt's DGELU differs from its GELU's slope in the twelfth digit: a rounded constant
    np.testing.assert_allclose(d, z.grad.numpy(), atol=1e-11)
    sums = z.grad.sum(dim=1).numpy()
    np.testing.assert_allclose(bgrad[backward.name.lower()], sums, atol=1e-10)


@given(problems(), st.data())
def test_bias_gradients_of_the_operands(operands, data):
    a, b = operands
    if len(a) > 1:  # NumPy does not change the strides of a single row or column
        d, extra = run(np.asfortranarray(a), b, E.BGRADA)
        close(d, product(a, b))
        assert d.strides == (d.itemsize, d.shape[0] * d.itemsize)
        assert set(extra) == {"bgrada"}
        close(extra["bgrada"], a.astype(np.float64).sum(axis=1))
    if min(b.shape) > 1:
        d, extra = run(a, np.ascontiguousarray(b), E.BGRADB)
        close(d, product(a, b))
        assert set(extra) == {"bgradb"}
        close(extra["bgradb"], b.astype(np.float64).sum(axis=0))


@given(problems(), st.data(), st.floats(-2, 2), st.floats(-2, 2), st.booleans())
def test_alpha_beta_c_and_inplace(operands, data, alpha, beta, inplace):
    a, b = operands
    m, n = len(a), b.shape[1]
    columns = n if inplace else data.draw(st.sampled_from([1, n]))
    c = matrix(data.draw, np.random.default_rng(3), (m, columns), a.dtype)
    if columns == 1 and not inplace:
        c = c.copy()  # one column that stands for all must be packed
    expected = alpha * product(a, b) + beta * c.astype(np.float64)
    with Matmul(a, b, c, alpha=alpha, beta=beta, options=MatmulOptions(inplace=inplace)) as mm:
        mm.plan(epilog=E.RELU)
        d = mm.execute()
    close(d, np.where(expected > 0, expected, 0), scale=4)
    assert (d is c) == inplace
    if not inplace and columns > 1 < m:
        assert (d.strides[0] == d.itemsize) == (c.strides[0] == c.itemsize)


def test_relu_and_its_mask_at_the_edges():
    """As an H200 computes it: NaN stays and counts as let through, and so does a zero."""
    a = np.array([[np.nan, -0.0, -1.0, 2.0, np.inf, -np.inf]], np.float32).T
    d, extra = run(a, np.ones((1, 1), np.float32), E.RELU_AUX)
    assert np.isnan(d[0, 0])
    assert d.ravel()[1:].tolist() == [0, 0, 2, np.inf, 0]
    assert extra["relu_aux"][0, 0] == 0b011011


@pytest.mark.parametrize("x", [-3.0, -0.7, 0.0, 0.1, 1.0, 2.5])
def test_gelu_is_that_of_torch_to_eight_digits(x):
    import torch

    d = run(np.array([[x]]), np.ones((1, 1)), E.GELU)[0]
    theirs = torch.nn.functional.gelu(torch.tensor(x, dtype=torch.float64), approximate="tanh")
    assert float(d[0, 0]) == pytest.approx(float(theirs), rel=1e-8, abs=1e-9)


@given(st.integers(1, 300), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_pack_and_unpack(m, n, seed):
    positive = np.random.default_rng(seed).random((m, n)) < 0.5
    mask = epilogs.pack_mask(positive)
    assert mask.shape == epilogs.mask_shape(m, n)
    assert np.array_equal(mask, bits_one_by_one(positive))
    assert np.array_equal(epilogs.unpack_mask(mask, m), positive)


def test_padding_bits_of_a_foreign_mask_do_not_matter():
    mask = epilogs.pack_mask(np.ones((3, 2), bool))
    mask[1:] = 255
    mask[0] |= 0b11111000
    a, b = np.ones((3, 2), np.float32), np.ones((2, 2), np.float32)
    assert run(a, b, E.DRELU_BGRAD, relu_aux=mask)[1]["drelu_bgrad"].tolist() == [4, 4, 4]


def test_every_epilog_but_default_has_stages():
    assert set(epilogs.STAGES) == set(E) - {E.DEFAULT}
