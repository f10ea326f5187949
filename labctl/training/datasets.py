"""Data sets of images: MNIST and its kin from IDX files, a user's own, and the MNIST sample that labctl carries."""

import gzip
import math
import os
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from labctl.errors import ConfigError
from labctl.training.downloads import CHECKSUMS, fetch
from labctl.training.own_images import read_folders, read_npz

DATA_VARIABLE = "LABCTL_DATA"
"""Environment variable that names the folder with the subfolders `mnist`, `fashion-mnist`, `kmnist`, ..."""

SAMPLE_SOURCE = "embedded sample of 5,000 + 1,000 real MNIST digits"
"""What `Dataset.source` says when the digits come with labctl."""

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_IMAGE_SHAPE = (28, 28)
_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_FETCH_AGAIN = "fetch the file again or take an undamaged copy"


@dataclass(frozen=True)
class _Kind:
    """A data set in IDX files: their names, number of classes, whether images lie transposed, where to get them."""

    files: tuple[str, ...]
    classes: int
    transposed: bool
    home: str


_EMNIST = (
    "emnist-balanced-train-images-idx3-ubyte",
    "emnist-balanced-train-labels-idx1-ubyte",
    "emnist-balanced-test-images-idx3-ubyte",
    "emnist-balanced-test-labels-idx1-ubyte",
)
_KINDS = {
    "mnist": _Kind(_FILES, 10, False, "https://yann.lecun.com/exdb/mnist"),
    "fashion-mnist": _Kind(_FILES, 10, False, "https://github.com/zalandoresearch/fashion-mnist"),
    "kmnist": _Kind(_FILES, 10, False, "http://codh.rois.ac.jp/kmnist"),
    "emnist-balanced": _Kind(_EMNIST, 47, True, "https://www.nist.gov/itl/products-and-services/emnist-dataset"),
}
_OWN = ("folders", "npz")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled grey images, split into training and test, as the files hold them.

    Args:
        name: Its name, as `load_dataset` knows it.
        train_images: uint8 (n, rows, rows), 0 (background) to 255; 28 rows unless a user's NPZ file has others.
        train_labels: Integers (n,), 0 to classes - 1.
        test_images: uint8 (m, rows, rows), like the training images.
        test_labels: Integers (m,), like the training labels.
        source: Where the images came from, one line to show the user.
        classes: Number of classes.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    classes: int


def load_dataset(data: str, data_dir: Path | None = None) -> Dataset:
    """Give images and labels of a data set.

    Args:
        data: `sample` (comes with labctl), `mnist`, `fashion-mnist`, `kmnist`, `emnist-balanced`, `folders` (a user's
            pictures, one folder per class) or `npz` (a user's arrays).
        data_dir: Folder that holds the four IDX files (plain or .gz), or its parent with a subfolder named as the
            data; None looks for that subfolder in the folder named by the environment variable `LABCTL_DATA` and, where
            that is not set, in the user's cache, into which MNIST and Fashion-MNIST are downloaded. For `folders` the
            folder of the classes, for `npz` the file.

    Raises:
        ConfigError: The name is unknown, files are missing, cannot be downloaded, are damaged or do not fit each other.
    """
    if data == "sample":
        return _load_sample()
    if data in _OWN:
        return _load_own(data, data_dir)
    if data not in _KINDS:
        raise ConfigError(f"data {data!r} is unknown; choose one of {', '.join((*_KINDS, *_OWN, 'sample'))}")
    folders = _folders(data, data_dir)
    if folders:
        return _load_folders(data, folders)
    if data in CHECKSUMS:
        return _load_folders(data, [fetch(data)])
    kind = _KINDS[data]
    raise ConfigError(
        f"{data}: no folder to look in, data_dir is not given and {DATA_VARIABLE} is not set; get "
        f"{', '.join(kind.files)} (plain or .gz) from {kind.home}, put them into a folder {data}/ and name it, or its "
        "parent, as data_dir"
    )


def _load_own(data: str, path: Path | None) -> Dataset:
    if path is None:
        raise ConfigError(f"data {data}: data_dir is not given; name the folder of the classes, or the NPZ file")
    read = read_npz if data == "npz" else read_folders
    train_images, train_labels, test_images, test_labels = read(path)
    classes = int(train_labels.max()) + 1
    if test_labels.max() >= classes:
        raise ConfigError(f"{path}: a test label is {test_labels.max()}, training labels end at {classes - 1}")
    return Dataset(data, train_images, train_labels, test_images, test_labels, f"own images in {path}", classes)


