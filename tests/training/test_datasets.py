"""Data sets: where the files may lie, what damage is refused, what the embedded sample holds."""

import gzip
import hashlib
import struct
from collections.abc import Callable
from importlib import resources
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labctl.errors import ConfigError
from labctl.training.datasets import DATA_VARIABLE, SAMPLE_SOURCE, load_dataset, read_idx

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
LABELS = np.array([3, 1, 4], np.uint8)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)

# Hypothesis reuses tmp_path between examples; every example overwrites the file.
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def plain_name(stem: str) -> str:
    return stem


def gz_name(stem: str) -> str:
    return f"{stem}.gz"


def dotted_name(stem: str) -> str:
    return stem.replace("-idx", ".idx")


def dotted_gz_name(stem: str) -> str:
    return f"{dotted_name(stem)}.gz"


def write_files(folder: Path, name: Callable[[str], str] = plain_name, offset: int = 0) -> Path:
    """Write a data set of 3 training and 2 test images, each pixel raised by `offset` so that sets differ."""
    images = IMAGES + np.uint8(offset)
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in zip(FILES, (images, LABELS, images[:2], LABELS[:2]), strict=True):
        path = folder / name(stem)
        path.write_bytes(gzip.compress(idx(array)) if path.suffix == ".gz" else idx(array))
    return folder


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


# Where the files may lie


@pytest.mark.parametrize("name", [plain_name, gz_name, dotted_name, dotted_gz_name])
@pytest.mark.parametrize("subfolder", ["", "mnist", "fashion-mnist"])
def test_files_are_found_in_the_folder_or_its_subfolder(
    tmp_path: Path, subfolder: str, name: Callable[[str], str]
) -> None:
    write_files(tmp_path / subfolder, name)
    data = load_dataset(subfolder or "mnist", tmp_path)
    np.testing.assert_array_equal(data.train_images, IMAGES)
    np.testing.assert_array_equal(data.train_labels, LABELS)
    np.testing.assert_array_equal(data.test_images, IMAGES[:2])
    np.testing.assert_array_equal(data.test_labels, LABELS[:2])
    assert (data.name, data.classes) == (subfolder or "mnist", 10)
    assert str(tmp_path / subfolder) in data.source


def test_each_name_takes_its_own_subfolder(tmp_path: Path) -> None:
    write_files(tmp_path / "mnist")
    write_files(tmp_path / "fashion-mnist", offset=1)
    np.testing.assert_array_equal(load_dataset("mnist", tmp_path).train_images, IMAGES)
    np.testing.assert_array_equal(load_dataset("fashion-mnist", tmp_path).train_images, IMAGES + np.uint8(1))


@pytest.mark.parametrize("relative", [False, True])
def test_folder_named_after_the_other_data_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    folder = write_files(tmp_path / "mnist")
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match="no complete set"):
        load_dataset("fashion-mnist", Path() if relative else folder)


def test_environment_variable_names_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "mnist")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert len(load_dataset("mnist", None).train_images) == 3
    with pytest.raises(ConfigError, match="no complete set"):
        load_dataset("fashion-mnist", None)


def test_data_dir_goes_before_the_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "a" / "mnist")
    write_files(tmp_path / "b" / "mnist", offset=1)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "b"))
    np.testing.assert_array_equal(load_dataset("mnist", tmp_path / "a").train_images, IMAGES)


