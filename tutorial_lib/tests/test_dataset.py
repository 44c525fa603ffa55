"""The loader's contract, and every way in which the MNIST files can be had or be wrong."""

import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tutorial_lib import BATCH_SIZE, dataset, describe_backend, get_loader, mnist_files
from tutorial_lib.backend import to_numpy, xp

URLOPEN = urllib.request.urlopen
NAMES = list(mnist_files.FILES.values())
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES


# What the loader gives.


@pytest.mark.parametrize("train", [True, False])
def test_batches_are_the_slices_of_the_split_in_file_order(train):
    images, labels = dataset.normalized(train)
    batches = list(get_loader(train=train))
    assert BATCH_SIZE == 256
    assert len(batches) == len(images) // 256
    for i, (x, t) in enumerate(batches):
        assert (x.shape, x.dtype, t.shape, t.dtype) == ((256, 784), xp.float32, (256,), xp.int64)
        assert x.flags.c_contiguous
        assert (x == images[256 * i : 256 * (i + 1)]).all()
        assert (t == labels[256 * i : 256 * (i + 1)]).all()


def test_writing_into_a_batch_changes_that_batch_alone(tiny):
    write(tiny)
    before = [(x.copy(), t.copy()) for x, t in get_loader(train=True)]
    loader = get_loader(train=True)
    for x, t in loader:
        x *= 0
        t += 77
        assert not x.any()
        assert (t >= 77).all()
    after = list(get_loader(train=True))
    assert len(after) == len(before) == 2
    for (x, t), (y, u) in zip(before, after):
        assert (x == y).all()
        assert (t == u).all()


def test_stored_arrays_cannot_be_written(tiny):
    for files in ({}, tiny):  # the sample, then files
        write(files)
        for array in dataset.raw(True):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 7
        forget()


def test_normalized_arrays_are_shared_and_no_others(tiny):
    write(tiny)
    images, labels = dataset.normalized(True)
    assert dataset.normalized(True)[0] is images
    assert dataset.normalized(True)[1] is labels
    labels[0] += 1  # whoever breaks the rule breaks no other array
    assert labels[0] != dataset.raw(True)[1][0]
    with pytest.raises(TypeError):  # would be cached apart, and loaded twice
        dataset.normalized(train=True)


@pytest.mark.parametrize("train", ["test", "", 1, 0, None, np.True_])
def test_a_split_is_chosen_by_a_bool_alone(tiny, train):
    write(tiny)
    list(get_loader(train=True)), list(get_loader(train=False))  # 1 must not find the cached True
    for load in (lambda: get_loader(train=train), lambda: dataset.raw(train)):
        with pytest.raises(TypeError, match="train must be True or False, not "):
            load()


def test_normalization_is_the_published_one():
    pixels, labels = dataset.raw(True)
    images, their_labels = dataset.normalized(True)
    expected = (
        (pixels[:500].astype(np.float32) / np.float32(255)) - np.float32(0.1307)
    ) / np.float32(0.3081)
    assert (to_numpy(images[:500]) == expected).all()
    assert (to_numpy(their_labels) == labels).all()
    assert pixels.dtype == np.uint8
    assert set(labels) == set(range(10))


@pytest.mark.usefixtures("full_mnist")
def test_the_full_data_set():
    (train, train_labels), (test, test_labels) = dataset.raw(True), dataset.raw(False)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert len(list(get_loader(train=True))) == 234
    assert len(list(get_loader(train=False))) == 39
    assert train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    scaled = train / 255
    assert round(scaled.mean(), 4) == dataset.MEAN
    assert round(scaled.std(), 4) == dataset.STD
    assert dataset.describe_dataset() == "MNIST, 60,000 + 10,000 images"


@pytest.mark.usefixtures("full_mnist")
def test_it_is_what_torchvision_reads():
    from torchvision.datasets.mnist import read_image_file, read_label_file

    root = dataset.mnist_root() / "MNIST" / "raw"
    if not all((root / name).exists() for name in NAMES):
        pytest.skip("torchvision reads unpacked files only, and there are none")
    for train, images, labels in ((True, *NAMES[:2]), (False, *NAMES[2:])):
        pixels, ours = dataset.raw(train)
        assert (pixels.reshape(-1, 28, 28) == read_image_file(root / images).numpy()).all()
        assert (ours == read_label_file(root / labels).numpy()).all()


