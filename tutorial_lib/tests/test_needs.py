"""Which GPU can run which kernel: compiled for each, or refused by a sentence of our own."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from tutorial_lib import backend, doctor
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.kernels import cuda, launches, needs
from tutorial_lib.kernels.needs import Device, problem
from tutorial_lib.networks import MnistNetTwin, twin
from tutorial_lib.networks.merged import MnistNetMerged
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.networks.one_kernel import MnistNetOneKernel

ROOT = Path(__file__).parents[2]
# KB of shared memory that a block may have, by compute capability: the CUDA programming guide.
MEMORY = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
WIDTHS = [("output_layer", h) for h in (30, 128, 512, 7168, 7169, 8192, 17152)]
WIDTHS += [("epoch", h) for h in (30, 128, 129, 512)]


def device(capability, clusters=None, name="A GPU"):
    """A GPU of that capability; by default it runs as many clusters at once as an H200."""

    def at_once(launch):
        return {8: 15, 16: 7}[launch.cluster] if clusters is None else clusters

    return Device(name, divmod(capability, 10), MEMORY[capability] * 1024, at_once)


def compiled(kernel, capability, constants=(), get="CUBIN"):
    """What NVRTC makes of the kernel, as bytes, or its complaint, as text."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    code = cuda.source(kernel).encode()
    _, program = nvrtc.nvrtcCreateProgram(code, b"kernel", 0, [], [])
    options = [f"--gpu-architecture=sm_{capability}", "--std=c++17"]
    options = [o.encode() for o in [*options, *(f"-D{k}={v}" for k, v in constants)]]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    get = get if error == nvrtc.nvrtcResult.NVRTC_SUCCESS else "ProgramLog"
    _, size = getattr(nvrtc, f"nvrtcGet{get}Size")(program)
    result = b" " * size
    getattr(nvrtc, f"nvrtcGet{get}")(program, result)
    return result.decode() if get == "ProgramLog" else result


@pytest.mark.parametrize("capability", MEMORY)
@pytest.mark.parametrize(("kernel", "hidden"), WIDTHS)
def test_every_kernel_is_compiled_or_refused(kernel, hidden, capability):
    result = compiled(kernel, capability, needs.KERNELS[kernel][0](hidden).constants)
    refused = problem(kernel, hidden, device(capability))
    if capability < 90:
        assert "take MnistNetTuned" in refused
        assert "not supported for this GPU" in result  # so the refusal is not stricter than needed
    else:
        assert isinstance(result, bytes), result
        too_large = hidden > 7168 if kernel == "output_layer" else True  # for 99 KB
        assert bool(refused) == (too_large and capability == 120)


@pytest.mark.parametrize("capability", MEMORY)
def test_the_loss_kernel_compiles_for_every_gpu(capability):
    result = compiled("loss", capability)
    assert isinstance(result, bytes), result


def test_the_epoch_kernel_compiles_with_its_profile():
    result = compiled("epoch", 90, [*launches.epoch(512).constants, ("PROFILE", 1)])
    assert isinstance(result, bytes), result


@pytest.mark.parametrize("launch", [launches.output_layer(30), launches.epoch(30)])
def test_the_memory_that_a_kernel_declares_is_what_its_launch_says(launch):
    ptx = compiled(launch.kernel, 90, launch.constants, "PTX").decode()
    assert sum(map(int, re.findall(r"^\s*\.shared .*\[(\d+)\];", ptx, re.M))) == launch.static


@pytest.mark.parametrize(
    ("kernel", "hidden", "gpu", "sentence"),
    [
        (
            "epoch",
            30,
            device(89, name="NVIDIA GeForce RTX 4090"),
            "MnistNetOneKernel with 30 hidden units needs a GPU of compute capability 9.0 or "
            "higher; this one, NVIDIA GeForce RTX 4090, is of 8.9: take MnistNetTuned",
        ),
        (
            "output_layer",
            8192,
            device(120, name="NVIDIA GeForce RTX 5090"),
            "MnistNetMerged with 8,192 hidden units needs a GPU with 112 KB of shared memory in a "
            "block; this one, NVIDIA GeForce RTX 5090, has 99 KB, enough for 7,168 hidden units: "
            "take MnistNetTuned",
        ),
        (
            "epoch",
            512,
            device(120, name="NVIDIA GeForce RTX 5090"),
            "MnistNetOneKernel with 512 hidden units needs a GPU with 226 KB of shared memory in a "
            "block; this one, NVIDIA GeForce RTX 5090, has 99 KB: take MnistNetMerged",
        ),
        (
            "epoch",
            512,
            device(90, clusters=9, name="NVIDIA H20"),
            "MnistNetOneKernel with 512 hidden units needs a GPU that runs 13 clusters of 8 blocks "
            "at once; this one, NVIDIA H20, runs 9: take MnistNetMerged",
        ),
        (
            "output_layer",
            30,
            device(90, clusters=0, name="A slice of an H100"),
            "MnistNetMerged with 30 hidden units needs a GPU that runs 1 cluster of 8 blocks at "
            "once; this one, A slice of an H100, runs 0: take MnistNetTuned",
        ),
        ("epoch", 512, device(90, clusters=13), ""),
        ("epoch", 30, device(90, clusters=1), ""),
        ("output_layer", 17152, device(90, clusters=1), ""),
    ],
)
def test_a_refusal_is_one_sentence_with_the_remedy(kernel, hidden, gpu, sentence):
    assert problem(kernel, hidden, gpu) == sentence