@pytest.mark.parametrize("data", ["mnist", "fashion-mnist"])
def test_named_folder_without_files_is_an_error_that_helps(tmp_path: Path, data: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_dataset(data, tmp_path)
    assert all(words in str(caught.value) for words in (str(tmp_path / data), *FILES, "data_dir", DATA_VARIABLE))


def test_kmnist_without_a_folder_says_where_it_is_had() -> None:
    with pytest.raises(ConfigError) as caught:
        load_dataset("kmnist", None)
    assert all(words in str(caught.value) for words in (*FILES, "codh.rois.ac.jp", "data_dir", DATA_VARIABLE))


def test_emnist_is_turned_upright(tmp_path: Path) -> None:
    folder = tmp_path / "emnist-balanced"
    folder.mkdir()
    labels = np.array([46, 0, 10], np.uint8)
    arrays = (IMAGES, labels, IMAGES[:2], labels[:2])
    for (split, part), array in zip(product(("train", "test"), ("images-idx3", "labels-idx1")), arrays, strict=True):
        (folder / f"emnist-balanced-{split}-{part}-ubyte").write_bytes(idx(array))
    data = load_dataset("emnist-balanced", tmp_path)
    assert data.classes == 47
    np.testing.assert_array_equal(data.train_images, IMAGES.transpose(0, 2, 1))
    np.testing.assert_array_equal(data.train_labels, labels)


def test_missing_file_is_named(tmp_path: Path) -> None:
    (write_files(tmp_path) / FILES[3]).unlink()
    with pytest.raises(ConfigError, match=f"lacks {FILES[3]}"):
        load_dataset("mnist", tmp_path)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'cifar'.*mnist, fashion-mnist, kmnist, .*folders, npz, sample"):
        load_dataset("cifar", None)


# What damage is refused

GOOD = idx(IMAGES)
PACKED = gzip.compress(GOOD)
DAMAGED_FILES = {
    "empty": (b"", "first bytes ''"),
    "web page": (b"<!DOCTYPE html>", "first bytes '3c 21 44 4f'"),
    "short magic": (GOOD[:3], "first bytes '00 00 08'"),
    "float data": (b"\0\0\x0d\x03" + GOOD[4:], "data type 0x0d, expected 0x08"),
    "no dimension": (b"\0\0\x08\0", "0 dimensions, expected 1 "),
    "four dimensions": (b"\0\0\x08\x04" + GOOD[4:], "4 dimensions"),
    "header cut": (GOOD[:15], "header truncated: 15 bytes, expected 16"),
    "empty dimension": (idx(IMAGES[:0]), "shape (0, 28, 28), expected no empty dimension"),
    "truncated": (GOOD[:-1], "truncated: 2351 bytes, expected 2352 bytes for shape (3, 28, 28)"),
    "trailing byte": (GOOD + b"\0", "trailing bytes: 2353 bytes, expected 2352"),
    "huge size": (b"\0\0\x08\x03" + b"\xff" * 12, "truncated: 0 bytes"),
    "gzip cut": (PACKED[:-20], "damaged gzip"),
    "gzip header only": (PACKED[:5], "damaged gzip"),
    "gzip checksum": (PACKED[:-8] + b"\0" * 4 + PACKED[-4:], "damaged gzip"),
    "gzip stream": (PACKED[:20] + b"\xff" * 40 + PACKED[60:], "damaged gzip"),
    "gzip then rubbish": (PACKED + b"rubbish", "damaged gzip"),
    "gzip of truncated": (gzip.compress(GOOD[:-1]), "truncated"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED_FILES.values(), ids=DAMAGED_FILES.keys())
def test_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "damaged-file"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_idx(path)
    assert all(words in str(caught.value) for words in (str(path), message, "expected", "fetch the file again"))


@pytest.mark.parametrize("name", ["", "absent"], ids=["folder", "absent"])
def test_unreadable_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_idx(tmp_path / name)


UNFIT_FILES = {
    "label too large": (FILES[1], np.array([0, 10, 1], np.uint8), "label 10, expected labels 0 to 9"),
    "too few labels": (FILES[1], LABELS[:2], f"2 labels, expected 3 as in {FILES[0]}"),
    "test labels of training": (FILES[3], LABELS, "3 labels, expected 2"),
    "images for labels": (FILES[1], IMAGES, "shape (3, 28, 28), expected labels"),
    "labels for images": (FILES[0], LABELS, "shape (3,), expected images"),
    "cropped images": (FILES[2], IMAGES[:2, :, :27], "shape (2, 28, 27), expected images of shape (n, 28, 28)"),
}


@pytest.mark.parametrize(("stem", "array", "message"), UNFIT_FILES.values(), ids=UNFIT_FILES.keys())
def test_files_that_do_not_fit_are_refused(tmp_path: Path, stem: str, array: np.ndarray, message: str) -> None:
    path = write_files(tmp_path) / stem
    path.write_bytes(idx(array))
    with pytest.raises(ConfigError) as caught:
        load_dataset("mnist", tmp_path)
    assert all(words in str(caught.value) for words in (str(path), message, "fetch it again"))


# Properties of the parser


@same_folder
@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=9)), packed=st.booleans())
def test_what_was_written_is_read(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    read = read_idx(path)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.uint8
    assert read.flags.writeable


@same_folder
@given(
    head=st.sampled_from([b"", b"\0\0", b"\0\0\x08", b"\0\0\x08\x01\0\0\0", b"\0\0\x08\x03", b"\x1f\x8b\x08", PACKED]),
    tail=st.binary(max_size=64),
    packed=st.booleans(),
)
def test_random_bytes_raise_nothing_but_config_error(tmp_path: Path, head: bytes, tail: bytes, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(head + tail) if packed else head + tail)
    try:
        read = read_idx(path)
    except ConfigError:
        return
    assert 1 <= read.ndim <= 3


@same_folder
@given(position=st.integers(0, len(PACKED) - 1), value=st.integers(0, 255))
def test_a_changed_byte_of_a_gzip_file_is_refused_or_harmless(tmp_path: Path, position: int, value: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(PACKED[:position] + bytes([value]) + PACKED[position + 1 :])
    try:
        read = read_idx(path)
    except ConfigError:
        return
    np.testing.assert_array_equal(read, IMAGES)


# The embedded sample


def test_sample_is_balanced_and_quiet(caplog: pytest.LogCaptureFixture) -> None:
    data = load_dataset("sample", None)
    assert not caplog.records
    assert (data.name, data.source, data.classes) == ("sample", SAMPLE_SOURCE, 10)
    assert data.train_images.shape == (5000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert {array.dtype for array in (data.train_images, data.train_labels)} == {np.dtype(np.uint8)}
    assert np.bincount(data.train_labels).tolist() == [500] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10


def test_sample_ignores_the_named_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(write_files(tmp_path / "mnist").parent))
    assert len(load_dataset("sample", tmp_path).train_images) == 5000


def test_sample_repeats_no_digit() -> None:
    data = load_dataset("sample", None)
    images = [image.tobytes() for image in (*data.train_images, *data.test_images)]
    assert len(set(images)) == 6000


def test_sample_labels_belong_to_their_images() -> None:
    # The mean digit of each training class recognises four test digits in five; shuffled labels, one in ten.
    data = load_dataset("sample", None)
    means = np.stack([data.train_images[data.train_labels == digit].mean(0).ravel() for digit in range(10)])
    tests = data.test_images.reshape(1000, -1).astype(float)
    distances = (means**2).sum(1) - 2 * tests @ means.T
    assert np.mean(distances.argmin(1) == data.test_labels) > 0.75


def test_sample_files_are_those_of_the_licence_note() -> None:
    folder = resources.files("labctl.training") / "sample"
    note = (folder / "LICENSE.md").read_text(encoding="utf-8")
    for stem in FILES:
        content = (folder / f"{stem}.gz").read_bytes()
        assert content[4:8] == b"\0\0\0\0"
        assert hashlib.sha256(content).hexdigest() in note
