"""Settings in words: what each is called, what it allows, its default, and what is wrong with one that was given."""

import difflib
import math
import reprlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python

from labctl.units import Unit


@dataclass(frozen=True)
class Setting:
    """A setting as people are shown it.

    Args:
        name: Its name, as it is set.
        allowed: What it may be.
        default: Its default as YAML, as it is set; None where it must be given.
        about: What it is, one sentence.
    """

    name: str
    allowed: str
    default: str | None
    about: str


def unit_of(field: FieldInfo) -> Unit | None:
    """Return the unit a settings field carries, or None for plain numbers and everything else."""
    metadata = [*field.metadata, *(m for part in get_args(field.annotation) for m in getattr(part, "__metadata__", ()))]
    return next((entry for entry in metadata if isinstance(entry, Unit)), None)


def with_unit(value: Any, unit: Unit | None) -> Any:
    """Return a number, or a list of them, as it is written with its unit; all else as it is."""
    if isinstance(value, list | tuple):
        return [with_unit(entry, unit) for entry in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{float(value)!r} {next(iter(unit.symbols))}" if unit and is_number else value


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return which of the choices was probably meant, as the end of a message; nothing where none is close."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (nearest: {close[0]!r})" if close else ""


_TYPES = {"integer": "an integer", "number": "a number", "string": "text", "boolean": "true or false"}
_TYPES |= {"array": "a list", "object": "a mapping", "null": "null"}
_PATHS = ("path", "file-path", "directory-path")
_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
_BOUNDS |= {"minItems": "with length >=", "maxItems": "with length <=", "pattern": "like"}
_OWN_WORDS = ("value_error", "assertion_error", "finite_number")  # what a schema cannot explain


class Form:
    """The JSON schema of some settings, read to say in words what they are, what they allow, and what was wrong.

    Args:
        settings_type: Their model.
    """

    def __init__(self, settings_type: type[BaseModel]) -> None:
        self._fields = {field.alias or name: field for name, field in settings_type.model_fields.items()}
        self.units = {alias: unit_of(field) for alias, field in self._fields.items()}
        self.root: dict[str, Any] = {"properties": {alias: {"title": alias} for alias in self.units}}
        with suppress(PydanticInvalidForJsonSchema):  # a type that no form can show: pydantic's own words must do
            self.root = settings_type.model_json_schema()

    def settings(self) -> list[Setting]:
        """Return every setting, in order."""
        nodes = self._branches(self.root)[0]["properties"]
        return [
            Setting(alias, self._in_words(alias, nodes[alias]), self._default(alias, field), field.description or "")
            for alias, field in self._fields.items()
        ]

    def _default(self, alias: str, field: FieldInfo) -> str | None:
        if field.is_required():
            return None
        value = to_jsonable_python(field.get_default(call_default_factory=True), fallback=str)
        text = yaml.safe_dump(with_unit(value, self.units[alias]), default_flow_style=True, width=math.inf)
        return text.removesuffix("\n").removesuffix("\n...")

    def complaint(self, failure: ErrorDetails) -> str:
        """Return one line: the setting, what was asked and what is allowed."""
        path, node = self._find(failure["loc"])
        if failure["type"] == "extra_forbidden":
            name, keys = str(failure["loc"][-1]), self._branches(node)[0].get("properties", {})
            known = ", ".join(keys) or "none"
            return f"unknown setting {'.'.join([*path, name])!r}{nearest(name, keys)}; settings: {known}"
        asked = "missing" if failure["type"] == "missing" else f"asked for {reprlib.repr(failure['input'])}"
        allowed = self._in_words(path[0], node) if path else ""
        if failure["type"] in _OWN_WORDS or not allowed:
            place = f"{'.'.join(path)}: {asked}" if path else "settings"
            return f"{place}: {failure['msg'].removeprefix('Value error, ')}"
        return f"{'.'.join(path)}: {asked}; allowed: {allowed}"

    def _in_words(self, alias: str, node: dict[str, Any]) -> str:
        """Return what a setting, or something below it, allows."""
        allowed, unit = self._allowed(node), self.units.get(alias)
        return allowed.replace("a number", f"a {unit.name} in {next(iter(unit.symbols))}") if unit else allowed

    def _find(self, loc: Sequence[int | str]) -> tuple[list[str], dict[str, Any]]:
        node, path = self.root, []
        for key in loc:
            below = next((found for branch in self._branches(node) if (found := _below(branch, key))), None)
            if below is None:  # an unknown key, or the rest names a branch of a union
                break
            node, path = below, [*path, str(key)]
        return path, node

    def _branches(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the schema, its reference followed, and then the alternatives it is a union of."""
        node = {**self.root.get("$defs", {}).get(node.get("$ref", "").rpartition("/")[2], {}), **node}
        return [node, *(self._branches(alternative)[0] for alternative in node.get("anyOf", ()))]

    def _allowed(self, node: dict[str, Any]) -> str:
        node, *union = self._branches(node)
        if union:
            return " or ".join(dict.fromkeys(map(self._allowed, union)))
        if "enum" in node or "const" in node:
            return "one of " + ", ".join(map(str, node.get("enum", [node.get("const")])))
        words = "a path" if node.get("format") in _PATHS else _TYPES.get(node.get("type", ""), "")
        words += f", each {self._allowed(node['items'])}" if node.get("items") else ""
        limits = [f"{sign} {node[key]}" for key, sign in _BOUNDS.items() if key in node]
        return f"{words} {' and '.join(limits)}".strip()


def _below(node: dict[str, Any], key: int | str) -> dict[str, Any] | None:
    found = node.get("items") if isinstance(key, int) else node.get("properties", {}).get(key)
    return found or node.get("additionalProperties") or None
