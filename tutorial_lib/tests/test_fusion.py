"""Fused against unfused: what is timed computes the same, what is counted is what was launched."""

import contextlib
import ctypes
import functools
import re
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pays
from tutorial_lib import MnistNet, backend, results, xp
from tutorial_lib.backend import to_numpy
from tutorial_lib.benchmarks import fusion, profiler, unfused
from tutorial_lib.benchmarks.case import ARITHMETICS, BACKWARD, FORWARD, Case
from tutorial_lib.reference.epilogs import STAGES, unpack_mask
from tutorial_lib.reference.options import Algorithm

EPILOGS = (*FORWARD, *BACKWARD)
FUSION, KERNELS = results.load("fusion"), results.load("kernels")
HALF = [pytest.param(arithmetic, marks=pytest.mark.gpu) for arithmetic in ARITHMETICS[1:]]
cpu_only = pytest.mark.skipif(backend.name == "gpu", reason="stands in for a GPU")


def launch(compiled, epilog, *arguments):
    """One of the elementwise kernels, compiled by g++ for float32, in place of CuPy's."""
    reads, writes, code = unfused.IN_ONE_KERNEL[epilog]
    given, bound = "", ""
    for *raw, kind, x in map(str.split, f"{reads}, {writes}".split(", ")):
        kind = {"T": "float", "uint32": "unsigned"}.get(kind, kind)
        given += f", {kind} *{x}s"
        element = f"&{x} = {x}s[{0 if kind == 'unsigned' else 'i'}]"
        bound += f"{kind} *{x} = {x}s; " if raw else f"{kind} {element}; "
    loop = f"for (long i = 0; i < size; ++i) {{ {bound}{code}; }}"
    text = f'#include <cmath>\nextern "C" void kernel(long size{given}) {{ {loop} }}'
    held = [np.array(x, "u4" if isinstance(x, int) else None, order="C") for x in arguments]
    size = ctypes.c_long(held[-1].size)
    compiled(text, "-Wall -Wextra -Werror").kernel(size, *(x.ctypes for x in held))
    for x, new in zip(arguments, held):
        if new.ndim:
            x[...] = new


