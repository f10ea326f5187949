"""A user's own images: one folder per class, or one NPZ file."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from labctl.errors import ConfigError

SIDE = 28
"""Rows and columns that pictures are brought to."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

TEST_SHARE = 6
"""One in this many pictures of each class is a test picture where the folder has no split of its own."""

SPLIT_SEED = 0
"""Draws that split, always the same one."""

KEYS = ("x_train", "y_train", "x_test", "y_test")
"""Arrays of an NPZ file: images uint8 (n, rows, rows), labels integers (n,) from 0."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training images uint8 (n, rows, rows), training labels int64 (n,), test images, test labels."""


def read_npz(path: Path) -> Arrays:
    """Return the images and labels of an NPZ file with the arrays `KEYS`.

    Raises:
        ConfigError: It cannot be read, lacks an array, or its arrays have another form.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise ConfigError(f"{path}: lacks {', '.join(missing)}; expected the arrays {', '.join(KEYS)}")
            arrays = [file[key] for key in KEYS]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: cannot be read as NPZ ({error}); write it with numpy.savez") from error
    for place in (0, 2):
        images, labels = arrays[place], arrays[place + 1]
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2] or not images.size:
            found = f"{images.dtype} of shape {images.shape}"
            raise ConfigError(
                f"{path}: {KEYS[place]} is {found}; expected square images, uint8 of shape (n, rows, rows)"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),) or labels.min() < 0:
            found = f"{labels.dtype} of shape {labels.shape}"
            raise ConfigError(
                f"{path}: {KEYS[place + 1]} is {found}; expected {len(images)} integers from 0, one per image"
            )
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise ConfigError(f"{path}: training images are {arrays[0].shape[1:]}, test images {arrays[2].shape[1:]}")
    return arrays[0], arrays[1].astype(np.int64), arrays[2], arrays[3].astype(np.int64)


def read_folders(folder: Path) -> Arrays:
    """Return pictures sorted into one folder per class, as grey images of 28 x 28.

    `train/CLASS/*.png` and `test/CLASS/*.png` are taken as they are; `CLASS/*.png` is split, one in six of each class
    for testing, by a fixed seed. Classes are numbered in the order of their names. A picture is made grey, cut to its
    central square and scaled down or up.

    Raises:
        ConfigError: There are no such folders, a picture cannot be read, or a class has too few pictures.
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        names = _class_names(folder / "train")
        extra = [name for name in _class_names(folder / "test") if name not in names]
        if extra:
            raise ConfigError(f"{folder / 'test'}: classes {', '.join(extra)} are not in {folder / 'train'}; add them")
        train = [_pictures(folder / "train" / name) for name in names]
        test = [_pictures(folder / "test" / name) if (folder / "test" / name).is_dir() else [] for name in names]
    else:
        names = _class_names(folder)
        rng = np.random.default_rng(SPLIT_SEED)
        train, test = [], []
        for name in names:
            paths = _pictures(folder / name)
            if len(paths) < 2:
                raise ConfigError(f"{folder / name}: {len(paths)} picture(s); a class that is split needs 2 or more")
            order = rng.permutation(len(paths))
            count = max(1, len(paths) // TEST_SHARE)
            test.append([paths[place] for place in sorted(order[:count])])
            train.append([paths[place] for place in sorted(order[count:])])
    return *_stack(folder, train), *_stack(folder, test)


def _class_names(folder: Path) -> list[str]:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror}); give a folder with one per class") from error
    if len(names) < 2:
        raise ConfigError(f"{folder}: holds {len(names)} folder(s); expected one per class, two or more classes")
    return names


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _stack(folder: Path, classes: list[list[Path]]) -> tuple[np.ndarray, np.ndarray]:
    images = [_grey(path) for paths in classes for path in paths]
    labels = [label for label, paths in enumerate(classes) for _ in paths]
    if not images:
        raise ConfigError(f"{folder}: no pictures for training or for testing; expected {', '.join(SUFFIXES)}")
    return np.stack(images), np.array(labels, np.int64)


def _grey(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            grey = picture.convert("L")
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigError(f"{path}: cannot be read as a picture ({error}); replace or remove it") from error
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    square = grey.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BOX if side >= SIDE else Image.Resampling.BILINEAR))
