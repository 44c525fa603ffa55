"""Which GPU can run which kernel: compiled for each, or refused by a sentence of our own."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from tutorial_lib import backend, doctor
from tutorial_lib.backend import to_numpy
from tutorial_lib.dataset import mnist_root, normalized
from tutorial_lib.kernels import cuda, launches, needs
from tutorial_lib.kernels.needs import Device, problem
from tutorial_lib.networks import MnistNetNaive, MnistNetOneKernel, MnistNetTwin
from tutorial_lib.networks.one_kernel import MAX_HIDDEN

ROOT = Path(__file__).parents[2]
# KB of shared memory that a block may have, by compute capability: the CUDA programming guide.
MEMORY = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
WIDTHS = [30, 128, 145, 512, 8448]


def device(capability, clusters=None, name="A GPU"):
    """A GPU of that capability; by default it runs as many clusters at once as an H200."""

    def at_once(launch):
        assert capability >= 90, "to ask, the kernel is compiled, which needs clusters"
        return {1: 132, 8: 15, 16: 7}[launch.cluster] if clusters is None else clusters

    return Device(name, divmod(capability, 10), MEMORY[capability] * 1024, at_once)


def compiled(launch, capability, **changed):
    """What NVRTC makes of the kernel, as bytes, or its complaint, as text."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    _, program = nvrtc.nvrtcCreateProgram(cuda.source(launch.kernel).encode(), b"kernel", 0, [], [])
    constants = [f"-D{name}={value}" for name, value in {**launch.constants, **changed}.items()]
    options = [f"--gpu-architecture=sm_{capability}", "--std=c++17", *constants]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    get = "CUBIN" if error == nvrtc.nvrtcResult.NVRTC_SUCCESS else "ProgramLog"
    _, size = getattr(nvrtc, f"nvrtcGet{get}Size")(program)
    result = b" " * size
    getattr(nvrtc, f"nvrtcGet{get}")(program, result)
    return result.decode() if get == "ProgramLog" else result


@pytest.mark.parametrize("capability", MEMORY)
def test_every_kernel_is_compiled_or_refused(capability):
    assert isinstance(compiled(launches.loss_and_gradient(), capability), bytes)  # refused by none
    for hidden in WIDTHS:
        launch = launches.epoch(hidden)
        result = compiled(launch, capability)
        assert bool(problem(hidden, device(capability))) == (capability in (*range(90), 120))
        if capability < 90:
            why = "requires .target sm_" if launch.cluster == 1 else "not supported for this GPU"
            assert why in result  # so it is not stricter than needed
        else:
            assert isinstance(result, bytes), result


@pytest.mark.parametrize("hidden", [30, 8192])
def test_a_kernel_compiles_with_the_shared_memory_that_it_lays_out_and_no_other(hidden):
    launch = launches.epoch(hidden, profile=True)
    assert isinstance(compiled(launch, 90), bytes)
    assert "static assertion failed" in compiled(launch, 90, SHARED_BYTES=launch.shared + 4)


SHARED, OF_8 = "of shared memory in a block", "clusters of 8 blocks at once"


@pytest.mark.parametrize(
    ("hidden", "gpu", "need", "found"),
    [
        (30, device(89), "of compute capability 9.0 or higher", "is of 8.9"),
        (512, device(120), f"with 223 KB {SHARED}", "has 99 KB"),
        (512, device(90, 12), f"that runs 13 {OF_8}", "runs 12"),
        (8192, device(90, 114), "that runs 128 blocks at once", "runs 114"),
        (30, device(90, 0), "that runs 4 clusters of 16 blocks at once", "runs 0"),
    ],
)
def test_a_refusal_is_one_sentence_with_the_remedy(hidden, gpu, need, found):
    assert problem(hidden, gpu) == (
        f"MnistNetOneKernel with {hidden:,} hidden units needs a GPU {need}; "
        f"this one, A GPU, {found}: take MnistNetCaptured"
    )
    assert problem(512, device(90, clusters=13)) == ""  # just enough


def test_the_tables_that_a_reader_sees_say_what_the_code_says():
    kilobytes = {h: -(-launches.epoch(h).shared // 1024) for h in (1, 56, 57, 144, 145, 512)}
    assert kilobytes[1] == kilobytes[56] < kilobytes[57] == kilobytes[144] < kilobytes[512]
    numbers = [f"{kilobytes[h]} KB" for h in (56, 144, 512)] + [f"{MAX_HIDDEN:,}"]
    for page in ("README.md", "book/setup.md"):
        text = (ROOT / page).read_text()
        assert [number for number in numbers if number not in text] == [], page
    setup = " ".join((ROOT / "book" / "setup.md").read_text().split())
    assert problem(30, device(89, name="NVIDIA GeForce RTX 4090")) in setup


def test_a_network_that_the_gpu_cannot_run_is_refused_when_it_is_made(monkeypatch):
    monkeypatch.setattr(needs, "this_device", lambda: device(86))
    with pytest.raises(RuntimeError, match=r"^MnistNetOneKernel with .* MnistNetCaptured"):
        MnistNetOneKernel(784, 30, 10)
    for able in (device(90), None):  # without a GPU, nothing is required
        monkeypatch.setattr(needs, "this_device", lambda able=able: able)
        MnistNetOneKernel(784, 30, 10).free()


def test_the_doctor_says_which_networks_a_gpu_runs():
    def answers(gpu):
        return list(doctor._networks(gpu).values())[1:]

    assert answers(device(90)) == ["yes", "yes", "yes"]
    _, tf32, one_kernel = answers(device(75))
    assert tf32 == "no: needs a GPU of compute capability 8.0 or higher"
    assert one_kernel == "no: " + problem(30, device(75))
    assert answers(None)[2] == (
        "of compute capability 9.0 or higher, with 140 KB of shared memory in a block, "
        "that runs 4 clusters of 16 blocks at once (for 30 hidden units)"
    )


@pytest.mark.skipif(backend.name == "gpu", reason="a GPU's arrays need its own functions")
def test_chapter_11_runs_on_a_gpu_that_cannot_run_its_kernel(monkeypatch, capsys, full_mnist):
    monkeypatch.setenv("MNIST_ROOT", str(mnist_root()))
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(needs, "this_device", lambda: device(89))
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    cells, scope = json.loads(Path("11_one_kernel.ipynb").read_text())["cells"], {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        exec("".join(cell["source"]), scope)
    assert scope["network"] is MnistNetTwin
    said = problem(30, device(89)) + ". On this page, its NumPy twin"
    assert said in capsys.readouterr().out


@pytest.mark.gpu
def test_as_many_clusters_run_at_once_as_the_driver_says_and_no_more(monkeypatch):
    monkeypatch.setattr(launches, "MAX_NARROW", 10_000)
    if refused := problem(512):
        assert needs.this_device().capability != (9, 0)  # a Hopper GPU runs it
        pytest.skip(refused)
    images, labels = (x[:512] for x in normalized(True))
    units, _, _ = launches.cut(512)
    most = units * cuda.clusters_at_once(launches.epoch(512))
    plain = MnistNetNaive(784, most, 10)
    losses = cuda.train_epoch(images, labels, MnistNetNaive(784, most, 10).parameters, 0.1)
    expected = plain.epoch(images, labels)
    np.testing.assert_allclose(to_numpy(losses), to_numpy(expected), rtol=1e-4)
    assert problem(most) == ""
    assert "at once" in problem(most + 1)
    with pytest.raises(Exception, match="COOPERATIVE_LAUNCH_TOO_LARGE"):
        cuda.train_epoch(images, labels, MnistNetNaive(784, most + 1, 10).parameters, 0.1)