@pytest.fixture(scope="module")
def by_a_kernel(request):
    """`in_one_kernel` as on a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        if backend.name == "cpu":
            in_cpp = functools.partial(launch, request.getfixturevalue("compiled"))
            patch.setattr(unfused, "_kernel", lambda epilog: functools.partial(in_cpp, epilog))
            patch.setattr(unfused, "backend", SimpleNamespace(name="gpu"))
        yield unfused.in_one_kernel


def in_cupy(epilog, z, read):
    return unfused.IN_CUPY[epilog](z, read)


def numbers(x):
    return to_numpy(x.astype(xp.float32))


def made(epilog, m, n, k, seed=1, arithmetic="float32"):
    """A case, its plain product, what the fused call returns, and what the epilog reads."""
    backend.random.seed(seed)
    factor = 1 if arithmetic == "float32" else 8  # as tensor cores want it
    case = Case(arithmetic, epilog, factor * m, factor * n, factor * k)
    try:
        a, b = case.operands()
    except TypeError:
        pytest.skip("this CuPy has no bfloat16")
    inputs, read = case.inputs()
    plain, fused = case._replace(epilog=None).planned(a, b)[0], case.planned(a, b, inputs)[0]
    with plain, fused:
        z, found = plain.execute(), fused.execute()
    return case, z, [found[0], *found[1].values()] if isinstance(found, tuple) else [found], read


@pytest.mark.parametrize("arithmetic", ["float32", *HALF])
@pytest.mark.parametrize("epilog", EPILOGS)
@settings(max_examples=20)
@given(st.integers(1, 140), st.integers(1, 20), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_both_forms_compute_what_the_fused_call_does(
    by_a_kernel, epilog, arithmetic, m, n, k, seed
):
    case, z, fused, read = made(epilog, m, n, k, seed, arithmetic)
    # At odd sizes, one of two plans in TF32 may fall back to float32.
    bound = 2e-3 if arithmetic == "tf32" else fusion.BOUND[arithmetic]
    for form in (in_cupy, by_a_kernel):
        found = form(epilog, z.copy(order="K"), read)
        assert len(found) == len(fused)
        for ours, theirs in zip(found, fused):
            if theirs.dtype == xp.uint8:  # two roundings may fall on two sides of 0
                sure = abs(numbers(z + read)) > bound * abs(numbers(z + read)).max()
                assert (to_numpy(ours) == unpack_mask(to_numpy(theirs), case.m))[sure].all()
            else:
                theirs = numbers(theirs[: case.m])
                assert ours.shape == theirs.shape
                atol = bound * max(abs(theirs).max(), 1)
                np.testing.assert_allclose(numbers(ours), theirs, atol=atol)


def test_the_result_tells_where_relu_was_open_unless_its_input_was_zero(by_a_kernel):
    case, z, *_ = made("DRELU_BGRAD", 30, 20, 5)
    v = case.random(case.n, case.m).T
    v[3, 4] = 0
    for form in (in_cupy, by_a_kernel):
        ours, sums = form(unfused.FROM_RESULT, z.copy(order="K"), xp.maximum(v, 0))
        theirs, _ = form("DRELU_BGRAD", z.copy(order="K"), v >= 0)
        assert np.argwhere(to_numpy(ours != theirs)).tolist() == [[3, 4]]
        np.testing.assert_allclose(numbers(sums), numbers(ours).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize(("epilog", "output"), zip(EPILOGS, (0, 0, 1, 1, 1)))
@pytest.mark.parametrize("by", [0.9, 1.5, -1.5, np.nan])
def test_a_fused_call_that_is_wrong_in_one_element_is_not_timed(epilog, output, by):
    case, z, fused, read = made(epilog, 30, 20, 5)
    x, right = fused[output], in_cupy(epilog, z, read)
    x[(2, 3)[: x.ndim]] += by * fusion.BOUND["float32"] * abs(x).max()
    wrong = pytest.raises(ValueError, match=rf"{epilog}.* is off by (2\.|1\.|nan)")
    with contextlib.nullcontext() if by == 0.9 else wrong:
        fusion.check(case, (fused[0], dict(enumerate(fused[1:]))), right, right)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("inner", "epilogs"), [(784, FORWARD), (10, BACKWARD)])
def test_the_sizes_are_those_that_were_asked_for_each_once(arithmetic, inner, epilogs):
    points = fusion.shapes(arithmetic, inner)
    wanted = {(m, n, inner) for m, n in ((512, 256), (16384, 8192), (30, 256))}
    wanted |= {(16384, 4096, 4096), (4096, 4096, 16384)}  # an MLP
    assert wanted | {(8192, 8192, k) for k in (8, 1024, 8192)} <= set(points)
    assert ((65536, 16384, 8192) in points) == (arithmetic in ("float16", "bfloat16"))
    rows = [tuple(row[x] for x in Case._fields) for row in FUSION["points"]]
    rows = [row for row in rows if row[0] == arithmetic and row[1] in epilogs]
    assert sorted(rows) == sorted({(arithmetic, e, *point) for e in epilogs for point in points})


def check_points(rows):
    for row in rows:
        more = {"from the result"} if row["epilog"] == "DRELU_BGRAD" else set()
        forms = {*pays.TIMED, *more}
        assert row.keys() == {*Case._fields, *forms}
        assert all(0 < row[form][0] <= row[form][1] <= row[form][2] for form in forms)


def check_kernels(kernels, products="gemm|nvjet|cutlass|xmma"):
    """The roles of those that are no memset; a product must have one of its names."""
    for kernel in kernels:
        assert kernel["us"] > 0
        product = profiler.role(kernel["name"]) == "product"
        assert not product or re.search(products, kernel["name"]), kernel
    return [profiler.role(x["name"]) for x in kernels if not x["name"].startswith("Memset")]


def check_calls(rows):
    for row in rows:
        assert row.keys() == {*Case._fields, "kernels", "candidates"}
        roles = check_kernels(row["kernels"])
        assert (len(roles), "memset" in roles) == (row["candidates"][0], False)
        assert roles.count("product") >= 1 >= roles.count("bias gradient")


def test_the_records_have_the_promised_form():
    check_points(FUSION["points"])
    check_calls(KERNELS["calls"])
    epilogs, sizes = [None, *(epilog.name for epilog in STAGES)], profiler.LAYER + profiler.CUBES
    cases = {(a, e, *size) for a in ARITHMETICS for e in epilogs for size in sizes}
    rows = [tuple(row[x] for x in Case._fields) for row in KERNELS["calls"]]
    assert (set(rows), len(rows)) == (cases, len(cases))
    for widths in KERNELS["steps"].values():
        assert list(widths) == ["30", "512", "8192"]
        for part in (part for parts in widths.values() for part in parts.values()):
            check_kernels(part, "gemm|cutlass|xmma|cupy|cub::")


def once(work):
    """In place of a timing."""
    work()
    return [1.0, 2.0, 3.0]


@cpu_only
def test_a_quick_run_writes_a_record_of_the_promised_form(monkeypatch, tmp_path):
    fake = {"backend": SimpleNamespace(name="gpu", random=backend.random), "in_a_graph": once}
    fake |= {"shapes": lambda _, inner: [(30, 20, inner)] * 12, "control": list, "operands": dict}
    fake |= {"ARITHMETICS": ("float32", "tf32")}
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(xp, "get_default_memory_pool", pool := mock.Mock(), raising=False)
    with mock.patch.multiple(fusion, **fake):
        fusion.run(quick=True)
    record = results.load("fusion_quick")
    assert all(record[x].keys() == FUSION[x].keys() for x in ("batch", "sources"))
    assert record.keys() == FUSION.keys()
    assert len(record["points"]) == 2 * 5 * 2  # every eleventh size
    check_points(record["points"])
    assert pool().free_all_blocks.call_count == 8
    monkeypatch.setattr(fusion.CapturedWork, "free", free := mock.Mock())
    low, median, high = fusion.in_a_graph(lambda: xp.add(1, 1))
    free.assert_called_once_with()
    assert 0 < low <= median <= high < 1e4


ROLES = {
    "Memset (Device)": "memset",
    "void cublasLt::splitKreduce_kernel<32, 16, int, float>(Params)": "split-K sum",
    "sm80_xmma_gemm_f32_tn_n_aligna4_execute_split_k_kernel__5x_cublas": "split-K sum",
    "void cublasLt::epilogue::impl::globalKernel<8, 32, float>(Params)": "epilog",
    "void cublasLt::epilogue::impl::globalKernelBgradAB_v2<8, 128>(Params)": "bias gradient",
    "nvjet_sm90_hsh_128x256_64x4_2x1_v_bz_coopA_relubias_TNN": "product",
}


def test_a_kernel_s_role_is_read_off_its_name():
    found = [(name, 1.5) for name in ROLES]
    assert profiler.count(found) == len(ROLES) - 1
    *shown, cut = profiler.listed([*found, ("void " + 500 * "x", 2.0)])
    assert cut == {"name": 160 * "x", "us": 2.0}
    for names in (ROLES, [kernel["name"] for kernel in shown]):
        assert [profiler.role(name) for name in names] == list(ROLES.values())
    assert not [kernel for kernel in shown if re.search(r"^void|\(", kernel["name"])]


@cpu_only
def test_what_a_call_launches_is_listed_counted_and_written(monkeypatch, tmp_path):
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    given, launched = [], [("void cutlass::gemm<f>(Params)", 2.5), ("Memset (Device)", 1.0)]

    def kernels(work):
        work()
        given.append(getattr(work, "keywords", {}).get("algorithm"))
        return launched

    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(profiler, "kernels", kernels)
    monkeypatch.setattr(profiler, "LAYER", [(0, 0, 0), (0, 0, 0), (30, 20, 1)])
    parts = profiler.of_step(MnistNet, 30)
    assert parts.keys() == KERNELS["steps"]["MnistNet"]["30"].keys()
    monkeypatch.setattr(profiler, "of_step", lambda network, width: parts)
    given.clear()
    profiler.run(quick=True)
    record = results.load("kernels_quick")
    assert record.keys() == KERNELS.keys()
    assert len(record["calls"]) == 4 * 16
    refused = [row for row in record["calls"] if "refused" in row]
    assert len(refused) == 4 * 4  # what reads a mask or GELU's input: not for K = 1
    assert {row["epilog"][:2] for row in refused} == {"DR", "DG"}
    assert all(re.match(r"(Value|Type)Error: \S.*$", row["refused"]) for row in refused)
    check_calls([row for row in record["calls"] if row not in refused])
    assert [type(algorithm) for algorithm in given] == [type(None), Algorithm] * 48


@pytest.mark.gpu
def test_a_gpu_launches_one_kernel_for_relu_and_bias_and_two_with_the_mask():
    rows = [profiler.of_call(Case("float32", epilog, 8192, 256, 784)) for epilog in FORWARD[:2]]
    check_calls(rows)
    assert [row["candidates"][0] for row in rows] == [1, 2]
