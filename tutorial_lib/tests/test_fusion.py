"""Fused against unfused: what is timed computes the same, what is counted is what was launched."""

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
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.benchmarks.unfused import FROM_RESULT, IN_CUPY, in_one_kernel
from tutorial_lib.reference.epilogs import STAGES, unpack_mask

EPILOGS = (*FORWARD, *BACKWARD)
FUSION, KERNELS = results.load("fusion"), results.load("kernels")
KNOWN = re.compile("gemm|nvjet|cutlass|xmma")  # in the names of products
cpu_only = pytest.mark.skipif(backend.name == "gpu", reason="stands in for a GPU")
on_gpu = [pytest.param(arithmetic, marks=pytest.mark.gpu) for arithmetic in ARITHMETICS[1:]]


@functools.cache
def compiled(reads, writes, code, name):
    """CuPy's ElementwiseKernel for float32 arrays of NumPy's, as g++ compiles it."""
    given, bound, outputs = ["long size"], [], len(writes.split(", "))
    for before, parameters in (("const ", reads), ("", writes)):
        for *raw, kind, x in map(str.split, parameters.split(", ")):
            if kind == "uint32":
                given.append(f"unsigned {x}")
                continue
            kind = before + kind.replace("T", "float")
            given.append(f"{kind} *all_{x}")
            bound.append(f"{kind} *{x} = all_{x};" if raw else f"{kind} &{x} = all_{x}[i];")
    body = f"for (long i = 0; i < size; ++i) {{ {' '.join(bound)} {code}; }}"
    text = f'#include <cmath>\nextern "C" void {name}({", ".join(given)}) {{ {body} }}'
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/kernel.so"
        options = "-x c++ -O1 -Wall -Wextra -Werror -fPIC -shared"
        command = ["g++", *options.split(), "-", "-o", library]
        subprocess.run(command, input=text, text=True, check=True, timeout=60)
        function = getattr(ctypes.CDLL(library), name)

    def launch(*arguments):
        held = [x if isinstance(x, int) else np.ascontiguousarray(x) for x in arguments]
        size = ctypes.c_long(held[-1].size)
        function(size, *(ctypes.c_uint(x) if isinstance(x, int) else x.ctypes for x in held))
        for x, new in zip(arguments[-outputs:], held[-outputs:]):
            x[...] = new

    return launch


def by_a_kernel(epilog, z, read):
    """`in_one_kernel` as on a GPU; without one, its kernel is run on the CPU."""
    if backend.name == "gpu":
        return in_one_kernel(epilog, z, read)
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    kernel = mock.patch.object(unfused.xp, "ElementwiseKernel", compiled, create=True)
    gpu = mock.patch.object(unfused, "backend", SimpleNamespace(name="gpu"))
    with kernel, gpu, mock.patch.object(unfused, "_kernel", unfused._kernel.__wrapped__):
        return in_one_kernel(epilog, z, read)


def in_cupy(epilog, z, read):
    return IN_CUPY[epilog](z, read)


def numbers(x):
    return to_numpy(x.astype(xp.float32))


def made(epilog, m, n, k, seed, arithmetic="float32"):
    """A case, its operands, its plain product, and what its epilog reads, in both forms."""
    backend.random.seed(seed)
    if arithmetic != "float32":
        m, n, k = 8 * m, 8 * n, 8 * k  # as tensor cores want it
    case = Case(arithmetic, epilog, m, n, k)
    try:
        a, b = case.operands()
    except TypeError:
        pytest.skip("this CuPy has no bfloat16")
    with case._replace(epilog=None).planned(a, b)[0] as plain:
        return case, a, b, plain.execute(), *case.inputs()


