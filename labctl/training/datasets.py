"""MNIST and Fashion-MNIST from IDX files, and the sample of real MNIST digits that labctl carries."""

import gzip
import logging
import math
import os
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from labctl.errors import ConfigError

logger = logging.getLogger(__name__)

DATA_VARIABLE = "LABCTL_DATA"
"""Environment variable that names the folder with the subfolders `mnist` and `fashion-mnist`."""

SAMPLE_SOURCE = "embedded sample of 5,000 + 1,000 real MNIST digits"
"""What `Dataset.source` says when the digits come with labctl."""

_NAMES = ("mnist", "fashion-mnist")
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_CLASSES = 10
_IMAGE_SHAPE = (28, 28)
_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_FETCH_AGAIN = "fetch the file again or take an undamaged copy"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled grey images, split into training and test, as the files hold them.

    Args:
        name: `mnist`, `fashion-mnist` or `sample`: the images it holds, whatever was asked for.
        train_images: uint8 (n, 28, 28), 0 (background) to 255.
        train_labels: uint8 (n,), 0 to classes - 1.
        test_images: uint8 (m, 28, 28), like the training images.
        test_labels: uint8 (m,), like the training labels.
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
    """Give the images and labels of `mnist`, `fashion-mnist` or the embedded `sample`.

    MNIST falls back to the sample, with a logged warning, only when no folder was named at all.

    Args:
        data: `mnist`, `fashion-mnist` or `sample`.
        data_dir: Folder that holds the four IDX files (plain or .gz), or its parent with a subfolder named as the
            data; None looks for that subfolder in the folder named by the environment variable `LABCTL_DATA`.

    Raises:
        ConfigError: The name is unknown, files are missing, or a file is damaged or does not fit the others.
    """
    if data == "sample":
        return _load_sample()
    if data not in _NAMES:
        raise ConfigError(f"data {data!r} is unknown; choose one of {', '.join((*_NAMES, 'sample'))}")
    folders = _folders(data, data_dir)
    if folders:
        return _load_folders(data, folders)
    if data == "mnist":
        cures = f"set data_dir, or {DATA_VARIABLE} to the folder that holds mnist/"
        logger.warning("no folder with MNIST named, using the %s; for all 70,000 %s", SAMPLE_SOURCE, cures)
        return _load_sample()
    raise ConfigError(
        f"{data}: no folder to look in, data_dir is not given and {DATA_VARIABLE} is not set; put "
        f"{', '.join(_FILES)} (plain or .gz) into a folder {data}/ and name it, or its parent, as data_dir"
    )


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
    others = set(_NAMES) - {data}
    return [data_dir / data] if data_dir.absolute().name in others else [data_dir / data, data_dir]


def _load_folders(data: str, folders: list[Path]) -> Dataset:
    """Load from the first folder that holds all four files."""
    lacks: list[str] = []
    for folder in folders:
        found = {stem: path for stem in _FILES for path in _spellings(folder, stem) if path.is_file()}
        missing = [stem for stem in _FILES if stem not in found]
        if not missing:
            return _read_dataset(data, [found[stem] for stem in _FILES], f"{data} files in {folder}")
        lacks.append(f"{folder} lacks {'all four' if len(missing) == len(_FILES) else ', '.join(missing)}")
    raise ConfigError(
        f"{data}: found no complete set of files: {'; '.join(lacks)}. Expected {', '.join(_FILES)} (plain or .gz); put "
        f"them there, or name the folder that holds them as data_dir, or its parent as data_dir or {DATA_VARIABLE}"
    )


def _spellings(folder: Path, stem: str) -> list[Path]:
    """Give the paths a file may have, the preferred one last."""
    names = (stem.replace("-idx", ".idx"), stem)
    return [folder / f"{name}{suffix}" for suffix in (".gz", "") for name in names]


def _load_sample() -> Dataset:
    folder = resources.files("labctl.training") / "sample"
    with ExitStack() as stack:
        paths = [stack.enter_context(resources.as_file(folder / f"{stem}.gz")) for stem in _FILES]
        return _read_dataset("sample", paths, SAMPLE_SOURCE)


def _read_dataset(name: str, paths: list[Path], source: str) -> Dataset:
    """Read training images, training labels, test images and test labels, in this order."""
    train_images, train_labels = _read_pair(paths[0], paths[1])
    test_images, test_labels = _read_pair(paths[2], paths[3])
    return Dataset(name, train_images, train_labels, test_images, test_labels, source, _CLASSES)


def _read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images and their labels and check that they belong together."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    swapped = "check that the file was not mixed up with another, or fetch it again"
    if images.shape[1:] != _IMAGE_SHAPE:
        raise _damaged(images_path, f"shape {images.shape}", "images of shape (n, 28, 28)", swapped)
    if labels.ndim != 1:
        raise _damaged(labels_path, f"shape {labels.shape}", "labels of shape (n,)", swapped)
    if len(labels) != len(images):
        raise _damaged(labels_path, f"{len(labels)} labels", f"{len(images)} as in {images_path.name}", swapped)
    if labels.max() >= _CLASSES:
        raise _damaged(labels_path, f"label {labels.max()}", f"labels 0 to {_CLASSES - 1}", swapped)
    return images, labels
