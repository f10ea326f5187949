"""Downloads: fetched once, checked by content, one clear line when there is no network. No test uses the network."""

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest

from labctl.errors import ConfigError
from labctl.training import downloads
from labctl.training.datasets import DATA_VARIABLE, load_dataset
from tests.training.test_datasets import FILES, IMAGES, LABELS, idx

ARRAYS = (IMAGES, LABELS, IMAGES[:2], LABELS[:2])
CONTENTS = {f"{stem}.gz": gzip.compress(idx(array)) for stem, array in zip(FILES, ARRAYS, strict=True)}


class Home:
    """Stands in for the public homes and counts what is fetched from them.

    Args:
        contents: Bytes by file name; a name that is missing cannot be reached.
    """

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.fetched: list[str] = []

    def __call__(self, url: str, known_hash: Any, fname: str, path: Path) -> str:
        self.fetched.append(url)
        if fname not in self.contents:
            raise ConnectionError("no route")
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(self.contents[fname])
        return str(path / fname)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    sums = {stem: hashlib.sha256(idx(array)).hexdigest() for stem, array in zip(FILES, ARRAYS, strict=True)}
    monkeypatch.setitem(downloads.CHECKSUMS, "mnist", sums)
    made = Home(dict(CONTENTS))
    monkeypatch.setattr(pooch, "retrieve", made)
    return made


def test_it_is_fetched_once(home: Home) -> None:
    for _ in range(2):
        np.testing.assert_array_equal(load_dataset("mnist").train_images, IMAGES)
    assert [url.rpartition("/")[2] for url in home.fetched] == [f"{stem}.gz" for stem in FILES]


def test_a_named_folder_goes_before_the_cache(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lacks all four"):
        load_dataset("mnist", tmp_path)
    assert not home.fetched


@pytest.mark.parametrize(
    "content", [gzip.compress(idx(IMAGES + np.uint8(1))), b"<html>moved</html>", CONTENTS[f"{FILES[0]}.gz"][:-9]]
)
def test_other_content_is_refused_and_not_kept(home: Home, content: bytes) -> None:
    home.contents[f"{FILES[0]}.gz"] = content
    with pytest.raises(ConfigError, match=r"mnist: train-images.*SHA-256.*data_dir"):
        load_dataset("mnist")
    home.contents = dict(CONTENTS)
    assert load_dataset("mnist").classes == 10


def test_without_network_one_line_says_what_to_do(home: Home) -> None:
    home.contents.clear()
    with pytest.raises(ConfigError) as caught:
        load_dataset("mnist")
    assert "\n" not in str(caught.value)
    assert all(words in str(caught.value) for words in ("ConnectionError", "data_dir", "data=sample"))
