"""Files that are never half written, and folders that can take them."""

import os
from pathlib import Path

from labctl.errors import ConfigError


def require_folder(folder: Path, asked_by: str) -> Path:
    """Return `folder`, which is one or can become one; nothing is made yet.

    Args:
        folder: Where something is to be written.
        asked_by: What named it, for the message: `--out`.

    Raises:
        ConfigError: A file stands in its way, or nothing may be written there.
    """
    there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if not there.is_dir():
        raise ConfigError(f"{asked_by} {folder}: {there} is not a folder; name one, which is made where it is missing")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"{asked_by} {folder}: nothing may be written in {there}; name another folder")
    return folder


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file so that under its name there is always the old or the new one.

    Raises:
        OSError: It cannot be written; what was under its name is still there.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
