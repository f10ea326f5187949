"""Data sets fetched once from their public homes into the user's cache, and checked against known checksums."""

import gzip
import hashlib
import logging
import zlib
from pathlib import Path

from labctl.errors import ConfigError

logger = logging.getLogger(__name__)

HOMES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
}
"""Where the four gzip files of a data set lie."""

CHECKSUMS = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
"""SHA-256 of the unpacked files: archives of the same data differ in how they were packed."""


def fetch(data: str) -> Path:
    """Return the folder of the user's cache that holds the four files of a data set, fetched where they are not there.

    Args:
        data: `mnist` or `fashion-mnist`.

    Raises:
        ConfigError: The home cannot be reached, or sent something else.
    """
    import pooch  # only here: it loads an HTTP client

    pooch.get_logger().setLevel(logging.WARNING)  # its lines are for those who write registries
    folder = Path(pooch.os_cache("labctl")) / data
    for stem, checksum in CHECKSUMS[data].items():
        path = folder / f"{stem}.gz"
        if not path.exists():
            logger.warning("%s: fetching %s from %s into %s", data, path.name, HOMES[data], folder)
            _retrieve(data, path)
        if unpacked_sha256(path) != checksum:
            path.unlink()
            raise ConfigError(
                f"{data}: {path.name} from {HOMES[data]} is not the file labctl knows (SHA-256 of its content differs) "
                "and was deleted; try again later, or put the files into a folder and name it as data_dir"
            )
    return folder


def _retrieve(data: str, path: Path) -> None:
    import pooch

    try:
        pooch.retrieve(HOMES[data] + path.name, known_hash=None, fname=path.name, path=path.parent)
    except (OSError, ValueError) as error:  # OSError: all that requests raises
        raise ConfigError(
            f"{data}: {path.name} could not be fetched from {HOMES[data]} ({type(error).__name__}); connect to the "
            "internet once, put the files into a folder and name it as data_dir, or take data=sample"
        ) from error


def unpacked_sha256(path: Path) -> str:
    """Return the SHA-256 of a gzip file's content; empty where it cannot be unpacked."""
    try:
        return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""
