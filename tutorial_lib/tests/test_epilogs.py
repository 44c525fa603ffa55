"""Every epilog against its definition in float64, the derivative ones against autograd."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog as E
from tutorial_lib.reference.matmul import matmul
from tutorial_lib.tests.gpu.conformance import Case, inputs_of, meaning, named, operands
from tutorial_lib.tests.matrices import HALVES, bits_one_by_one, close, matrix, problems


def gelu(x):
    """The tanh form, of a NumPy array or a torch tensor, with cuBLASLt's rounded sqrt(2 / pi)."""
    tanh = np.tanh if isinstance(x, np.ndarray) else x.__class__.tanh
    return 0.5 * x * (1 + tanh(0.79788456 * (x + 0.044715 * x**3)))


def gradient(activation, x, upstream):
    """What autograd makes of an activation at x, (M, N): upstream times its derivative there."""
    import torch

    x = torch.tensor(x.astype(np.float64), requires_grad=True)
    activation(x).backward(torch.tensor(upstream))
    return x.grad.numpy()


def rounded(x, dtype):
    """Float64 as numbers of a type, in which a sum is written that was formed in float32."""
    return x.astype(np.result_type(dtype, np.float32)).astype(dtype).astype(np.float64)


def defined(epilog, d, a, b, inputs):
    """The result and the extra outputs by the words of an epilog's name, in float64."""
    a, b, words = a.astype(np.float64), b.astype(np.float64), epilog.name.split("_")
    extra = {}
    if "BIAS" in words:
        d = d + inputs["bias"].reshape(-1, 1).astype(np.float64)
    if "AUX" in words:
        extra[f"{words[0].lower()}_aux"] = d >= 0 if words[0] == "RELU" else d
    if words[0] == "RELU":
        d = np.where(d > 0, d, 0)
    elif words[0] == "GELU":
        d = gelu(d)
    elif words[0] == "DRELU":
        d = d * epilogs.unpack_mask(inputs["relu_aux"], len(d))
    elif words[0] == "DGELU":
        d = gradient(gelu, inputs["gelu_aux"][: len(d)], d)
    sums = {"BGRAD": d.sum(axis=1), "BGRADA": a.sum(axis=1), "BGRADB": b.sum(axis=0)}
    if words[-1] in sums:
        extra[epilog.name.lower()] = sums[words[-1]]
    return {"result": d, **extra}


