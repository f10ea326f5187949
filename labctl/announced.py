"""What installed packages announce as entry points: plans, calibrations, tables and drivers, by name."""

import ast
import difflib
import importlib.util
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from labctl.errors import ConfigError


def announced(kind: str) -> dict[str, EntryPoint]:
    """Return what is announced under the entry-point group `labctl.<kind>`, by name, none of it imported yet.

    Raises:
        ConfigError: Two packages announce different things under one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=f"labctl.{kind}"), key=lambda entry: entry.name):
        known = found.setdefault(entry.name, entry)
        if known.value != entry.value:
            one = f"{kind.removesuffix('s')} {entry.name!r}"
            raise ConfigError(f"{one} is announced twice: {known.value} and {entry.value}; rename one")
    return found


def describe(entry: EntryPoint) -> str:
    """Return the first line of the docstring of what is announced, read without importing it.

    It is that of the function; of anything else (an object, a class of a driver) that of its module.
    """
    try:
        spec = importlib.util.find_spec(entry.module)
        module = ast.parse(Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else "")
    except (ImportError, OSError, SyntaxError) as error:
        return f"{entry.value}: cannot be read: {error}"
    functions = [one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == entry.attr]
    docstrings = map(ast.get_docstring, [*functions, module])
    return next(filter(None, docstrings), entry.value).partition("\n")[0]


def load_announced(kind: str, name: str, otherwise: str = "") -> Any:
    """Return what is announced under that name.

    Args:
        kind: As for `announced`.
        name: Name to look up.
        otherwise: What else the name might have been, to end a refusal with.

    Raises:
        ConfigError: Nothing is, or its module cannot be imported.
    """
    known, one = announced(kind), f"{kind.removesuffix('s')} {name!r}"
    if name not in known:
        raise ConfigError(f"unknown {one}{nearest(name, known)}; {kind}: {', '.join(known) or 'none'}{otherwise}")
    try:
        return known[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{one}: {known[name].value} cannot be imported: {error}; reinstall it") from error


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return which of the choices was probably meant, to go on with in a message; nothing where none is close."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (nearest: {close[0]!r})" if close else ""
