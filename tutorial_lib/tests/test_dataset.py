"""The loader's contract, and every way in which the MNIST files can be had or be wrong."""

import gzip
import hashlib
import os
import re
import runpy
import shutil
import tempfile
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from tutorial_lib import dataset, describe_backend, get_loader, mnist_files
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import DatasetError
from tutorial_lib.tests.conftest import forget

URLOPEN = urllib.request.urlopen
NAMES = list(mnist_files.FILES.values())
PACKED = [f"{name}.gz" for name in NAMES]
SPLITS = ((True, NAMES[:2], 600), (False, NAMES[2:], 300))


@pytest.fixture
def tiny(fresh_dataset, monkeypatch, tmp_path):
    """The contents of four small files, whose MD5 sums stand for MNIST's: none is there yet."""
    rng = np.random.default_rng(1)
    contents = {}
    for _, (images, labels), n in SPLITS:
        contents[images] = bytes(16) + rng.bytes(n * 784)
        contents[labels] = bytes(8) + (np.arange(n) * 7 % 10).astype(np.uint8).tobytes()
    sums = {hashlib.md5(content).hexdigest(): name for name, content in contents.items()}
    monkeypatch.setattr(mnist_files, "FILES", sums)
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "root"))
    return contents


@pytest.fixture
def mirror(tiny, monkeypatch, tmp_path):
    """The names that a mirror in the folder "mirror", which has the files, is asked for."""
    asked, place = [], write(tiny, place=tmp_path / "mirror")

    def open_and_note(url, timeout):
        assert timeout == mnist_files.TIMEOUT
        asked.append(url.rpartition("/")[2])
        return URLOPEN(url, timeout=timeout)

    monkeypatch.setattr("urllib.request.urlopen", open_and_note)
    monkeypatch.setattr(mnist_files, "MIRRORS", (place.as_uri() + "/",))
    return asked


def folder():
    return dataset.mnist_root() / "MNIST" / "raw"


def write(contents, rename="{}.gz", pack=gzip.compress, place=None):
    """Write the contents, packed, into MNIST/raw of the root or into another place."""
    place = place or folder()
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / rename.format(name)).write_bytes(pack(content))
    return place


def below(root):
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*")}


def assert_loaded(contents):
    """These contents are what a new process loads."""
    forget()
    for train, (images, their_labels), n in SPLITS:
        pixels, labels = dataset.raw(train)
        assert (pixels.shape, labels.shape) == ((n, 784), (n,))
        assert pixels.tobytes() == contents[images][16:]
        assert labels.astype(np.uint8).tobytes() == contents[their_labels][8:]
    assert dataset.find_mnist() == dataset.mnist_root()


def refusal(capsys):
    """The message of the error with which nothing is loaded, the sample neither."""
    with pytest.raises(DatasetError) as error:
        get_loader(train=True)
    assert capsys.readouterr().err == ""
    return str(error.value)


@pytest.mark.parametrize(("loader", "off"), [(get_loader, 0), (dataset.per_image_loader, 1e-6)])
def test_both_loaders_give_copies_of_the_full_batches_in_file_order(tiny, loader, off):
    write(tiny)
    for train, _, n in 2 * SPLITS:
        pixels, labels = dataset.raw(train)
        scaled = pixels.astype(np.float32) / np.float32(255)
        images = (scaled - np.float32(0.1307)) / np.float32(0.3081)  # as published
        batches = list(loader(train=train))
        assert len(batches) == n // 256
        for i, (x, t) in enumerate(batches):
            here = slice(256 * i, 256 * (i + 1))
            assert (x.dtype, x.flags.c_contiguous, t.dtype) == (xp.float32, True, xp.int64)
            np.testing.assert_allclose(to_numpy(x), images[here], rtol=0, atol=off)
            np.testing.assert_array_equal(to_numpy(t), labels[here])
            x *= 0
            t += 77


@pytest.mark.parametrize("files", [True, False])
def test_the_arrays_of_a_split_are_read_only_or_shared_by_rule(tiny, files):
    write(tiny if files else {})  # without them, the sample
    for array in dataset.raw(True):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
    images, labels = dataset.normalized(True)
    assert dataset.normalized(True)[0] is images
    labels[0] += 1  # whoever breaks the rule breaks no other array
    assert labels[0] != dataset.raw(True)[1][0]


@pytest.mark.parametrize("train", ["test", 1, 0, None, np.True_])
def test_a_split_is_chosen_by_a_bool_alone(tiny, train):
    get_loader(train=True), get_loader(train=False)  # 1 must not find the cached True
    with pytest.raises(TypeError, match="train must be True or False, not "):
        get_loader(train=train)


