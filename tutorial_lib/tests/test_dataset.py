"""The loader's contract, and every way in which the MNIST files can be wrong."""

import gzip
import shutil

import numpy as np
import pytest

from tutorial_lib import BATCH_SIZE, dataset, describe_backend, get_loader
from tutorial_lib.backend import to_numpy, xp


def address(x):
    return x.data.ptr if hasattr(x.data, "ptr") else x.ctypes.data


@pytest.mark.parametrize("train", [True, False])
def test_batches(train):
    images, labels = dataset.normalized(train)
    batches = list(get_loader(train=train))
    assert BATCH_SIZE == 256
    assert len(batches) == len(images) // 256
    for i, (x, t) in enumerate(batches):
        assert x.shape == (256, 784)
        assert t.shape == (256,)
        assert x.dtype == xp.float32
        assert t.dtype == xp.int64
        assert x.base is not None  # a view, not a copy
        assert address(x) == address(images[256 * i :])
    x, t = batches[-1]
    last = slice(256 * (len(batches) - 1), 256 * len(batches))
    assert (x == images[last]).all()
    assert (t == labels[last]).all()


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


@pytest.mark.parametrize("train", [True, False])
def test_the_per_image_loader_gives_the_same(train):
    for (x, t), (y, u), _ in zip(
        dataset.per_image_loader(train=train), get_loader(train=train), range(2)
    ):
        assert (to_numpy(x) == to_numpy(y)).all() or abs(x - y).max() < 1e-6
        assert (t == u).all()
        assert (x.shape, x.dtype, t.dtype) == (y.shape, y.dtype, u.dtype)


def test_loading_happens_once(monkeypatch):
    images, _ = dataset.normalized(True)
    monkeypatch.setattr(dataset, "raw", None)
    assert next(get_loader(train=True))[0].base is not None
    assert dataset.normalized(True)[0] is images
    with pytest.raises(TypeError):  # would be cached apart, and loaded twice
        dataset.normalized(train=True)


# The sample, where there are neither files nor a network.


def test_the_sample_stands_in_loudly(fresh_dataset, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    assert "5,000-image MNIST sample" in describe_backend()
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


# Damaged files: always an error that names the file, never the sample.


@pytest.fixture
def raw_folder(fresh_dataset, monkeypatch, tmp_path):
    """A copy of the four .gz files in a root of its own."""
    packed = dataset.mnist_root() / "MNIST" / "raw"
    names = [f"{name}.gz" for name in dataset.UNPACKED_MD5]
    if not all((packed / name).exists() for name in names):
        pytest.skip("needs the four .gz files of MNIST")
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in names:
        shutil.copy(packed / name, folder)
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    return folder


def test_packed_files_are_unpacked_without_a_network(raw_folder, monkeypatch):
    monkeypatch.undo()  # the real unpacking; with good .gz files it does not ask the network
    monkeypatch.setenv("MNIST_ROOT", str(raw_folder.parent.parent))
    assert dataset.find_mnist() == raw_folder.parent.parent
    assert len(dataset.raw(False)[0]) == 10_000
    for name in dataset.UNPACKED_MD5:  # from here on the unpacked files alone will do
        (raw_folder / f"{name}.gz").unlink()
    dataset.find_mnist.cache_clear()
    assert dataset.find_mnist() == raw_folder.parent.parent


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def replace_by_a_web_page(path):
    path.write_text("<html>Please sign in to the wireless network</html>")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, replace_by_a_web_page])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", list(dataset.UNPACKED_MD5)[1:3])
def test_a_damaged_file(raw_folder, damage, packed, name, capsys):
    path = raw_folder / f"{name}.gz"
    if not packed:
        path = raw_folder / name
        path.write_bytes(gzip.decompress((raw_folder / f"{name}.gz").read_bytes()))
    damage(path)
    with pytest.raises(dataset.DatasetError) as error:
        next(get_loader(train=True))
    assert f"{path} is damaged" in str(error.value)
    assert "MD5" in str(error.value)
    assert "Delete it and run again" in str(error.value)
    assert path.exists()
    assert "sample" not in capsys.readouterr().err


def test_swapped_files(raw_folder):
    one, other = raw_folder / "train-labels-idx1-ubyte.gz", raw_folder / "t10k-labels-idx1-ubyte.gz"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(
        dataset.DatasetError, match=r"train-labels.*it is t10k-labels-idx1-ubyte\.gz"
    ):
        next(get_loader(train=True))


def test_swapped_unpacked_files(raw_folder):
    for name in dataset.UNPACKED_MD5:
        (raw_folder / name).write_bytes(gzip.decompress((raw_folder / f"{name}.gz").read_bytes()))
        (raw_folder / f"{name}.gz").unlink()
    (raw_folder / "t10k-images-idx3-ubyte").write_bytes(
        (raw_folder / "train-labels-idx1-ubyte").read_bytes()
    )
    with pytest.raises(
        dataset.DatasetError, match="it is train-labels-idx1-ubyte under a wrong name"
    ):
        next(get_loader(train=False))


def test_half_a_data_set_is_not_replaced_by_the_sample(raw_folder, capsys):
    (raw_folder / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(
        dataset.DatasetError, match=r"holds part of MNIST.*train-images-idx3-ubyte: no network"
    ):
        next(get_loader(train=False))
    assert "sample" not in capsys.readouterr().err


def test_a_download_that_breaks_off(fresh_dataset, monkeypatch, tmp_path):
    folder = tmp_path / "MNIST" / "raw"

    def break_off(url, download_root, filename, md5):
        (folder / filename).write_bytes(b"\x1f\x8b half a file")
        raise OSError("connection reset")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", break_off)
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    with pytest.raises(dataset.DatasetError, match="connection reset"):
        next(get_loader(train=True))
    with pytest.raises(
        dataset.DatasetError, match=r"train-images-idx3-ubyte\.gz is damaged, swapped or half"
    ):
        next(get_loader(train=True))
