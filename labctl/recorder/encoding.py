"""What the files of a run hold: strict JSON, plain YAML and tidy arrays."""

import json
import math
import re
import zlib
from collections.abc import Mapping
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel

from labctl.errors import LabError

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SPELLED = {str(number): text for text, number in _NOT_FINITE.items()}
_ARRAY_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


def plain(value: Any, where: str, *, strict: bool = False) -> Any:
    """Return `value` made of what YAML holds, or JSON where `strict`; `where` names it in messages.

    Raises:
        LabError: It holds what the files cannot.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return _SPELLED[str(value)] if strict and not math.isfinite(value) else float(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str | PurePath | date) and not (strict and value in _NOT_FINITE):
        return str(value)
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): plain(entry, f"{where}.{key}", strict=strict) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry, f"{where}.{place}", strict=strict) for place, entry in enumerate(value)]
    raise LabError(f"{where}: {value!r:.60} cannot be stored; give numbers, text, lists, or mappings with text keys")


def restored(value: Any) -> Any:
    """Return JSON data with the spelled numbers turned back."""
    if isinstance(value, dict):
        return {key: restored(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [restored(entry) for entry in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def to_json(value: Any) -> bytes:
    """Return plain data as compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sealed(line: Mapping[str, Any]) -> bytes:
    """Return a line of `steps.jsonl`: JSON with its own checksum."""
    text = to_json(line)
    return b'%b,"crc":%d}\n' % (text[:-1], zlib.crc32(text))


def unsealed(line: bytes) -> dict[str, Any] | None:
    """Return what `sealed` wrote, or None where the line is damaged."""
    text, _, crc = line.rpartition(b',"crc":')
    return restored(json.loads(text + b"}")) if crc == b"%d}\n" % zlib.crc32(text + b"}") else None


def tidy(path: str, array: np.ndarray) -> np.ndarray:
    """Return the array in native byte order and row-major, as the file formats need it.

    Raises:
        LabError: The name or the type of the array cannot be stored.
    """
    if not _ARRAY_NAME.fullmatch(path):
        raise LabError(f"array {path!r}: a name is made of letters, digits, '_', '-', '.' and parts set off by '/'")
    if array.dtype.kind not in "biufc":
        raise LabError(f"array {path}: {array.dtype} cannot be stored; give booleans or numbers")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