@pytest.mark.parametrize("arithmetic", ["float32", *on_gpu])
@pytest.mark.parametrize("form", [in_cupy, by_a_kernel])
@pytest.mark.parametrize("epilog", EPILOGS)
@settings(max_examples=20)
@given(st.integers(1, 140), st.integers(1, 20), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_a_form_computes_what_the_fused_call_does(epilog, form, arithmetic, m, n, k, seed):
    case, a, b, z, inputs, read = made(epilog, m, n, k, seed, arithmetic)
    with case.planned(a, b, inputs)[0] as mm:
        fused = mm.execute()
    fused, extra = fused if isinstance(fused, tuple) else (fused, {})
    found = form(epilog, z.copy(order="K"), read)
    assert len(found) == 1 + len(extra)
    bound = fusion.BOUND[arithmetic]
    before = numbers(z) + (numbers(read) if epilog in FORWARD else 0)
    for ours, theirs in zip(found, (fused, *extra.values())):
        assert ours.shape == (theirs[: case.m].shape if theirs.dtype != xp.uint8 else z.shape)
        if theirs.dtype == xp.uint8:
            mask = unpack_mask(to_numpy(theirs), case.m)
            sure = abs(before) > bound * abs(before).max()
            assert (to_numpy(ours) == mask)[sure].all()
        else:
            theirs = numbers(theirs[: case.m])
            scale = max(abs(theirs).max(), 1)
            np.testing.assert_allclose(numbers(ours), theirs, atol=bound * scale)


@pytest.mark.parametrize("form", [in_cupy, by_a_kernel])
def test_the_result_tells_where_relu_was_open_unless_its_input_was_zero(form):
    case, _, _, z, *_ = made("DRELU_BGRAD", 30, 20, 5, 1)
    v = case.random(case.n, case.m).T
    v[3, 4] = 0
    (ours, sums), (theirs, _) = (
        form(epilog, z.copy(order="K"), read)
        for epilog, read in ((FROM_RESULT, xp.maximum(v, 0)), ("DRELU_BGRAD", v >= 0))
    )
    assert np.argwhere(to_numpy(ours != theirs)).tolist() == [[3, 4]]
    np.testing.assert_allclose(numbers(sums), numbers(ours).sum(axis=1), atol=1e-5)


def spoiled(epilog, output, by):
    """`check` of a fused call, one element of one of its outputs off by `by` of the largest."""
    case, a, b, z, inputs, read = made(epilog, 30, 20, 5, 1)
    with case.planned(a, b, inputs)[0] as mm:
        fused = mm.execute()
    x = fused[0] if output == "result" else fused[1][output]
    x[(2, 3)[: x.ndim]] += by * abs(x).max()
    fusion.check(case, fused, in_cupy(epilog, z, read), in_cupy(epilog, z, read))


@pytest.mark.parametrize(
    ("epilog", "output"),
    [("RELU_AUX_BIAS", "result"), ("GELU_AUX_BIAS", "gelu_aux"), ("DGELU_BGRAD", "result")]
    + [(epilog, epilog.lower()) for epilog in BACKWARD],
)
def test_a_fused_call_that_is_wrong_in_one_element_is_not_timed(epilog, output):
    bound = fusion.BOUND["float32"]
    spoiled(epilog, output, 0.9 * bound)
    for by in (1.5 * bound, -1.5 * bound, np.nan):
        with pytest.raises(ValueError, match=rf"{epilog}.* is off by (2\.|1\.|nan)"):
            spoiled(epilog, output, by)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("inner", "epilogs"), [(784, FORWARD), (10, BACKWARD)])
def test_the_sizes_are_those_that_were_asked_for_each_once(arithmetic, inner, epilogs):
    points = fusion.shapes(arithmetic, inner)
    assert len(set(points)) == len(points)
    wanted = {(m, n, inner) for m in (512, 16384) for n in (256, 8192)} | {(30, 256, inner)}
    wanted |= {(16384, 4096, 4096), (4096, 4096, 16384)}  # an MLP
    wanted |= {(8192, 8192, k) for k in (8, 1024, 8192)}
    assert wanted <= set(points)
    assert ((65536, 16384, 8192) in points) == (arithmetic in ("float16", "bfloat16"))
    rows = [row for row in FUSION["points"] if row["arithmetic"] == arithmetic]
    found = Counter((row["epilog"], row["m"], row["n"], row["k"]) for row in rows)
    found = {key: count for key, count in found.items() if key[0] in epilogs}
    assert found == dict.fromkeys(((e, *point) for e in epilogs for point in points), 1)


FORMS = {"arithmetic", "epilog", "m", "n", "k", *pays.TIMED}
CALL = {"arithmetic", "epilog", "m", "n", "k", "kernels", "candidates"}


def check_points(rows):
    for row in rows:
        assert row.keys() - {"from the result"} == FORMS
        assert ("from the result" in row) == (row["epilog"] == "DRELU_BGRAD")
        for form in row.keys() - CALL:
            low, median, high = row[form]
            assert 0 < low <= median <= high
            assert (low, median, high) == tuple(float(f"{x:.4g}") for x in row[form])


def check_calls(rows):
    """Also: cuBLASLt has no kernel that the split into roles does not know."""
    for row in rows:
        assert row.keys() == CALL
        kernels = [(kernel["name"], kernel["us"]) for kernel in row["kernels"]]
        assert row["candidates"][0] == profiler.count(kernels)
        roles = Counter(profiler.role(name) for name, _ in kernels)
        assert roles["product"] >= 1
        assert roles["memset"] == sum(name.startswith("Memset") for name, _ in kernels)
        assert roles["bias gradient"] <= 1
        for name, us in kernels:
            assert us > 0
            assert profiler.role(name) != "product" or KNOWN.search(name), name