def test_what_is_asked_about_is_the_launch_for_a_batch_of_the_book():
    for hidden in (30, 8192):
        asked = needs.KERNELS["output_layer"][0](hidden)
        assert asked == launches.output_layer(hidden, BATCH_SIZE)
        assert (asked.clusters, asked.cluster, asked.blocks) == (16, 8, 128)
        rows = 10 + 16  # of weights and of images, of so many units of a block, and two floats more
        assert asked.dynamic == rows * 4 * ({30: 32, 8192: 1024}[hidden] + 2)


def test_a_gpu_without_clusters_is_not_asked_about_them():
    def ask(launch):
        raise AssertionError("to ask, the kernel must be compiled, which such a GPU cannot do")

    for shared in (227, 99):
        old = Device("old", (8, 9), shared * 1024, ask)
        small = Device("small", (9, 0), 10 * 1024, ask)
        assert problem("epoch", 30, old)
        assert problem("epoch", 30, small)


def test_the_tables_that_a_reader_sees_say_what_the_code_says():
    kilobytes = {h: -(-launches.epoch(h).shared // 1024) for h in (1, 128, 129, 512)}
    assert kilobytes[1] == kilobytes[128] < kilobytes[129] == kilobytes[512]
    gpu = device(120, name="NVIDIA GeForce RTX 5090")
    (widest,) = re.findall(r"enough for ([\d,]+)", problem("output_layer", 8192, gpu))
    numbers = [f"{kilobytes[128]} KB", f"{kilobytes[512]} KB", f"{widest}"]
    for page in ("README.md", "book/setup.md"):
        text = (ROOT / page).read_text()
        assert [number for number in numbers if number not in text] == [], page
    setup = " ".join((ROOT / "book" / "setup.md").read_text().split())
    assert problem("epoch", 30, device(89, name="NVIDIA GeForce RTX 4090")) in setup
    small, large = (-(-launches.output_layer(h).shared // 1024) for h in (30, 8192))
    assert f"{small} KB for 30 units, {large} KB for 8,192" in setup


@given(st.integers(1, 17_152), st.integers(0, 227 * 1024))
def test_the_width_that_a_refusal_names_is_the_largest_that_runs(hidden, shared):
    gpu = Device("A GPU", (9, 0), shared, lambda launch: 1)
    named = re.search(r"enough for ([\d,]+)", problem("output_layer", hidden, gpu))
    if named:
        width = int(named[1].replace(",", ""))
        assert width < hidden
        assert not problem("output_layer", width, gpu)
        assert problem("output_layer", width + 1, gpu)
    elif problem("output_layer", hidden, gpu):
        assert problem("output_layer", 1, gpu)


def test_a_block_may_take_all_of_the_memory_and_not_a_byte_more():
    for kernel, hidden in WIDTHS:
        needed = needs.KERNELS[kernel][0](hidden).shared
        enough, short = (Device("A GPU", (9, 0), needed - less, lambda _: 15) for less in (0, 1))
        assert problem(kernel, hidden, enough) == ""
        assert "of shared memory" in problem(kernel, hidden, short)
    assert "enough for 7,168 hidden units" in problem("output_layer", 7169, device(120))


def test_on_the_cpu_nothing_is_required(monkeypatch):
    monkeypatch.setattr(backend, "name", "cpu")
    for kernel in needs.KERNELS:
        assert needs.this_device() is None
        assert problem(kernel, 100_000) == ""
        needs.require(kernel, 100_000)


@pytest.mark.parametrize("network", [MnistNetMerged, MnistNetOneKernel])
def test_a_network_that_the_gpu_cannot_run_is_refused_when_it_is_made(network, monkeypatch):
    monkeypatch.setattr(needs, "this_device", lambda: device(86))
    with pytest.raises(RuntimeError, match=rf"^{network.__name__} with 30 hidden .* MnistNetTuned"):
        network(784, 30, 10)
    monkeypatch.setattr(needs, "this_device", lambda: device(90))
    network(784, 30, 10).free()


def test_the_facts_of_a_gpu_are_those_that_cupy_tells(monkeypatch):
    told = SimpleNamespace(
        id=3, compute_capability="120", attributes={"MaxSharedMemoryPerBlockOptin": 101376}
    )
    runtime = SimpleNamespace(getDeviceProperties=lambda i: {"name": f"GPU {i}".encode()})
    fake = SimpleNamespace(cuda=SimpleNamespace(Device=lambda: told, runtime=runtime))
    monkeypatch.setattr(cuda, "xp", fake)
    monkeypatch.setattr(backend, "name", "gpu")
    gpu = needs.this_device()
    assert (gpu.name, gpu.capability, gpu.shared) == ("GPU 3", (12, 0), 101376)
    assert gpu.clusters is cuda.clusters_at_once
    told.compute_capability = "75"
    assert needs.this_device().capability == (7, 5)


@pytest.mark.parametrize(
    ("hidden", "grid", "shared"), [(30, (16, 256), 146_484), (512, (104, 256), 230_420)]
)
def test_the_driver_is_asked_for_the_launch_as_it_will_be(hidden, grid, shared, monkeypatch):
    asked, allowed = [], []
    results = SimpleNamespace(CUDA_SUCCESS="ok", CUDA_ERROR_INVALID_CLUSTER_SIZE="too large")
    driver = SimpleNamespace(
        CUlaunchConfig=SimpleNamespace, CUfunction=lambda pointer: pointer, CUresult=results
    )
    bindings = SimpleNamespace(driver=driver)
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(bindings=bindings))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    kernel = SimpleNamespace(kernel=SimpleNamespace(ptr=7))
    monkeypatch.setattr(cuda, "_kernel", lambda *names, **constants: kernel)
    set_attribute = SimpleNamespace(funcSetAttribute=lambda *values: allowed.append(values))
    fake = SimpleNamespace(cuda=SimpleNamespace(driver=set_attribute))
    monkeypatch.setattr(cuda, "xp", fake)

    def ask(answer):
        driver.cuOccupancyMaxActiveClusters = lambda *question: asked.append(question) or answer
        return cuda.clusters_at_once(launches.epoch(hidden))

    assert ask(("ok", 5)) == 5
    ((function, config),) = asked
    assert (function, config.gridDimX, config.blockDimX) == (7, *grid)
    assert (config.gridDimY, config.gridDimZ, config.blockDimY, config.blockDimZ) == (1, 1, 1, 1)
    assert config.sharedMemBytes == kernel.max_dynamic_shared_size_bytes == shared
    assert allowed == ([(7, 14, 1)] if hidden == 30 else [])
    assert ask(("too large", 0)) == 0
    cuda.clusters_at_once(launches.output_layer(30))  # what the code declares comes on top
    assert asked[-1][1].sharedMemBytes == kernel.max_dynamic_shared_size_bytes == 3536
    with pytest.raises(RuntimeError, match="does not say how many clusters run at once: BROKEN"):
        ask((SimpleNamespace(name="BROKEN"), 3))


def test_the_doctor_says_which_networks_a_gpu_runs():
    def answers(gpu):
        heading, *rows = doctor._networks(gpu)
        return heading, {row[:22].strip(): row[22:].strip() for row in rows}

    hopper, rows = answers(device(90))
    assert hopper == "  A GPU: compute capability 9.0, 227 KB of shared memory for a block"
    assert set(rows.values()) == {"yes"}
    assert list(rows) == ["other networks", "TF32", "MnistNetMerged", "MnistNetOneKernel"]
    _, rows = answers(device(80))
    assert rows["TF32"] == rows["other networks"] == "yes"
    assert rows["MnistNetMerged"] == "no: " + problem("output_layer", 30, device(80))
    _, rows = answers(device(75))
    assert rows["TF32"] == "no: needs a GPU of compute capability 8.0 or higher"
    _, rows = answers(device(120))
    assert rows["MnistNetMerged"] == "yes, but " + problem("output_layer", 17_152, device(120))
    assert rows["MnistNetOneKernel"].startswith("no: ")
    _, rows = answers(device(90, clusters=12))
    assert rows["MnistNetOneKernel"] == "yes, but " + problem("epoch", 512, device(90, clusters=12))
    _, rows = answers(None)
    assert rows["other networks"] == "that CUDA supports"
    assert rows["TF32"] == "of compute capability 8.0 or higher"
    assert rows["MnistNetOneKernel"] == (
        "of compute capability 9.0 or higher, with 144 KB of shared memory in a block, "
        "that runs 1 cluster of 16 blocks at once (for 30 hidden units)"
    )


def test_the_doctor_reports_on_the_gpu_at_hand(monkeypatch):
    monkeypatch.setattr(doctor, "this_device", lambda: device(89))
    assert "\n".join(doctor._networks(device(89))) in doctor.report()


def test_the_twin_trains_the_parameters_of_the_network(monkeypatch):
    rng = np.random.default_rng(3)
    images = xp.asarray(rng.standard_normal((2 * 256 + 9, 784), np.float32))
    labels = xp.asarray(rng.integers(0, 10, len(images)))
    monkeypatch.setattr(twin, "to_numpy", lambda x: to_numpy(x).copy())  # as from a GPU
    plain, model = MnistNetNaive(784, 20, 10), MnistNetTwin(784, 20, 10)
    losses = model.epoch(images, labels, learning_rate=0.2)
    assert isinstance(losses, xp.ndarray)
    expected = plain.epoch(images, labels, learning_rate=0.2)
    np.testing.assert_allclose(to_numpy(losses), to_numpy(expected), rtol=1e-5)
    for ours, theirs in zip(model.parameters, plain.parameters):
        np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), atol=1e-6)
    with pytest.raises(ValueError, match=r"\(n, 784\)"):
        model.epoch(images[:, :5], labels)
    default = MnistNetTwin(784, 20, 10).epoch(images, labels)
    expected = MnistNetNaive(784, 20, 10).epoch(images, labels)  # of 0.1
    np.testing.assert_allclose(to_numpy(default), to_numpy(expected), rtol=1e-5)


@pytest.mark.skipif(backend.name == "gpu", reason="a GPU's arrays need its own functions")
@pytest.mark.parametrize("able", [False, True])
def test_chapter_9_runs_on_a_gpu_that_cannot_run_its_kernel(able, monkeypatch, capsys, full_mnist):
    gpu = device(90 if able else 89)
    monkeypatch.setattr(needs, "this_device", lambda: gpu)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    notebook = json.loads((ROOT / "notebooks" / "09_one_kernel.ipynb").read_text())
    scope, said = {}, []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec("".join(cell["source"]), scope)
        said.append(capsys.readouterr().out)
        printed = [o["text"] for o in cell["outputs"] if o["output_type"] == "stream"]
        if "nbval-ignore-output" not in cell["metadata"].get("tags", []):
            assert said[-1] == "".join("".join(text) for text in printed)
    assert scope["network"] is (MnistNetOneKernel if able else MnistNetTwin)
    assert (problem("epoch", 30, gpu) + ". On this page, its NumPy twin" in said[1]) is not able


# What only a GPU can show.


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [30, 128, 512])
def test_a_hopper_gpu_runs_both_kernels(hidden, record_property):
    gpu = needs.this_device()
    if gpu.capability != (9, 0):
        pytest.skip(f"{gpu.name} is no Hopper GPU")
    assert gpu.shared == 227 * 1024
    for kernel, (launch_of, _) in needs.KERNELS.items():
        assert problem(kernel, hidden) == ""
        launch = launch_of(hidden)
        count = gpu.clusters(launch)
        print(f"{gpu.name}, {kernel}, {hidden}: {count} clusters of {launch.cluster} at once")
        record_property(f"{kernel} clusters of {launch.cluster}", count)
        assert count >= launch.at_once
        assert cuda._prepared(launch).shared_size_bytes == launch.static


@pytest.mark.gpu
def test_as_many_clusters_run_at_once_as_the_driver_says_and_no_more():
    if problem("epoch", 512):
        pytest.skip(problem("epoch", 512))
    images, labels = (x[:512] for x in normalized(True))
    units, _, _ = launches.cut(512)
    most = units * cuda.clusters_at_once(launches.epoch(512))
    plain = MnistNetNaive(784, most, 10)
    parameters = MnistNetNaive(784, most, 10).parameters
    losses = cuda.train_epoch(images, labels, parameters, 0.1)
    expected = plain.epoch(images, labels)
    np.testing.assert_allclose(to_numpy(losses), to_numpy(expected), rtol=1e-4)
    assert problem("epoch", most) == ""
    assert "at once" in problem("epoch", most + 1)
    parameters = MnistNetNaive(784, most + 1, 10).parameters
    with pytest.raises(Exception, match="COOPERATIVE_LAUNCH_TOO_LARGE"):
        cuda.train_epoch(images, labels, parameters, 0.1)