@pytest.mark.parametrize("train", [True, False])
def test_the_per_image_loader_gives_the_same(train):
    for (x, t), (y, u), _ in zip(
        dataset.per_image_loader(train=train), get_loader(train=train), range(2)
    ):
        assert (to_numpy(x) == to_numpy(y)).all() or abs(x - y).max() < 1e-6
        assert (t == u).all()
        assert (x.shape, x.dtype, t.dtype) == (y.shape, y.dtype, u.dtype)


@pytest.mark.parametrize(("n", "full"), [(255, 0), (256, 1), (511, 1), (512, 2)])
def test_every_full_batch_is_given_and_no_partial_one(tiny, monkeypatch, tmp_path, n, full):
    np.savez(tmp_path / "sample.npz", **split([7] * n, n))
    monkeypatch.setattr(dataset, "SAMPLE", tmp_path / "sample.npz")
    for loader in (get_loader, dataset.per_image_loader):
        assert [len(labels) for _, labels in loader(train=False)] == [256] * full


# Labels are checked where they come in.


def split(labels, n=300):
    return {f"{s}_images": np.zeros((n, 784), np.uint8) for s in ("train", "test")} | {
        f"{s}_labels": np.asarray(labels) for s in ("train", "test")
    }


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ([10] + [0] * 299, r"300 labels, with the values \[ *0 *10\]"),
        ([0] * 299 + [-1], r"300 labels, with the values \[-1 *0\]"),
        ([2.5] + [0] * 299, r"300 labels, with the values \[0\. *2\.5\]"),
        ([0] * 299, "299 labels"),
        ([0] * 301, "301 labels"),
        ([[0]] * 300, "300 labels"),
        ([], "0 labels"),
    ],
)
def test_wrong_labels_are_refused(tiny, monkeypatch, tmp_path, labels, values):
    np.savez(tmp_path / "sample.npz", **split(labels))
    monkeypatch.setattr(dataset, "SAMPLE", tmp_path / "sample.npz")
    for train, name in ((True, "train"), (False, "test")):
        for load in (dataset.raw, dataset.normalized, lambda train: get_loader(train=train)):
            with pytest.raises(dataset.DatasetError, match=f"of the 300 {name} images.*{values}"):
                load(train)


def test_wrong_labels_are_refused_in_files_whose_md5_is_right(tiny, monkeypatch):
    tiny[TRAIN_LABELS] = tiny[TRAIN_LABELS][:-1] + b"\x4d"
    tiny[TEST_LABELS] = tiny[TEST_LABELS][:-1]
    monkeypatch.setattr(mnist_files, "FILES", {md5(tiny[name]): name for name in NAMES})
    write(tiny)
    with pytest.raises(dataset.DatasetError, match=r"600 labels, with the values .* 77\]"):
        get_loader(train=True)
    with pytest.raises(dataset.DatasetError, match=r"of the 300 test images.*299 labels"):
        get_loader(train=False)


# A tiny data set with the names of MNIST's files, in a root of its own.


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def tiny(fresh_dataset, monkeypatch, tmp_path):
    """The contents of four small files, whose MD5 sums stand for MNIST's: none is there yet."""
    rng = np.random.default_rng(1)
    contents = {}
    for images, labels, n in ((*NAMES[:2], 600), (*NAMES[2:], 300)):
        contents[images] = idx(rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        contents[labels] = idx((np.arange(n) * 7 % 10).astype(np.uint8))
    monkeypatch.setattr(mnist_files, "FILES", {md5(c): name for name, c in contents.items()})
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "root"))
    return contents


def forget():
    """As in a new process."""
    for cache in (mnist_files.verified_files, dataset.raw, dataset.normalized):
        cache.cache_clear()


def folder():
    return dataset.mnist_root() / "MNIST" / "raw"