def test_the_records_have_the_promised_form():
    check_points(FUSION["points"])
    check_calls(KERNELS["calls"])
    keys = Counter(
        tuple(row[x] for x in ("arithmetic", "epilog", "m", "n", "k")) for row in KERNELS["calls"]
    )
    shapes = profiler.LAYER + profiler.CUBES
    names = [None, *(epilog.name for epilog in STAGES)]
    assert keys == Counter((a, e, *shape) for a in ARITHMETICS for e in names for shape in shapes)
    for steps in KERNELS["steps"].values():
        assert list(steps) == ["30", "512", "8192"]
        for kernels in steps.values():
            assert len({kernel["name"] for kernel in kernels}) == len(kernels)
            assert all(kernel["count"] >= 1 and kernel["us"] > 0 for kernel in kernels)


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
    freed, free = [], fusion.CapturedWork.free
    monkeypatch.setattr(
        fusion.CapturedWork, "free", lambda graph: freed.append(graph) or free(graph)
    )
    low, median, high = fusion.in_a_graph(lambda: xp.add(1, 1))
    assert 0 < low <= median <= high < 1e4
    assert len(freed) == 1
    assert fusion.spread(np.array([4e-3, 2e-3, 6e-3]), 2) == [1500.0, 2000.0, 2500.0]


@cpu_only
def test_kernels_are_counted_on_a_gpu_alone():
    with pytest.raises(Absent, match="kernels are counted on a GPU"):
        profiler.kernels(print)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Memset (Device)", "memset"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>(Params)", "split-K sum"),
        ("void cublasLt::epilogue::impl::globalKernel<8, 32, float>(Params)", "epilog"),
        ("void cublasLt::epilogue::impl::globalKernelBgradAB_v2<8, 128>(Params)", "bias gradient"),
        ("nvjet_sm90_hsh_128x256_64x4_2x1_v_bz_coopA_relubias_TNN", "product"),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x32_8x5_nn_align1>(Params)", "product"),
    ],
)
def test_a_kernel_s_role_is_read_off_its_name(name, role):
    assert profiler.role(name) == role
    assert profiler.count([(name, 1.0)] * 3) == 3 * (role != "memset")
    shown = profiler.listed([(name, 1.5), ("void " + 500 * "x", 2.0)])
    assert shown[0]["us"] == 1.5
    assert not re.search(r"^void|\(", shown[0]["name"])
    assert profiler.role(shown[0]["name"]) == role
    assert shown[1] == {"name": 160 * "x", "us": 2.0}


LAUNCHED = [("void cutlass::gemm<f>(Params)", 2.5), ("Memset (Device)", 1.0), ("splitKreduce", 1.0)]


@cpu_only
def test_what_a_call_launches_is_listed_counted_and_written(monkeypatch, tmp_path, capsys):
    launched = []
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(profiler, "kernels", lambda work: launched.append(work()) or LAUNCHED)
    monkeypatch.setattr(profiler, "LAYER", [(0, 0, 0), (0, 0, 0), (30, 20, 10)])
    (product, *others) = profiler.of_step(MnistNet, 30)
    assert product == {"name": "cutlass::gemm<f>", "count": 1, "us": 2.5}
    assert [kernel["name"] for kernel in others] == ["Memset ", "splitKreduce"]
    monkeypatch.setattr(profiler, "of_step", lambda network, width: [product])
    profiler.run(quick=True)
    record = results.load("kernels_quick")
    assert record.keys() == KERNELS.keys()
    assert record["steps"].keys() == KERNELS["steps"].keys()
    assert len(record["calls"]) == len(capsys.readouterr().out.splitlines()) == 4 * 16
    refused = [row for row in record["calls"] if "refused" in row]
    assert {row["arithmetic"] for row in refused} == {"float16", "bfloat16"}  # by the reference
    for row in refused:
        assert re.match(r"(Value|Type)Error: \S.*$", row["refused"])
    counted = [row for row in record["calls"] if row not in refused]
    assert {len(row["candidates"]) for row in counted} == {1}
    check_calls(counted)


@pytest.mark.gpu
def test_a_gpu_launches_one_kernel_for_relu_and_bias_and_two_with_the_mask():
    for epilog, count in (("RELU_BIAS", 1), ("RELU_AUX_BIAS", 2)):
        row = profiler.of_call(Case("float32", epilog, 8192, 256, 784))
        assert row["candidates"][0] == count, row
        check_calls([row])
