"""What a run was made with: versions, platform, commit."""

import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import labctl


def software() -> dict[str, Any]:
    """Return versions of labctl and what its results depend on, the platform, and the commit of the checkout."""
    versions = {"python": platform.python_version(), "labctl": labctl.__version__}
    for name in ("numpy", "torch", "zarr", "safetensors", "pydantic"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    commit = commit_of(Path(__file__).resolve().parents[2])
    return {"versions": versions, "platform": platform.platform(), "commit": commit}


def commit_of(checkout: Path) -> str | None:
    """Return the commit a checkout stands at, read from its files; None when it is no checkout."""
    git = checkout / ".git"
    with suppress(OSError):
        if git.is_file():  # a linked worktree
            git = checkout / _text(git).removeprefix("gitdir:").strip()
        shared = git / _text(git / "commondir") if (git / "commondir").is_file() else git
        head = _text(git / "HEAD")
        name = head.removeprefix("ref: ")
        if name == head:
            return head
        if (shared / name).is_file():
            return _text(shared / name)
        packed = _text(shared / "packed-refs").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