def write(contents, place=None, rename="{}.gz", pack=gzip.compress):
    """Write the contents, packed, into MNIST/raw of the root or into another place."""
    place = place or folder()
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / rename.format(name)).write_bytes(pack(content))
    return place


def below(root):
    return {path: path.lstat().st_mtime_ns for path in sorted(root.rglob("*"))}


def assert_loaded(contents):
    """These contents are what is loaded."""
    for train, name, n in ((True, "train", 600), (False, "t10k", 300)):
        pixels, labels = dataset.raw(train)
        assert pixels.tobytes() == contents[f"{name}-images-idx3-ubyte"][16:]
        assert labels.astype(np.uint8).tobytes() == contents[f"{name}-labels-idx1-ubyte"][8:]
        assert (pixels.shape, labels.shape) == ((n, 784), (n,))
    assert dataset.find_mnist() == dataset.mnist_root()


# Where and how the files may lie.


@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("rename", ["{}", "{}.gz", "{} (1).gz", "my-{}"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda x: gzip.compress(x, 1)])
def test_files_are_found_by_their_content_and_left_as_they_lie(tiny, place, rename, pack):
    place = write(tiny, dataset.mnist_root() / place, rename, pack)
    before = below(place)
    assert_loaded(tiny)
    assert below(place) == before


def test_the_other_usual_names_will_do(tiny):
    for name, content in tiny.items():
        write({name.replace("-idx", ".idx"): content}, dataset.mnist_root())
    assert_loaded(tiny)


def test_files_may_lie_in_several_places_packed_or_not(tiny):
    first, *others = tiny
    write({first: tiny[first]}, rename="{}", pack=bytes)
    write({name: tiny[name] for name in others}, dataset.mnist_root())
    assert_loaded(tiny)


def test_nothing_is_unpacked_if_it_lies_there_unpacked(tiny, monkeypatch):
    write(tiny)
    write(tiny, rename="{}", pack=bytes)
    monkeypatch.setattr(gzip, "decompress", None)
    assert_loaded(tiny)


def test_swapped_files_are_what_they_hold(tiny):
    place = write(tiny)
    (place / f"{TRAIN_LABELS}.gz").rename(place / "aside")
    (place / f"{TEST_LABELS}.gz").rename(place / f"{TRAIN_LABELS}.gz")
    (place / "aside").rename(place / f"{TEST_LABELS}.gz")
    assert_loaded(tiny)


def test_processed_files_of_an_old_torchvision_are_not_read(tiny):
    write(tiny)
    processed = folder().parent / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        (processed / name).write_bytes(b"labels 77")
    assert_loaded(tiny)


# Damaged files: an intact copy is taken, else an error names the file. Never the sample.


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def break_the_stream(path):
    content = bytearray(path.read_bytes())
    content[10] = 7  # in a .gz, the first byte behind the header: a block of a type that is none
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def replace_by_a_web_page(path):
    path.write_text("<html>Please sign in to the wireless network</html>")


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_a_dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = [truncate, flip_a_bit, break_the_stream, empty, replace_by_a_web_page]
DAMAGES += [replace_by_a_folder, replace_by_a_dangling_link]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("packed", [True, False])
def test_an_intact_copy_beside_a_damaged_one_is_taken(tiny, damage, packed):
    place = write(tiny)
    write(tiny, rename="{}", pack=bytes)
    for name in NAMES:
        damage(place / f"{name}{'.gz' * packed}")
    assert_loaded(tiny)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dot", [True, False])
def test_a_damaged_file_without_an_intact_copy_is_named(tiny, mirror, damage, packed, dot, capsys):
    rename, pack = ("{}.gz", gzip.compress) if packed else ("{}", bytes)
    place = write(tiny, None, rename, pack)
    path = place / rename.format(TRAIN_LABELS)
    if dot:
        path = path.rename(place / path.name.replace("-idx", ".idx"))
    damage(path)
    before = below(place)
    with pytest.raises(dataset.DatasetError) as error:
        get_loader(train=True)
    message = str(error.value)
    if damage in (replace_by_a_folder, replace_by_a_dangling_link):
        assert message.startswith(f"{path} cannot be read (")
    else:
        assert message.startswith(f"{path} is damaged or half downloaded: its ")
        assert "MD5" in message or "cannot be unpacked (" in message
    assert message.endswith(". Delete it and run again to download it anew.")
    assert message.count(str(place)) == 1  # the intact ones are not blamed
    assert below(place) == before
    assert "sample" not in capsys.readouterr().err
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    assert_loaded(tiny)  # what the message says helps


