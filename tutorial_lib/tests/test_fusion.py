"""Fused against unfused: what is timed computes the same, what is counted is what was launched."""

import contextlib
import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections import Counter
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
from tutorial_lib.benchmarks.unfused import FROM_RESULT, IN_CUPY, in_one_kernel
from tutorial_lib.reference.epilogs import STAGES, unpack_mask
from tutorial_lib.reference.options import Algorithm

EPILOGS = (*FORWARD, *BACKWARD)
FUSION, KERNELS = results.load("fusion"), results.load("kernels")
cpu_only = pytest.mark.skipif(backend.name == "gpu", reason="stands in for a GPU")
HALF = [pytest.param(arithmetic, marks=pytest.mark.gpu) for arithmetic in ARITHMETICS[1:]]


@functools.cache
def compiled(reads, writes, code, name):
    """CuPy's ElementwiseKernel for float32 arrays of NumPy's, as g++ compiles it."""
    given, bound = ["long size"], []
    for *raw, kind, x in map(str.split, f"{reads}, {writes}".split(", ")):
        kind = {"T": "float", "uint32": "unsigned"}.get(kind, kind)
        given.append(f"{kind} *all_{x}")
        element = f"&{x} = all_{x}[{0 if kind == 'unsigned' else 'i'}];"
        bound.append(f"{kind} *{x} = all_{x};" if raw else f"{kind} {element}")
    body = f"for (long i = 0; i < size; ++i) {{ {' '.join(bound)} {code}; }}"
    text = f'#include <cmath>\nextern "C" void {name}({", ".join(given)}) {{ {body} }}'
    with tempfile.TemporaryDirectory() as folder:
        command = f"g++ -x c++ -O1 -Wall -Wextra -Werror -fPIC -shared - -o {folder}/kernel.so"
        subprocess.run(command.split(" "), input=text, text=True, check=True, timeout=60)
        function = getattr(ctypes.CDLL(f"{folder}/kernel.so"), name)

    def launch(*arguments):
        held = [
            np.array(x, np.uint32 if isinstance(x, int) else None, order="C") for x in arguments
        ]
        function(ctypes.c_long(held[-1].size), *(x.ctypes for x in held))
        for x, new in zip(arguments, held):
            if new.ndim:
                x[...] = new

    return launch


def by_a_kernel(epilog, z, read):
    """`in_one_kernel` as on a GPU; without one, its kernel is run on the CPU."""
    if backend.name == "gpu":
        return in_one_kernel(epilog, z, read)
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    on_gpu = {"backend": SimpleNamespace(name="gpu"), "_kernel": unfused._kernel.__wrapped__}
    kernels = mock.patch.object(xp, "ElementwiseKernel", compiled, create=True)
    with kernels, mock.patch.multiple(unfused, **on_gpu):
        return in_one_kernel(epilog, z, read)


def in_cupy(epilog, z, read):
    return IN_CUPY[epilog](z, read)


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
        z, result = plain.execute(), fused.execute()
    results = (result[0], *result[1].values()) if isinstance(result, tuple) else (result,)
    return case, z, results, read


