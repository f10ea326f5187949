"""What is wrong with values given to a model: where, what was asked, and what the model allows, in words."""

import reprlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import ErrorDetails

from labctl.units import UNITS, show

Place = tuple[str | int, ...]
"""Keys and indices that lead to a value, as it is written."""

_TYPES = {"integer": "an integer", "number": "a number", "string": "text", "boolean": "true or false"}
_TYPES |= {"array": "a list", "object": "a mapping", "null": "null"}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
_LENGTHS = {"minItems": ">=", "minLength": ">=", "maxItems": "<=", "maxLength": "<=", "minProperties": ">="}
_UNITS = {unit.name: unit for unit in UNITS}
_NO_TAG = ("union_tag_invalid", "union_tag_not_found")
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_OWN_WORDS = ("value_error", "assertion_error")  # a validator's own, which no schema can explain


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong.

    Args:
        place: Where it is wrong, as written; for a missing key where it would stand.
        kind: A key the model has not, one it lacks, or a value it does not take.
        text: What was asked and what is allowed; for a missing key what is allowed alone.
        known: Keys the model has there, for an unknown one.
        chosen_at: Where the kinds were written that led to the part of the model that complains.
    """

    place: Place
    kind: Literal["unknown", "missing", "wrong"]
    text: str = ""
    known: tuple[str, ...] = ()
    chosen_at: tuple[Place, ...] = ()

    @property
    def name(self) -> str:
        """The place as people write it, dotted."""
        return ".".join(map(str, self.place))


def complaints(model: type[BaseModel], error: ValidationError, given: Any) -> list[Complaint]:
    """Return what `model` complained about in `given`, each complaint once.

    Args:
        model: The model that refused.
        error: What it raised.
        given: Plain data as it was written.
    """
    form = _Form(model)
    found = dict.fromkeys(form.complaint(failure, given) for failure in error.errors(include_url=False))
    # pydantic calls a list too short, too, once it has put aside what is wrong in it
    return [one for one in found if not any(_lies_within(other.place, one.place) for other in found)]


def _lies_within(inner: Place, outer: Place) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


class _Form:
    """The JSON schema of a model, read to say in words what it allows."""

    def __init__(self, model: type[BaseModel]) -> None:
        aliases = [field.alias or name for name, field in model.model_fields.items()]
        self.root: dict[str, Any] = {"properties": {alias: {"title": alias} for alias in aliases}}
        with suppress(PydanticInvalidForJsonSchema):  # a type that no form can show: pydantic's own words must do
            self.root = model.model_json_schema()

    def complaint(self, failure: ErrorDetails, given: Any) -> Complaint:
        place, node, chosen_at = self._find(failure["loc"])
        if failure["type"] == "extra_forbidden":
            known = tuple(key for branch in self._branches(node) for key in branch.get("properties", {}))
            return Complaint((*place, failure["loc"][-1]), "unknown", known=known, chosen_at=chosen_at)
        if failure["type"] in _NO_TAG:
            kind = self._chooser(node)
            place, node = (*place, kind["propertyName"]), {"enum": list(kind["mapping"])}
        too_short = failure["type"] == "missing" and isinstance(place[-1], int)
        if too_short:  # pydantic misses its last entries; what is wrong is the list
            place, node, chosen_at = self._find(failure["loc"][:-1])
        allowed = self._allowed(node)
        if failure["type"] in ("missing", "union_tag_not_found") and not too_short:
            return Complaint(place, "missing", allowed and f"allowed: {allowed}", chosen_at=chosen_at)
        asked = _written(given, place, failure["input"])
        return Complaint(place, "wrong", _what_is_wrong(failure, asked, allowed if place else ""), chosen_at=chosen_at)

    def _find(self, loc: Sequence[int | str]) -> tuple[Place, dict[str, Any], tuple[Place, ...]]:
        """Return where `loc` leads as it is written, what the schema says of it, and the kinds chosen on the way."""
        node, place, chosen_at = self.root, (), ()
        for key in loc:
            kind = self._chooser(node)
            if key in kind["mapping"]:  # pydantic names the branch it took by its tag
                chosen_at = (*chosen_at, (*place, kind["propertyName"]))
                node = {"$ref": kind["mapping"][key]}
                continue
            below = next((found for branch in self._branches(node) if (found := _below(branch, key))), None)
            if below is None:  # an unknown key, or the rest names a branch of a union
                break
            node, place = below, (*place, key)
        return place, node, chosen_at

    def _chooser(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return the key by which the alternatives of a schema are told apart, and what each of its values means."""
        return self._branches(node)[0].get("discriminator", {"propertyName": "", "mapping": {}})

    def _branches(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the schema, its reference followed, and then the alternatives it is a union of."""
        node = {**self.root.get("$defs", {}).get(node.get("$ref", "").rpartition("/")[2], {}), **node}
        return [node, *(self._branches(alternative)[0] for alternative in node.get("anyOf", ()))]

    def _allowed(self, node: dict[str, Any]) -> str:
        node, *union = self._branches(node)
        if union:
            named = [str(choice) for one in union for choice in _choices(one)]
            words = [self._allowed(one) for one in union if not _choices(one)]
            return " or ".join(dict.fromkeys([*([f"one of {', '.join(named)}"] if named else []), *words]))
        if choices := _choices(node):
            return f"one of {', '.join(map(str, choices))}"
        if "prefixItems" in node:
            each = dict.fromkeys(map(self._allowed, node["prefixItems"]))
            return f"a list of {len(node['prefixItems'])}, each {' or '.join(each)}"
        unit = _UNITS.get(node.get("unit", ""))
        words = f"a {unit.name}" if unit else _TYPES.get(node.get("type", ""), "")
        words += f" of {', '.join(node['properties'])}" if node.get("properties") else ""
        words += f", each {self._allowed(node['items'])}" if node.get("items") else ""
        limits = [
            f"{sign} {show(node[key], unit) if unit else node[key]}" for key, sign in _BOUNDS.items() if key in node
        ]
        limits += [f"with length {sign} {node[key]}" for key, sign in _LENGTHS.items() if key in node]
        limits += [f"like {node['pattern']}"] if "pattern" in node else []
        return f"{words} {' and '.join(limits)}".strip()


def _choices(node: dict[str, Any]) -> list[Any]:
    return node.get("enum", [node["const"]] if "const" in node else [])


def _what_is_wrong(failure: ErrorDetails, asked: Any, allowed: str) -> str:
    """Return what was asked and what is allowed; a validator's own words where it has some."""
    own = failure["type"] in _OWN_WORDS or not allowed
    if failure["type"] == "finite_number":
        allowed = allowed.replace("a number", "a finite number")
    words = failure["msg"].removeprefix("Value error, ") if own else f"allowed: {allowed}"
    if own and (_holds_keys(asked) or repr(asked) in words):
        return words
    return f"asked for {_SHORT.repr(asked)}{':' if own else ';'} {words}"


def _holds_keys(value: Any) -> bool:
    """Return whether a value is more than a person reads at a glance."""
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_holds_keys, value)))


def _written(given: Any, place: Place, otherwise: Any) -> Any:
    """Return what stands at `place`, before validators made something else of it."""
    for key in place:
        if isinstance(given, Mapping):
            entries: Mapping[Any, Any] = given
        else:
            entries = dict(enumerate(given)) if isinstance(given, list | tuple) else {}
        if key not in entries:
            return otherwise
        given = entries[key]
    return given


def _below(node: dict[str, Any], key: int | str) -> dict[str, Any] | None:
    if isinstance(key, int):
        fixed = node.get("prefixItems", ())
        return fixed[key] if key < len(fixed) else node.get("items")
    found = node.get("properties", {}).get(key) or node.get("additionalProperties")
    return found if isinstance(found, dict) else None
