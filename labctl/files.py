"""Files that are never half written."""

import os
from pathlib import Path


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
