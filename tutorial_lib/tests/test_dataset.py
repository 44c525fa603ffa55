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
from tutorial_lib.tests.conftest import forget

URLOPEN = urllib.request.urlopen
NAMES = list(mnist_files.FILES.values())
PACKED = [f"{name}.gz" for name in NAMES]
SPLITS = ((True, *NAMES[:2], 600), (False, *NAMES[2:], 300))
ROOT, RAW = Path("root"), Path("root/MNIST/raw")  # in the folder of the test


@pytest.fixture
def tiny(fresh_dataset, monkeypatch, tmp_path):
    """The contents of four small files, whose MD5 sums stand for MNIST's: none is there yet."""
    rng, contents = np.random.default_rng(1), {}
    for _, images, labels, n in SPLITS:
        contents[images] = bytes(16) + rng.bytes(n * 784)
        contents[labels] = bytes(8) + bytes(i * 7 % 10 for i in range(n))
    sums = {hashlib.md5(content).hexdigest(): name for name, content in contents.items()}
    monkeypatch.setattr(mnist_files, "FILES", sums)
    monkeypatch.setenv("MNIST_ROOT", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return contents


@pytest.fixture
def mirror(tiny, monkeypatch):
    """The calls for files of a mirror that has them all: the folder "mirror"."""
    monkeypatch.setattr("urllib.request.urlopen", urlopen := Mock(wraps=URLOPEN))
    monkeypatch.setattr(mnist_files, "MIRRORS", (write(tiny, place="mirror"),))
    return urlopen


def write(contents, rename="{}.gz", pack=gzip.compress, place=RAW):
    """Write the contents, packed, into a folder; its address, as a mirror's."""
    place = Path(place).absolute()
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / rename.format(name)).write_bytes(pack(content))
    return place.as_uri() + "/"


def assert_found(contents):
    """These contents are what a new process finds."""
    forget()
    assert mnist_files.verified_files() == contents
    assert dataset.find_mnist() == ROOT.absolute()


def assert_refused(message):
    """Nothing is loaded, the sample neither; the whole message, but for absolute paths."""
    with pytest.raises(dataset.DatasetError) as error:
        get_loader(train=True)
    assert re.fullmatch(message, str(error.value).replace(f"{Path.cwd()}{os.sep}", ""))


@pytest.mark.parametrize(("loader", "off"), [(get_loader, 0), (dataset.per_image_loader, 1e-6)])
def test_both_loaders_give_copies_of_the_full_batches_in_file_order(tiny, loader, off):
    write(tiny)
    for train, images, labels, n in 2 * SPLITS:
        labels = np.frombuffer(tiny[labels], np.uint8, offset=8)
        pixels = np.frombuffer(tiny[images], np.uint8, offset=16).reshape(n, 784)
        images = (pixels / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)  # published
        batches = list(loader(train=train))
        assert len(batches) == n // 256
        for i, (x, t) in enumerate(batches):
            here = slice(256 * i, 256 * (i + 1))
            assert (x.dtype, x.flags.c_contiguous, t.dtype) == (xp.float32, True, xp.int64)
            np.testing.assert_allclose(to_numpy(x), images[here], rtol=0, atol=off)
            np.testing.assert_array_equal(to_numpy(t), labels[here])
            x *= 0
            t += 77
        stored, shared = dataset.raw(train), dataset.normalized(train)
        assert not any(array.flags.writeable for array in stored)
        assert not np.shares_memory(stored[1], to_numpy(shared[1]))
        assert dataset.normalized(train) is shared


@pytest.mark.parametrize("train", ["test", 1, 0, None, np.True_])
def test_a_split_is_chosen_by_a_bool_alone(tiny, train):
    get_loader(train=True), get_loader(train=False)  # 1 must not find the cached True
    with pytest.raises(TypeError, match="train must be True or False, not "):
        get_loader(train=train)