@pytest.mark.parametrize("epilog", epilogs.STAGES)
@settings(max_examples=40)
@given(problems(), st.sampled_from(["none", "matrix", "column", "in place"]), st.data())
def test_an_epilog_computes_its_definition(epilog, operands, kind, data):
    a, b = operands
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    if epilog == E.BGRADA:
        a = np.asfortranarray(np.repeat(a, 2, axis=0))  # at least two rows
    if epilog == E.BGRADB:
        b = np.repeat(b, 2, axis=1)
    (m, n), dtype, half = (len(a), b.shape[1]), a.dtype, a.dtype in HALVES
    alpha, beta = data.draw(st.floats(-2, 2)), data.draw(st.floats(-2, 2))
    before = alpha * (a.astype(np.float64) @ b.astype(np.float64))
    tensors, arguments = [a, b], {"alpha": alpha}
    if kind != "none":
        columns = 1 if kind == "column" else n
        order = None if epilog in (E.RELU, E.GELU) and columns > 1 else "F"
        dtype = data.draw(st.sampled_from([a.dtype, np.dtype(np.float32)])) if half else a.dtype
        c = matrix(data.draw, rng, (m, columns), dtype, order)
        before = before + beta * c.astype(np.float64)
        tensors.append(c)
        arguments |= {"beta": beta, "options": {"inplace": kind == "in place"}}
    inputs = inputs_of(epilog, m, n, dtype, rng)
    if "bias" in inputs and data.draw(st.booleans()):
        inputs["bias"] = inputs["bias"].reshape(-1, 1)
    outputs = named(matmul(*tensors, epilog=epilog, epilog_inputs=inputs or None, **arguments))
    found, expected = meaning(outputs, m), defined(epilog, before, a, b, inputs)
    assert set(found) == set(expected)
    assert {x.dtype for x in outputs.values()} - {np.dtype(np.uint8)} == {dtype}
    d, packed = outputs["result"], [outputs[name] for name in outputs if name.endswith("_aux")]
    if kind == "in place":
        assert d is c
    elif kind == "matrix" and m > 1 < n:
        assert (d.strides[0] == d.itemsize) == (c.strides[0] == c.itemsize)
    elif epilog not in (E.RELU, E.GELU, E.BGRADA):
        packed.append(d)
    for x in packed:
        assert x.strides == (x.itemsize, len(x) * x.itemsize)
    if "relu_aux" in found:
        mask, found_mask = expected.pop("relu_aux"), found.pop("relu_aux")
        sure = np.abs(before + (inputs["bias"].reshape(-1, 1) if inputs else 0)) > 1e-4
        assert (found_mask == mask)[sure].all()  # two roundings may fall on two sides of 0
        assert np.array_equal(outputs["relu_aux"], bits_one_by_one(found_mask))
    if "gelu_aux" in found:
        assert outputs["gelu_aux"].shape == (-(-m // 8) * 8, n)
    if epilog.name.endswith("BGRAD"):  # of the result as it is written
        expected[epilog.name.lower()] = found["result"].astype(np.float64).sum(axis=1)
    for name, x in expected.items():
        close(found[name], x, scale=n * (200 if "GELU" in epilog.name and name == "result" else 4))


@pytest.mark.parametrize("epilog", [e for e in epilogs.STAGES if "GELU" not in e.name])
@pytest.mark.parametrize("c_dtype", ["", "float32"])
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_summed_in_float32_and_rounded_once(dtype, c_dtype, epilog):
    """Integers, which float32 adds up exactly. A bias gradient is a sum of rounded numbers."""
    case = Case(epilog, (30, 40, 784), ("F", "C"), dtype, "F", c_dtype)
    tensors, arguments, inputs = operands(case)
    tensors[1] *= 8  # beyond what the type holds, with c
    found = meaning(named(matmul(*tensors, epilog=epilog, epilog_inputs=inputs, **arguments)), 30)
    a, b, c = (x.astype(np.float64) for x in tensors)
    d, written = 2 * a @ b - c, found["result"].dtype
    d = rounded(d, written) if epilog.name.endswith("BGRAD") else d
    for name, x in defined(epilog, d, a, b, inputs).items():
        np.testing.assert_array_equal(found[name], rounded(x, written))


@pytest.mark.parametrize("shape", [(30, 256, 20), (1, 3, 2), (130, 5, 9)])
def test_a_gelu_layer_forward_and_backward_against_autograd(shape, rng):
    """As a network would pair the epilogs; that of ReLU is tested in MnistNet."""
    import torch

    m, n, k = shape
    w, x, upstream, above = (rng.standard_normal(s) for s in ((m, k), (k, n), (7, n), (7, m)))
    bias = rng.standard_normal(m)
    y, extra = matmul(w, x, epilog=E.GELU_AUX_BIAS, epilog_inputs={"bias": bias})
    d, bgrad = matmul(above.T, upstream, epilog=E.DGELU_BGRAD, epilog_inputs=extra)
    z = torch.tensor(w @ x + bias[:, None])
    np.testing.assert_allclose(y, gelu(z).numpy(), atol=1e-12)
    theirs = torch.nn.functional.gelu(z, approximate="tanh")
    np.testing.assert_allclose(gelu(z), theirs, atol=1e-7, rtol=1e-8)
    expected = gradient(gelu, z.numpy(), above.T @ upstream)
    # cuBLASLt's DGELU differs from its GELU's slope in the twelfth digit: a rounded constant
    np.testing.assert_allclose(d, expected, atol=1e-11)
    np.testing.assert_allclose(bgrad["dgelu_bgrad"], expected.sum(axis=1), atol=1e-10)


@pytest.mark.parametrize(("dtype", "tiny"), [("f4", 0), (HALVES[0], 1), (HALVES[1], 0)])
def test_relu_and_its_mask_at_the_edges(dtype, tiny):
    """As an H200 computes it: NaN stays and counts as let through, and so does a zero, be it one
    that a negative number rounds to."""
    a = np.array([[np.nan, -0.0, -1.0, 2.0, np.inf, -np.inf, -(2.0**-24)]]).T.astype(dtype)
    d, extra = matmul(a, np.ones((1, 1), dtype), alpha=0.5, epilog=E.RELU_AUX)
    np.testing.assert_array_equal(d.ravel().astype(float), [np.nan, 0, 0, 1, np.inf, 0, 0])
    assert extra["relu_aux"][0, 0] == 0b011011 + 64 * tiny


@given(st.integers(1, 300), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_mask_is_packed_by_the_rule_and_its_padding_does_not_matter(m, n, seed):
    kept = np.random.default_rng(seed).random((m, n)) < 0.5
    mask = epilogs.pack_mask(kept)
    assert mask.shape == epilogs.mask_shape(m, n)
    assert np.array_equal(mask, bits_one_by_one(kept))
    mask |= ~bits_one_by_one(np.ones((m, n), bool))
    assert np.array_equal(epilogs.unpack_mask(mask, m), kept)