def test_a_file_in_place_of_another_is_named(tiny):
    place = write(tiny)
    shutil.copy(place / f"{TEST_LABELS}.gz", place / f"{TRAIN_LABELS}.gz")
    with pytest.raises(
        dataset.DatasetError, match=rf"{TRAIN_LABELS}\.gz is {TEST_LABELS} under a wrong name\. Del"
    ):
        dataset.find_mnist()


def test_all_damaged_files_are_named_at_once(tiny):
    place = write(tiny)
    for name in NAMES[:2]:
        truncate(place / f"{name}.gz")
    with pytest.raises(dataset.DatasetError, match=f"{TRAIN_IMAGES}.*; .*{TRAIN_LABELS}"):
        dataset.find_mnist()


# Downloads.


@pytest.fixture
def mirror(tiny, monkeypatch, tmp_path):
    """A mirror of the tiny data set; .asked holds the (URL, timeout) of each request."""
    asked = []

    def open_and_note(url, timeout=None):
        asked.append((url, timeout))
        return URLOPEN(url, timeout=timeout)

    monkeypatch.setattr("urllib.request.urlopen", open_and_note)
    place = write(tiny, tmp_path / "mirror")
    monkeypatch.setattr(mnist_files, "MIRRORS", (place.as_uri() + "/",))
    return SimpleNamespace(place=place, asked=asked)


def test_missing_files_are_downloaded_once(tiny, mirror, monkeypatch):
    assert_loaded(tiny)
    assert [url.rpartition("/")[2] for url, _ in mirror.asked] == [f"{name}.gz" for name in NAMES]
    assert sorted(path.name for path in folder().iterdir()) == sorted(f"{n}.gz" for n in NAMES)
    for name in NAMES:
        saved = folder() / f"{name}.gz"
        assert saved.read_bytes() == (mirror.place / saved.name).read_bytes()
    mirror.asked.clear()
    forget()
    assert_loaded(tiny)
    assert not mirror.asked


def test_only_what_is_missing_is_downloaded(tiny, mirror):
    place = write(tiny, dataset.mnist_root())
    (place / f"{TEST_IMAGES}.gz").unlink()
    assert_loaded(tiny)
    assert [url.rpartition("/")[2] for url, _ in mirror.asked] == [f"{TEST_IMAGES}.gz"]
    assert [path.name for path in folder().iterdir()] == [f"{TEST_IMAGES}.gz"]


def send_nothing(path):
    path.unlink()


def send_another_file(path):
    name = TEST_LABELS if TRAIN_LABELS in path.name else TRAIN_LABELS
    shutil.copy(path.with_name(f"{name}.gz"), path)


FAILURES = [send_nothing, send_another_file, truncate, flip_a_bit, replace_by_a_web_page]


@pytest.mark.parametrize("fail", FAILURES)
def test_the_next_mirror_is_asked(tiny, mirror, monkeypatch, tmp_path, fail):
    other = write(tiny, tmp_path / "other")
    fail(other / f"{TEST_IMAGES}.gz")
    monkeypatch.setattr(mnist_files, "MIRRORS", (other.as_uri() + "/", *mnist_files.MIRRORS))
    assert_loaded(tiny)
    assert len(mirror.asked) == 5


@pytest.mark.parametrize("fail", FAILURES)
def test_what_no_mirror_gives_is_not_saved(tiny, mirror, fail):
    fail(mirror.place / f"{TEST_IMAGES}.gz")
    with pytest.raises(
        dataset.DatasetError,
        match=rf"holds {TRAIN_IMAGES}, {TRAIN_LABELS}, but not {TEST_IMAGES}, {TEST_LABELS}, and "
        rf"downloading failed \(file:.*{TEST_IMAGES}\.gz: .*\)\. Run again with a network",
    ):
        get_loader(train=True)
    assert sorted(p.name for p in folder().iterdir()) == [f"{n}.gz" for n in NAMES[:2]]