def read_idx(path: Path) -> np.ndarray:
    """Give the unsigned bytes of one IDX file, plain or gzip, as a writable uint8 array of 1 to 3 dimensions.

    Args:
        path: The file; whether it is compressed is told from its content, not from its name.

    Raises:
        ConfigError: The file cannot be read or unpacked, is not IDX of unsigned bytes, or is not exactly as long as
            its header says.
    """
    content = _content(path)
    shape = _shape(path, content)
    start = 4 + 4 * len(shape)
    found, expected = len(content) - start, math.prod(shape)
    if found != expected:
        what = "truncated" if found < expected else "followed by trailing bytes"
        raise _damaged(path, f"data {what}: {found} bytes", f"{expected} bytes for shape {shape}")
    # A copy, because torch warns of arrays that cannot be written to.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _content(path: Path) -> bytes:
    """Give the bytes of the file, unpacked where it is gzip."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected an IDX file, check the path") from error
    if not raw.startswith(_GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"damaged gzip data ({error})", "a complete gzip file") from error


def _shape(path: Path, content: bytes) -> tuple[int, ...]:
    """Give the dimensions in the IDX header: two zero bytes, type, number of dimensions, big-endian sizes."""
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise _damaged(path, f"first bytes '{magic.hex(' ')}'", "an IDX header '00 00 08 01' to '00 00 08 03'")
    if magic[2] != _UNSIGNED_BYTE:
        raise _damaged(path, f"IDX data type 0x{magic[2]:02x}", f"0x{_UNSIGNED_BYTE:02x} (unsigned byte)")
    rank = magic[3]
    if not 1 <= rank <= 3:
        raise _damaged(path, f"{rank} dimensions", "1 (labels) to 3 (images)")
    if len(content) < 4 + 4 * rank:
        raise _damaged(path, f"header truncated: {len(content)} bytes", f"{4 + 4 * rank} for {rank} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, 4))
    if 0 in shape:
        raise _damaged(path, f"shape {shape}", "no empty dimension")
    return shape


def _damaged(path: Path, found: str, expected: str, cure: str = _FETCH_AGAIN) -> ConfigError:
    return ConfigError(f"{path}: found {found}, expected {expected}; {cure}")


def _folders(data: str, data_dir: Path | None) -> list[Path]:
    """Give the folders that may hold the files, best first; none when the user named none."""
    if data_dir is None:
        parent = os.environ.get(DATA_VARIABLE)
        return [Path(parent) / data] if parent else []
    # Both data sets use the same file names: a folder named after the other one must not pass for this one.
    others = set(_KINDS) - {data}
    return [data_dir / data] if data_dir.absolute().name in others else [data_dir / data, data_dir]


def _load_folders(data: str, folders: list[Path]) -> Dataset:
    """Load from the first folder that holds all four files."""
    kind, lacks = _KINDS[data], list[str]()
    for folder in folders:
        found = {stem: path for stem in kind.files for path in _spellings(folder, stem) if path.is_file()}
        missing = [stem for stem in kind.files if stem not in found]
        if not missing:
            paths = [found[stem] for stem in kind.files]
            return _read_dataset(data, paths, f"{data} files in {folder}", kind)
        lacks.append(f"{folder} lacks {'all four' if len(missing) == len(kind.files) else ', '.join(missing)}")
    raise ConfigError(
        f"{data}: found no complete set of files: {'; '.join(lacks)}. Expected {', '.join(kind.files)} (plain or .gz), "
        f"from {kind.home}; put them there, or name the folder that holds them as data_dir, or its parent as data_dir "
        f"or {DATA_VARIABLE}"
    )


def _spellings(folder: Path, stem: str) -> list[Path]:
    """Give the paths a file may have, the preferred one last."""
    names = (stem.replace("-idx", ".idx"), stem)
    return [folder / f"{name}{suffix}" for suffix in (".gz", "") for name in names]


def _load_sample() -> Dataset:
    folder = resources.files("labctl.training") / "sample"
    with ExitStack() as stack:
        paths = [stack.enter_context(resources.as_file(folder / f"{stem}.gz")) for stem in _FILES]
        return _read_dataset("sample", paths, SAMPLE_SOURCE, _KINDS["mnist"])


def _read_dataset(name: str, paths: list[Path], source: str, kind: _Kind) -> Dataset:
    """Read training images, training labels, test images and test labels, in this order."""
    train_images, train_labels = _read_pair(paths[0], paths[1], kind.classes)
    test_images, test_labels = _read_pair(paths[2], paths[3], kind.classes)
    if kind.transposed:  # EMNIST keeps its images column by column
        train_images, test_images = (images.transpose(0, 2, 1).copy() for images in (train_images, test_images))
    return Dataset(name, train_images, train_labels, test_images, test_labels, source, kind.classes)


def _read_pair(images_path: Path, labels_path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read images and their labels and check that they belong together."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    swapped = "check that the file was not mixed up with another, or fetch it again"
    if images.shape[1:] != _IMAGE_SHAPE:
        raise _damaged(images_path, f"shape {images.shape}", "images of shape (n, 28, 28)", swapped)
    if labels.ndim != 1:
        raise _damaged(labels_path, f"shape {labels.shape}", "labels of shape (n,)", swapped)
    if len(labels) != len(images):
        raise _damaged(labels_path, f"{len(labels)} labels", f"{len(images)} as in {images_path.name}", swapped)
    if labels.max() >= classes:
        raise _damaged(labels_path, f"label {labels.max()}", f"labels 0 to {classes - 1}", swapped)
    return images, labels
