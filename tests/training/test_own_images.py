"""A user's own images: folders of pictures, NPZ files, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labctl.errors import ConfigError
from labctl.training.datasets import load_dataset
from labctl.training.own_images import KEYS


def write_pictures(folder: Path, count: int, brightness: int, shape: tuple[int, ...] = (28, 28)) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        picture = np.full(shape, brightness, np.uint8)
        picture[0, 0] = number
        Image.fromarray(picture).save(folder / f"{number:03}.png")


def test_folders_with_a_split_are_taken_as_they_are(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        write_pictures(tmp_path / split / "apple", count, 10)
        write_pictures(tmp_path / split / "pear", count, 200)
    data = load_dataset("folders", tmp_path)
    assert data.train_images.shape == (6, 28, 28)
    assert data.test_images.shape == (4, 28, 28)
    assert data.classes == 2
    np.testing.assert_array_equal(data.train_labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(data.train_images[:, 5, 5], [10] * 3 + [200] * 3)


def test_folders_without_a_split_get_the_same_one_every_time(tmp_path: Path) -> None:
    for name, brightness in (("a", 10), ("b", 200)):
        write_pictures(tmp_path / name, 12, brightness)
    one, other = load_dataset("folders", tmp_path), load_dataset("folders", tmp_path)
    np.testing.assert_array_equal(one.train_images, other.train_images)
    assert (len(one.train_labels), len(one.test_labels)) == (20, 4)
    marks = [image[0, 0] for image in (*one.train_images, *one.test_images)]
    assert sorted(marks) == sorted([*range(12), *range(12)])  # each picture once, on one side


def test_colour_and_size_are_brought_into_form(tmp_path: Path) -> None:
    write_pictures(tmp_path / "wide", 2, 90, (40, 100, 3))
    write_pictures(tmp_path / "small", 2, 30, (12, 12))
    data = load_dataset("folders", tmp_path)
    assert data.train_images.shape[1:] == (28, 28)
    assert {int(image[14, 14]) for image in data.train_images} == {30, 90}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda folder: None, "cannot be read"),
        (lambda folder: write_pictures(folder / "only", 4, 1), "1 folder"),
        (lambda folder: [write_pictures(folder / name, 1, 1) for name in "ab"], "needs 2 or more"),
        (
            lambda folder: [write_pictures(folder / name, 2, 1) for name in ("train/a", "train/b", "test/a", "test/c")],
            "classes c are not in",
        ),
    ],
)
def test_folders_that_cannot_be_used_are_refused(tmp_path: Path, build, message: str) -> None:
    build(tmp_path / "own")
    with pytest.raises(ConfigError, match=message):
        load_dataset("folders", tmp_path / "own")


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 2, 1)
    write_pictures(tmp_path / "b", 2, 1)
    (tmp_path / "b" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"broken\.png: cannot be read as a picture"):
        load_dataset("folders", tmp_path)


def arrays(side: int = 20) -> dict[str, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (6, side, side), np.uint8)
    return dict(zip(KEYS, (images[:4], np.array([0, 1, 2, 0]), images[4:], np.array([1, 2])), strict=True))


def test_npz_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **arrays())  # pyright: ignore[reportArgumentType]
    data = load_dataset("npz", tmp_path / "own.npz")
    assert (data.classes, data.train_images.shape, data.test_images.shape) == (3, (4, 20, 20), (2, 20, 20))
    np.testing.assert_array_equal(data.test_labels, [1, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test": None}, "lacks y_test"),
        ({"x_train": np.zeros((4, 20, 21), np.uint8)}, "x_train is uint8"),
        ({"x_train": np.zeros((4, 20, 20))}, "x_train is float64"),
        ({"y_train": np.array([0, 1])}, "expected 4 integers"),
        ({"y_train": np.array([0, 1, -1, 0])}, "expected 4 integers"),
        ({"x_test": np.zeros((2, 8, 8), np.uint8)}, "training images are"),
        ({"y_test": np.array([0, 7])}, "a test label is 7"),
        ({"x_train": np.array([{}], object)}, "cannot be read as NPZ"),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    held = {name: array for name, array in {**arrays(), **change}.items() if array is not None}
    np.savez(tmp_path / "own.npz", **held)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=message):
        load_dataset("npz", tmp_path / "own.npz")


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="cannot be read as NPZ"):
        load_dataset("npz", tmp_path / "own.npz")