def test_an_answer_that_breaks_off_is_a_failed_download(tiny, monkeypatch, capsys):
    def break_off(url, timeout):
        raise IncompleteRead(b"half")

    monkeypatch.setattr("urllib.request.urlopen", break_off)
    assert dataset.find_mnist() is None
    error = capsys.readouterr().err
    assert error.count("IncompleteRead(4 bytes read)") == len(mnist_files.MIRRORS) == 2
    assert f"; {mnist_files.MIRRORS[1]}{TRAIN_IMAGES}.gz: " in error


def test_a_network_that_swallows_packets_is_given_up(tiny, monkeypatch, capsys):
    assert 5 <= mnist_files.TIMEOUT <= 60
    monkeypatch.setattr("urllib.request.urlopen", URLOPEN)
    monkeypatch.setattr(mnist_files, "TIMEOUT", 0.1)
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(mnist_files, "MIRRORS", (url,))
        assert dataset.find_mnist() is None
    assert "timed out" in capsys.readouterr().err


def test_no_timeout_is_set_for_the_process(tiny, mirror, monkeypatch):
    seen = []
    monkeypatch.setattr(
        mnist_files,
        "_verify",
        lambda stored, f=mnist_files._verify: (seen.append(socket.getdefaulttimeout()), f(stored))[
            1
        ],
    )
    dataset.find_mnist()
    assert seen
    assert {socket.getdefaulttimeout(), *seen} == {None}
    assert {timeout for _, timeout in mirror.asked} == {mnist_files.TIMEOUT}


def test_the_mirrors_are_torchvisions_and_one_that_needs_no_certificates():
    from torchvision.datasets import MNIST

    first, second = mnist_files.MIRRORS
    assert first == MNIST.mirrors[0]
    assert re.fullmatch(r"http://storage\.googleapis\.com/[a-z/-]+/", second)


# Several processes, and killed ones.

PROCESS = """
import json, os, pathlib, sys, time
from tutorial_lib import dataset, mnist_files
files, mirror, killed = json.loads(sys.argv[1])
mnist_files.FILES, mnist_files.MIRRORS = files, [mirror]
if killed == "writing":
    write = pathlib.Path.write_bytes
    pathlib.Path.write_bytes = lambda path, content: (write(path, content[:99]), os._exit(9))
if killed == "renaming":
    pathlib.Path.replace = lambda path, target: os._exit(9)
print("ready", flush=True)
sys.stdin.readline()
print(sum(int(array.sum()) for train in (True, False) for array in dataset.raw(train)))
"""