@pytest.mark.usefixtures("full_mnist")
def test_the_full_data_set_is_what_torchvision_reads_and_holds_the_sample(tmp_path):
    from torchvision.datasets.mnist import MNIST, read_image_file, read_label_file

    assert dataset.describe_dataset() == "MNIST, 60,000 + 10,000 images"
    assert mnist_files.MIRRORS[0] == MNIST.mirrors[0]
    for train, names, full in ((True, NAMES[:2], 234), (False, NAMES[2:], 39)):
        for name in names:
            (tmp_path / name).write_bytes(mnist_files.verified_files()[name])
        pixels, labels = dataset.raw(train)
        assert (pixels.reshape(-1, 28, 28) == read_image_file(tmp_path / names[0]).numpy()).all()
        assert (labels == read_label_file(tmp_path / names[1]).numpy()).all()
        assert len(list(get_loader(train=train))) == full
    pixels, labels = dataset.raw(True)
    assert (round(np.mean(pixels / 255), 4), round(np.std(pixels / 255), 4)) == (0.1307, 0.3081)
    known = dict(zip(map(bytes, pixels), labels))
    with np.load(dataset.SAMPLE) as sample:
        for split, size in (("train", 4000), ("test", 1000)):
            images, labels = sample[f"{split}_images"], sample[f"{split}_labels"]
            assert [known[bytes(image)] for image in images] == labels.tolist()
            assert len(images) == size