@pytest.mark.usefixtures("full_mnist")
def test_the_full_data_set_is_what_torchvision_reads_and_holds_the_sample(tmp_path):
    from torchvision.datasets import MNIST

    assert dataset.describe_dataset() == "MNIST, 60,000 + 10,000 images"
    assert mnist_files.MIRRORS[0] == MNIST.mirrors[0]
    write(mnist_files.verified_files(), "{}", bytes, tmp_path / "MNIST/raw")
    for train in (False, True):
        pixels, labels = dataset.raw(train)
        theirs = MNIST(tmp_path, train=train)
        assert (pixels == theirs.data.numpy().reshape(-1, 784)).all()
        assert (labels == theirs.targets.numpy()).all()
    assert (round(np.mean(pixels / 255), 4), round(np.std(pixels / 255), 4)) == (0.1307, 0.3081)
    known = dict(zip(map(bytes, pixels), labels))
    with np.load(dataset.SAMPLE) as sample:
        for split in ("train", "test"):
            images, labels = sample[f"{split}_images"], sample[f"{split}_labels"]
            assert [known[bytes(image)] for image in images] == labels.tolist()


@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("rename", ["{}", "{}.gz", "{} (1).gz", "my-{}"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_are_found_by_their_content_and_left_as_they_lie(tiny, place, rename, pack):
    others = [*NAMES[1:], NAMES[0]]  # each has the name of another
    write(dict(zip(others, tiny.values())), rename, pack, ROOT / place)
    before = [(path, path.stat().st_mtime_ns) for path in ROOT.rglob("*")]
    assert_found(tiny)
    assert before == [(path, path.stat().st_mtime_ns) for path in ROOT.rglob("*")]


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "another end": lambda path: path.write_bytes(path.read_bytes()[:-9] + bytes(9)),
    "no deflate stream": lambda path: path.write_bytes(path.read_bytes()[:10] + b"\7" * 99),
    "a web page": lambda path: path.write_text("<html>Please sign in to the network</html>"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.unlink(), path.symlink_to("no")),
    "another file": lambda path: shutil.copy(path.with_name(NAMES[3] + path.suffix), path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(("rename", "pack"), [("{}", bytes), ("{}.gz", gzip.compress)])
def test_damaged_files_are_named_unless_there_is_a_copy(tiny, mirror, damage, rename, pack):
    write(tiny, rename, pack)
    paths = [RAW / rename.format(name) for name in NAMES[:2]]
    for path in paths:
        damage(path)
    paths[1] = paths[1].rename(str(paths[1]).replace("-idx", ".idx"))  # a usual name, too
    fault = rf"is (damaged or cannot be read \(.+\)|{NAMES[3]} under a wrong name)"
    assert_refused(rf"{paths[0]} {fault}; {paths[1]} {fault}\. Delete it and run again to .*")
    assert all(map(os.path.lexists, paths))
    write(tiny, "copy of {}", pack, ROOT)
    assert_found(tiny)
    mirror.assert_not_called()


@pytest.mark.parametrize("there", [[], NAMES[:2], NAMES[1:]])
def test_only_what_is_missing_is_downloaded_and_only_once(tiny, mirror, there):
    write({name: tiny[name] for name in there}, place=ROOT)
    missing = [name for name in PACKED if name.removesuffix(".gz") not in there]
    for _ in range(2):
        assert_found(tiny)
        assert [call.args[0].rpartition("/")[2] for call in mirror.call_args_list] == missing


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_one_mirror_does_not_give_is_asked_of_the_next(tiny, mirror, damage, monkeypatch):
    write({name: tiny[name] for name in NAMES[:2]})
    damage(Path("mirror", PACKED[2]))
    cause = rf"downloading failed \(file://mirror/{PACKED[2]}: .+\)"
    assert_refused(rf"root has no {NAMES[2]}, {NAMES[3]}, and {cause}\. Run again with a network.*")
    assert sorted(os.listdir(RAW)) == PACKED[:2]  # nothing else is saved
    monkeypatch.setattr(mnist_files, "MIRRORS", (*mnist_files.MIRRORS, write(tiny, place="other")))
    assert_found(tiny)


def test_four_threads_that_save_at_once_all_have_the_data(tiny, mirror, monkeypatch):
    barrier, replace = threading.Barrier(4, timeout=20), Path.replace
    monkeypatch.setattr(Path, "replace", lambda *paths: (barrier.wait(), replace(*paths)))
    load = mnist_files.verified_files.__wrapped__  # without its cache
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: load(), range(4))) == [tiny] * 4
    assert sorted(os.listdir(RAW)) == sorted(PACKED)


def test_a_process_that_is_killed_while_saving_stops_nobody(tiny, mirror, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", Mock(side_effect=SystemExit))
        patch.setattr(shutil, "rmtree", Mock())  # no last cleaning up
        with pytest.raises(SystemExit):
            dataset.find_mnist()
        patch.setattr(mnist_files, "MIRRORS", ())
        assert dataset.find_mnist() is None  # what it left is neither a file of MNIST nor content
    assert_found(tiny)


def test_the_sample_stands_in_loudly_for_a_root_that_holds_nothing(tiny, capsys):
    RAW.mkdir(parents=True)  # neither empty folders nor hidden files are content
    (ROOT / ".DS_Store").touch()
    assert describe_backend().endswith(" | 5,000-image MNIST sample (no MNIST files, no network)")
    error = capsys.readouterr().err
    assert error.startswith(f"WARNING: {ROOT.absolute()} has no {', '.join(NAMES)}, and ")
    assert error.count("gz: no network in this test") == len(mnist_files.MIRRORS) == 2
    for train, full in ((True, 15), (False, 3)):
        batches = list(get_loader(train=train))
        assert len(batches) == full
        assert set(to_numpy(batches[0][1]).tolist()) == set(range(10))
    assert capsys.readouterr().err == ""  # said once
    write({"one.jpg": b"no digit"}, "{}", bytes, ROOT / "photos/2024")
    forget()
    assert_refused(rf"root has no {', '.join(NAMES)}, and .*\. Run again with a network, .*")


def test_the_root_is_absolute_and_by_default_beside_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(tmp_path / "home"))
    default = Path(dataset.__file__).parents[1] / "data"
    for root, expected in {"": default, "a": Path.cwd() / "a", "~/a": tmp_path / "home/a"}.items():
        monkeypatch.setenv("MNIST_ROOT", root)
        assert dataset.mnist_root() == expected


@pytest.mark.parametrize(
    "spoil",
    [
        lambda patch: ROOT.write_text("no folder"),
        lambda patch: ROOT.symlink_to("root"),
        lambda patch: patch.setattr(tempfile, "mkdtemp", Mock(side_effect=OSError("denied"))),
        lambda patch: patch.setattr(Path, "write_bytes", Mock(side_effect=OSError("full"))),
    ],
)
def test_a_root_that_cannot_hold_the_data_is_an_error(tiny, mirror, spoil, monkeypatch):
    spoil(monkeypatch)
    assert_refused(r"root cannot hold the data \(.+\)\. Let MNIST_ROOT name a folder that .*")
    assert not [path for path in RAW.glob("*") if path.is_file()]


def test_notebooks_are_compared_on_the_full_data_set_alone(tiny):
    path = Path(dataset.__file__).parents[1] / "notebooks" / "conftest.py"
    notebooks = SimpleNamespace(**runpy.run_path(str(path)))
    for lax, said in ((True, "NOT compared"), (False, "compared strictly")):
        config = SimpleNamespace(option=SimpleNamespace(nbval_lax=False))
        notebooks.pytest_configure(config)
        assert os.environ["MNIST_ROOT"] == str(ROOT.absolute())  # kernels start elsewhere
        assert config.option.nbval_lax == lax
        assert said in notebooks.pytest_report_header(config)
        write(tiny)
        forget()
    DAMAGES["truncated"](RAW / PACKED[0])
    with pytest.raises(pytest.UsageError, match="is damaged"):
        notebooks.pytest_configure(config)