def start(mirror, killed=""):
    arguments = json.dumps([mnist_files.FILES, mirror.place.as_uri() + "/", killed])
    environment = os.environ | {"TUTORIAL_BACKEND": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_four_processes_that_start_at_once_all_load_the_data(tiny, mirror):
    processes = [start(mirror) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    expected = sum(int(a.sum()) for train in (True, False) for a in dataset.raw(train))
    assert results == [(f"{expected}\n", "")] * 4
    assert sorted(p.name for p in folder().iterdir()) == sorted(f"{n}.gz" for n in NAMES)


@pytest.mark.parametrize("killed", ["writing", "renaming"])
def test_a_process_that_is_killed_while_saving_stops_nobody(tiny, mirror, killed, monkeypatch):
    process = start(mirror, killed)
    process.communicate("go\n", timeout=60)
    assert process.returncode == 9
    assert len(list(folder().iterdir())) == 1  # what it left has no name of MNIST
    with monkeypatch.context() as patch:
        patch.setattr(mnist_files, "MIRRORS", ())
        assert dataset.find_mnist() is None  # nor does it count as content
    forget()
    assert_loaded(tiny)


def test_another_process_may_hold_the_file_open_on_windows(tiny, mirror, monkeypatch):
    def lose(path, target):
        target.write_bytes(path.read_bytes())
        raise PermissionError("the file is in use")

    monkeypatch.setattr(Path, "replace", lose)
    assert_loaded(tiny)
    assert len(list(folder().iterdir())) == 4


def test_the_package_needs_numpy_alone(tiny, mirror):
    code = "import sys; sys.modules |= dict.fromkeys(('torch', 'torchvision', 'cupy', 'nvmath'))\n"
    arguments = json.dumps([mnist_files.FILES, mirror.place.as_uri() + "/", ""])
    run = subprocess.run(
        [sys.executable, "-c", code + PROCESS, arguments],
        input="go\n",
        capture_output=True,
        text=True,
        env=os.environ | {"TUTORIAL_BACKEND": "cpu"},
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")


# The sample: for a folder that is empty, where there is no network.


def test_the_sample_stands_in_loudly(fresh_dataset, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    sample = "5,000-image MNIST sample (no MNIST files, no network)"
    assert describe_backend().endswith(f" | {sample}")
    error = capsys.readouterr().err
    assert error.startswith("WARNING: no MNIST files in " + str(tmp_path))
    assert "sample" in error
    assert "no network in this test" in error
    assert [len(list(get_loader(train=split))) for split in (True, False)] == [15, 3]
    for split in (True, False):
        images, labels = next(get_loader(train=split))
        assert images.shape == (256, 784)
        assert labels.dtype == xp.int64
        assert set(to_numpy(labels).tolist()) == set(range(10))
    assert capsys.readouterr().err == ""  # said once


@pytest.mark.usefixtures("full_mnist")
def test_the_sample_is_real_mnist():
    known = {image.tobytes(): label for image, label in zip(*dataset.raw(True))}
    with np.load(dataset.SAMPLE) as sample:
        for split, size in (("train", 4000), ("test", 1000)):
            images, labels = sample[f"{split}_images"], sample[f"{split}_labels"]
            assert len(images) == size
            assert all(known[image.tobytes()] == label for image, label in zip(images, labels))


def test_hidden_files_and_empty_folders_are_no_content(tiny, capsys):
    folder().mkdir(parents=True)
    (dataset.mnist_root() / ".DS_Store").write_bytes(b"x")
    (dataset.mnist_root() / "empty").mkdir()
    assert dataset.find_mnist() is None
    assert "WARNING" in capsys.readouterr().err


@pytest.mark.parametrize(
    "other",
    ["thesis.txt", "MNIST/processed/training.pt", "photos/2024/one.jpg", "train-images.idx"],
)
def test_a_folder_of_other_things_does_not_get_the_sample(tiny, other, capsys):
    path = dataset.mnist_root() / other
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    with pytest.raises(dataset.DatasetError) as error:
        get_loader(train=True)
    assert f"{dataset.mnist_root()} holds {Path(other)}, but not {', '.join(NAMES)}, and" in str(
        error.value
    )
    assert f"put the missing .gz files into {folder()}, or let" in str(error.value)
    assert "empty folder to use the sample" in str(error.value)
    assert "no network in this test" in str(error.value)
    assert capsys.readouterr().err == ""


def test_half_a_data_set_does_not_get_the_sample(tiny, capsys):
    (write(tiny) / f"{TRAIN_IMAGES}.gz").unlink()
    with pytest.raises(dataset.DatasetError, match=rf"but not {TRAIN_IMAGES}, and downloading"):
        get_loader(train=False)
    assert capsys.readouterr().err == ""


# Roots that are mistakes.


def test_the_tilde_is_the_home_folder(tiny, monkeypatch, tmp_path):
    write(tiny, tmp_path / "home" / "mnist")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("MNIST_ROOT", "~/mnist")
    assert dataset.mnist_root() == tmp_path / "home" / "mnist"
    assert_loaded(tiny)
    monkeypatch.setenv("MNIST_ROOT", "~nobody-of-this-name/mnist")
    with pytest.raises(
        dataset.DatasetError, match=r"MNIST_ROOT is ~nobody-of-this-name.mnist: .*in full"
    ):
        dataset.mnist_root()


def test_the_root_is_absolute_and_by_default_beside_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_ROOT", "digits")
    assert dataset.mnist_root() == Path.cwd() / "digits"
    for unset in (
        lambda: monkeypatch.setenv("MNIST_ROOT", ""),
        lambda: monkeypatch.delenv("MNIST_ROOT"),
    ):
        unset()
        assert dataset.mnist_root() == Path(dataset.__file__).parents[1] / "data"


def a_file(root):
    root.write_text("not a folder")


def a_link_to_itself(root):
    root.symlink_to(root)


def a_dangling_link(root):
    root.symlink_to(root.with_name("nowhere"))


def below_a_file(root):
    (root / "MNIST").parent.mkdir()
    (root / "MNIST").write_text("not a folder")


@pytest.mark.parametrize("mistake", [a_file, a_link_to_itself, a_dangling_link, below_a_file])
def test_a_root_that_cannot_be_a_folder(tiny, mirror, mistake, capsys):
    root = dataset.mnist_root()
    mistake(root)
    with pytest.raises(dataset.DatasetError) as error:
        get_loader(train=True)
    assert str(error.value).startswith(f"{root} cannot hold the data (")
    assert "Let MNIST_ROOT name a folder that you can write into" in str(error.value)
    assert not mirror.asked
    assert capsys.readouterr().err == ""


def test_a_root_that_cannot_be_made(tiny, monkeypatch, tmp_path):
    a_file(tmp_path / "file")
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "file" / "mnist"))
    with pytest.raises(dataset.DatasetError, match="mnist cannot hold the data"):
        get_loader(train=True)


@pytest.mark.parametrize("right", [os.R_OK, os.W_OK])
def test_a_root_without_permission(tiny, monkeypatch, right, capsys):
    def access(path, mode):
        assert path == folder()
        return not mode & right

    monkeypatch.setattr(os, "access", access)  # root may do anything
    with pytest.raises(
        dataset.DatasetError, match=r"\(no permission to read and write in /.*raw\)"
    ):
        get_loader(train=True)
    assert capsys.readouterr().err == ""
    write(tiny)  # where all is there, nothing needs to be written
    assert_loaded(tiny)


def test_a_full_disk_is_no_reason_for_the_sample(tiny, mirror, monkeypatch, capsys):
    def fail(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(dataset.DatasetError, match=r"cannot hold the data .*No space left"):
        get_loader(train=True)
    assert capsys.readouterr().err == ""


def test_a_file_that_cannot_be_renamed_is_an_error(tiny, mirror, monkeypatch):
    def refuse(path, target):
        raise PermissionError("the file is in use")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(dataset.DatasetError, match="the file is in use"):
        get_loader(train=True)
    assert list(folder().iterdir()) == []


# How the notebooks are compared.


@pytest.fixture
def notebooks(tiny):
    path = Path(dataset.__file__).parents[1] / "notebooks" / "conftest.py"
    if not path.exists():
        pytest.skip("the notebooks are not here")
    spec = importlib.util.spec_from_file_location("notebooks_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_notebooks_are_compared_on_the_full_data_set_alone(tiny, notebooks, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_ROOT", "root")
    config = SimpleNamespace(option=SimpleNamespace(nbval_lax=False))
    notebooks.pytest_configure(config)
    assert os.environ["MNIST_ROOT"] == str(tmp_path / "root")  # kernels start in another folder
    assert config.option.nbval_lax
    assert "NOT compared" in notebooks.pytest_report_header(config)
    without_nbval = SimpleNamespace(option=SimpleNamespace())
    notebooks.pytest_configure(without_nbval)
    assert vars(without_nbval.option) == {}
    forget()
    write(tiny)
    config.option.nbval_lax = False
    notebooks.pytest_configure(config)
    assert not config.option.nbval_lax
    assert "compared strictly" in notebooks.pytest_report_header(config)


def test_notebooks_do_not_run_on_damaged_files(tiny, notebooks):
    truncate(write(tiny) / f"{TRAIN_IMAGES}.gz")
    with pytest.raises(pytest.UsageError, match="is damaged"):
        notebooks.pytest_configure(SimpleNamespace(option=SimpleNamespace()))