@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("rename", ["{}", "{}.gz", "{} (1).gz", "my-{}"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_are_found_by_their_content_and_left_as_they_lie(tiny, place, rename, pack):
    root, others = dataset.mnist_root(), [*NAMES[1:], NAMES[0]]  # each has the name of another
    write(dict(zip(others, tiny.values())), rename, pack, root / place)
    before = below(root)
    assert_loaded(tiny)
    assert below(root) == before


def edit(change):
    """Replaces the bytes of a file by what `change` makes of them."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


DAMAGES = {
    "truncated": edit(lambda content: content[: len(content) // 2]),
    "a bit flipped": edit(lambda content: content[:-9] + bytes([content[-9] ^ 1] * 9)),
    "no deflate stream": edit(lambda content: content[:10] + b"\7" + content[11:]),
    "a web page": edit(lambda content: b"<html>Please sign in to the network</html>"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.unlink(), path.symlink_to("no")),
    "another file": lambda path: shutil.copy(path.with_name(NAMES[3] + path.suffix), path),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_files_are_named_unless_there_is_a_copy(tiny, mirror, damage, suffix, capsys):
    pack = gzip.compress if suffix else bytes
    place = write(tiny, f"{{}}{suffix}", pack)
    paths = [place / f"{name}{suffix}" for name in NAMES[:2]]
    for path in paths:
        DAMAGES[damage](path)
    paths[1] = paths[1].rename(str(paths[1]).replace("-idx", ".idx"))  # a usual name, too
    before = below(place)
    fault = rf"is (damaged or cannot be read \(.+\)|{NAMES[3]} under a wrong name)"
    one, other = (f"{re.escape(str(path))} {fault}" for path in paths)
    assert re.fullmatch(rf"{one}; {other}\. Delete it and run again to .*", refusal(capsys))
    assert below(place) == before
    write(tiny, "copy of {}", pack, dataset.mnist_root())
    assert_loaded(tiny)
    assert not mirror
    shutil.rmtree(dataset.mnist_root())
    assert_loaded(tiny)  # what the message says helps


@pytest.mark.parametrize("there", [[], NAMES[:2], NAMES[1:]])
def test_only_what_is_missing_is_downloaded_and_only_once(tiny, mirror, there):
    write({name: tiny[name] for name in there}, place=dataset.mnist_root())
    missing = [name for name in PACKED if name.removesuffix(".gz") not in there]
    for _ in range(2):
        assert_loaded(tiny)
        assert mirror == missing
        assert sorted(os.listdir(folder())) == sorted(missing)


FAILURES = DAMAGES | {
    "missing": Path.unlink,
    "another file": lambda path: shutil.copy(path.with_name(PACKED[3]), path),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_a_mirror_does_not_give_is_not_saved_but_asked_of_the_next(
    tiny, mirror, failure, monkeypatch, tmp_path, capsys
):
    write({name: tiny[name] for name in NAMES[:2]})
    path = tmp_path / "mirror" / PACKED[2]
    FAILURES[failure](path)
    cause = rf"downloading failed \({path.as_uri()}: .*\)\. Run again with a network"
    assert re.match(rf".* has no {NAMES[2]}, {NAMES[3]}, and {cause}", refusal(capsys))
    assert sorted(os.listdir(folder())) == PACKED[:2]
    other = write(tiny, place=tmp_path / "other").as_uri() + "/"
    monkeypatch.setattr(mnist_files, "MIRRORS", (*mnist_files.MIRRORS, other))
    assert_loaded(tiny)
    assert mirror[:3] == [PACKED[2]] * 3


def test_four_threads_that_save_at_once_all_have_the_data(tiny, mirror, monkeypatch):
    barrier, replace = threading.Barrier(4, timeout=20), Path.replace
    monkeypatch.setattr(Path, "replace", lambda *paths: (barrier.wait(), replace(*paths)))
    load = mnist_files.verified_files.__wrapped__  # without its cache
    with ThreadPoolExecutor(4) as pool:
        assert [future.result() for future in [pool.submit(load) for _ in range(4)]] == [tiny] * 4
    assert sorted(os.listdir(folder())) == sorted(PACKED)


def fail(place, method, error):
    return lambda root, patch: patch.setattr(place, method, Mock(side_effect=error))


def test_a_process_that_is_killed_while_saving_stops_nobody(tiny, mirror, monkeypatch):
    with monkeypatch.context() as patch:
        fail(Path, "replace", SystemExit())(None, patch)
        patch.setattr(shutil, "rmtree", lambda *arguments, **options: None)  # no last cleaning up
        with pytest.raises(SystemExit):
            dataset.find_mnist()
        patch.setattr(mnist_files, "MIRRORS", ())
        assert dataset.find_mnist() is None  # what it left is neither a file of MNIST nor content
    assert_loaded(tiny)


def test_the_sample_stands_in_loudly(tiny, capsys):
    folder().mkdir(parents=True)  # neither empty folders nor hidden files are content
    (dataset.mnist_root() / ".DS_Store").write_bytes(b"x")
    assert describe_backend().endswith(" | 5,000-image MNIST sample (no MNIST files, no network)")
    error = capsys.readouterr().err
    assert error.startswith(f"WARNING: {dataset.mnist_root()} has no {NAMES[0]}, {NAMES[1]}, ")
    assert error.count("gz: no network in this test") == len(mnist_files.MIRRORS) == 2
    for train, full in ((True, 15), (False, 3)):
        batches = list(get_loader(train=train))
        assert len(batches) == full
        assert set(to_numpy(batches[0][1]).tolist()) == set(range(10))
    assert capsys.readouterr().err == ""  # said once


def test_the_root_is_absolute_and_by_default_beside_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(tmp_path / "home"))
    default = Path(dataset.__file__).parents[1] / "data"
    for root, expected in {"": default, "a": Path.cwd() / "a", "~/a": tmp_path / "home/a"}.items():
        monkeypatch.setenv("MNIST_ROOT", root)
        assert dataset.mnist_root() == expected


CANNOT = (
    r"cannot hold the data \(.*{}.*\)\. Let MNIST_ROOT name a folder that you can write into, .*"
)
MISTAKES = {  # what is wrong with the root, and a word of the error
    "a file": (lambda root, patch: root.write_text("no folder"), ""),
    "a link to itself": (lambda root, patch: root.symlink_to(root), ""),
    "not writable": (fail(tempfile, "mkdtemp", PermissionError("denied")), "denied"),
    "full": (fail(Path, "write_bytes", OSError(28, "No space left")), "No space left"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_root_that_is_a_mistake_is_an_error(tiny, mirror, mistake, monkeypatch, capsys):
    root = dataset.mnist_root()
    spoil, word = MISTAKES[mistake]
    spoil(root, monkeypatch)
    assert re.fullmatch(f"{re.escape(str(root))} {CANNOT.format(word)}", refusal(capsys))
    assert not [path for path in folder().glob("*") if path.is_file()]


def test_a_folder_of_other_files_is_no_place_for_the_sample(tiny, capsys):
    write({"one.jpg": b"no digit"}, "{}", bytes, dataset.mnist_root() / "photos/2024")
    fault = rf" has no {', '.join(NAMES)}, and downloading failed .*\. Run again with a network, "
    assert re.search(fault, refusal(capsys))


def test_notebooks_are_compared_on_the_full_data_set_alone(tiny, monkeypatch, tmp_path):
    path = Path(dataset.__file__).parents[1] / "notebooks" / "conftest.py"
    notebooks = SimpleNamespace(**runpy.run_path(str(path)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_ROOT", "root")
    for lax, said in ((True, "NOT compared"), (False, "compared strictly")):
        config = SimpleNamespace(option=SimpleNamespace(nbval_lax=False))
        notebooks.pytest_configure(config)
        assert os.environ["MNIST_ROOT"] == str(tmp_path / "root")  # kernels start elsewhere
        assert config.option.nbval_lax == lax
        assert said in notebooks.pytest_report_header(config)
        write(tiny)
        forget()
    edit(lambda content: content[:9])(folder() / PACKED[0])
    with pytest.raises(pytest.UsageError, match="is damaged"):
        notebooks.pytest_configure(config)