@pytest.mark.parametrize("arithmetic", ["float32", *HALF])
@pytest.mark.parametrize("form", [in_cupy, by_a_kernel])
@pytest.mark.parametrize("epilog", EPILOGS)
@settings(max_examples=20)
@given(st.integers(1, 140), st.integers(1, 20), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_a_form_computes_what_the_fused_call_does(epilog, form, arithmetic, m, n, k, seed):
    case, z, fused, read = made(epilog, m, n, k, seed, arithmetic)
    found, bound = form(epilog, z.copy(order="K"), read), fusion.BOUND[arithmetic]
    assert len(found) == len(fused)
    for ours, theirs in zip(found, fused):
        if theirs.dtype == xp.uint8:  # two roundings may fall on two sides of 0
            sure = abs(numbers(z + read)) > bound * abs(numbers(z + read)).max()
            assert (to_numpy(ours) == unpack_mask(to_numpy(theirs), case.m))[sure].all()
        else:
            theirs = numbers(theirs[: case.m])
            assert ours.shape == theirs.shape
            scale = max(abs(theirs).max(), 1)
            np.testing.assert_allclose(numbers(ours), theirs, atol=bound * scale)


@pytest.mark.parametrize("form", [in_cupy, by_a_kernel])
def test_the_result_tells_where_relu_was_open_unless_its_input_was_zero(form):
    case, z, *_ = made("DRELU_BGRAD", 30, 20, 5)
    v = case.random(case.n, case.m).T
    v[3, 4] = 0
    (ours, sums), (theirs, _) = (
        form(epilog, z.copy(order="K"), read)
        for epilog, read in ((FROM_RESULT, xp.maximum(v, 0)), ("DRELU_BGRAD", v >= 0))
    )
    assert np.argwhere(to_numpy(ours != theirs)).tolist() == [[3, 4]]
    np.testing.assert_allclose(numbers(sums), numbers(ours).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize(("epilog", "output"), zip(EPILOGS, (0, 0, 1, 1, 1)))
@pytest.mark.parametrize("by", [0.9, 1.5, -1.5, np.nan])
def test_a_fused_call_that_is_wrong_in_one_element_is_not_timed(epilog, output, by):
    case, z, (result, *extra), read = made(epilog, 30, 20, 5)
    x, right = (result, *extra)[output], in_cupy(epilog, z, read)
    x[(2, 3)[: x.ndim]] += by * fusion.BOUND["float32"] * abs(x).max()
    wrong = pytest.raises(ValueError, match=rf"{epilog}.* is off by (2\.|1\.|nan)")
    with contextlib.nullcontext() if by == 0.9 else wrong:
        fusion.check(case, (result, dict(enumerate(extra))), right, right)


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


SIZES = {"arithmetic", "epilog", "m", "n", "k"}


def check_points(rows):
    for row in rows:
        more = {"from the result"} if row["epilog"] == "DRELU_BGRAD" else set()
        assert row.keys() == {*SIZES, *pays.TIMED, *more}
        for form in row.keys() - SIZES:
            low, median, high = row[form]
            assert 0 < low <= median <= high


def check_kernels(kernels):
    """Each has a time, and the split into roles knows it if it is cuBLASLt's."""
    for kernel in kernels:
        assert kernel.keys() == {"name", "us"}
        assert kernel["us"] > 0
        known = re.search("gemm|nvjet|cutlass|xmma|cupy|cub::", kernel["name"])
        assert profiler.role(kernel["name"]) != "product" or known, kernel


def check_calls(rows):
    for row in rows:
        assert row.keys() == {*SIZES, "kernels", "candidates"}
        check_kernels(row["kernels"])
        names = [kernel["name"] for kernel in row["kernels"] if "Memset" not in kernel["name"]]
        roles = Counter(map(profiler.role, names))
        assert len(names) == row["candidates"][0]
        assert (roles["product"] >= 1, roles["bias gradient"] <= 1, roles["memset"]) == (1, 1, 0)
        assert not any("cupy" in name or "cub::" in name for name in names)


def test_the_records_have_the_promised_form():
    check_points(FUSION["points"])
    check_calls(KERNELS["calls"])
    epilogs, sizes = [None, *(epilog.name for epilog in STAGES)], profiler.LAYER + profiler.CUBES
    keys = [tuple(row[x] for x in Case._fields) for row in KERNELS["calls"]]
    assert sorted(map(str, keys)) == sorted(
        str((a, e, *size)) for a in ARITHMETICS for e in epilogs for size in sizes
    )
    for widths in KERNELS["steps"].values():
        assert list(widths) == ["30", "512", "8192"]
        for parts in widths.values():
            check_kernels([kernel for part in parts.values() for kernel in part])


def once(work):
    """In place of a timing."""
    work()
    return [1.0, 2.0, 3.0]


@cpu_only
def test_a_quick_run_writes_a_record_of_the_promised_form(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(fusion, "backend", SimpleNamespace(name="gpu", random=backend.random))
    pool = mock.Mock()
    monkeypatch.setattr(xp, "get_default_memory_pool", lambda: pool, raising=False)
    monkeypatch.setattr(fusion, "in_a_graph", once)
    monkeypatch.setattr(fusion, "ARITHMETICS", ("float32", "tf32"))
    monkeypatch.setattr(fusion, "shapes", lambda _, inner: [(30, 20, inner)] * 12)
    monkeypatch.setattr(fusion, "control", list)  # too large for a CPU
    monkeypatch.setattr(fusion, "operands", dict)  # on a GPU, too
    fusion.run(quick=True)
    record = results.load("fusion_quick")
    assert record.keys() == FUSION.keys()
    assert record["sources"].keys() == FUSION["sources"].keys()
    assert record["batch"].keys() == FUSION["batch"].keys()
    assert len(record["points"]) == 2 * 5 * 2  # every eleventh size
    check_points(record["points"])
    assert len(capsys.readouterr().out.splitlines()) == 20
    assert pool.free_all_blocks.call_count == 8


def test_a_graph_is_timed_by_the_call_and_then_freed(monkeypatch):
    freed = []
    monkeypatch.setattr(fusion.CapturedWork, "free", lambda graph: freed.append(graph))
    low, median, high = fusion.in_a_graph(lambda: xp.add(1, 1))
    assert 0 < low <= median <= high < 1e4
    assert len(freed) == 1
    assert fusion.spread(np.array([4e-3, 2e-3, 6e-3]), 2) == [1500.0, 2000.0, 2500.0]


ROLES = {
    "Memset (Device)": "memset",
    "void cublasLt::splitKreduce_kernel<32, 16, int, float>(Params)": "split-K sum",
    "sm80_xmma_gemm_f32_tn_n_aligna4_execute_split_k_kernel__5x_cublas": "split-K sum",
    "void cublasLt::epilogue::impl::globalKernel<8, 32, float>(Params)": "epilog",
    "void cublasLt::epilogue::impl::globalKernelBgradAB_v2<8, 128>(Params)": "bias gradient",
    "nvjet_sm90_hsh_128x256_64x4_2x1_v_bz_coopA_relubias_TNN": "product",
    "void cutlass::Kernel2<cutlass_80_simt_sgemm_128x32_8x5_nn_align1>(Params)": "product",
}


def test_a_kernel_s_role_is_read_off_its_name():
    assert list(map(profiler.role, ROLES)) == list(ROLES.values())
    found = [(name, 1.5) for name in ROLES]
    assert profiler.count(found) == len(ROLES) - 1
    shown = profiler.listed([*found, ("void " + 500 * "x", 2.0)])
    assert shown.pop() == {"name": 160 * "x", "us": 2.0}
    assert [profiler.role(kernel["name"]) for kernel in shown] == list(ROLES.values())
    assert not [kernel for kernel in shown if re.search(r"^void|\(", kernel["name"])]


@cpu_only
def test_what_a_call_launches_is_listed_counted_and_written(monkeypatch, tmp_path, capsys):
    given, launched = [], [("void cutlass::gemm<f>(Params)", 2.5), ("Memset (Device)", 1.0)]

    def kernels(work):
        work()
        given.append(getattr(work, "keywords", {}).get("algorithm"))
        return launched

    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(profiler, "kernels", kernels)
    monkeypatch.setattr(profiler, "LAYER", [(0, 0, 0), (0, 0, 0), (30, 20, 10)])
    parts = profiler.of_step(MnistNet, 30)
    assert list(parts)[1::4] == ["targets", "backward"]
    check_kernels(parts["update"])
    monkeypatch.setattr(profiler, "of_step", lambda network, width: parts)
    del given[:]
    profiler.run(quick=True)
    record = results.load("kernels_quick")
    assert record.keys() == KERNELS.keys()
    assert record["steps"].keys() == KERNELS["steps"].keys()
    assert len(record["calls"]) == len(capsys.readouterr().out.splitlines()) == 4 * 16
    refused = [row for row in record["calls"] if "refused" in row]
    assert {row["arithmetic"] for row in refused} == {"float16", "bfloat16"}  # by the reference
    assert all(re.match(r"(Value|Type)Error: \S.*$", row["refused"]) for row in refused)
    check_calls([row for row in record["calls"] if row not in refused])
    assert [type(algorithm) for algorithm in given] == [type(None), Algorithm] * 32


@pytest.mark.gpu
def test_a_gpu_launches_one_kernel_for_relu_and_bias_and_two_with_the_mask():
    for epilog, count in (("RELU_BIAS", 1), ("RELU_AUX_BIAS", 2)):
        row = profiler.of_call(Case("float32", epilog, 8192, 256, 784))
        assert row["candidates"][0] == count, row
        check_calls([row])
