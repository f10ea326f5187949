"""What a model allows, in words: its JSON schema, read for lists of settings and for messages."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from labctl.units import UNITS, Unit, show

Place = tuple[str | int, ...]
"""Keys and indices that lead to a value, as it is written."""

Node = dict[str, Any]
"""One part of a JSON schema."""

_TYPES = {"integer": "an integer", "number": "a number", "string": "text", "boolean": "true or false"}
_TYPES |= {"array": "a list", "object": "a mapping", "null": "null"}
_PATHS = ("path", "file-path", "directory-path")
_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
_BOUNDS |= {"multipleOf": "a multiple of"}
_LENGTHS = {"minItems": ">=", "minLength": ">=", "maxItems": "<=", "maxLength": "<=", "minProperties": ">="}
_UNITS = {unit.name: unit for unit in UNITS}


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


def listed_settings(model: type[BaseModel]) -> list[Setting]:
    """Return every setting of a model, in order."""
    form = Form(model)
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    nodes = form.branches(form.root)[0]["properties"]
    return [
        Setting(alias, form.allowed(nodes[alias]), _default(field), field.description or "")
        for alias, field in fields.items()
    ]


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


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what nested mappings hold in the end, by dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def written(value: Any, unit: Unit | None = None) -> str:
    """Return a value as YAML has it in one line, with its unit if it has one."""
    plain = with_unit(to_jsonable_python(value, fallback=str), unit)
    text = yaml.safe_dump(plain, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    return written(field.get_default(call_default_factory=True), unit_of(field))


class Form:
    """The JSON schema of a model, read to say in words what it allows.

    Args:
        model: The model.

    Attributes:
        root: The schema of all of it.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        aliases = [field.alias or name for name, field in model.model_fields.items()]
        self.root: Node = {"properties": {alias: {"title": alias} for alias in aliases}}
        with suppress(PydanticInvalidForJsonSchema):  # a type that no form can show: pydantic's own words must do
            self.root = model.model_json_schema()

    def find(self, loc: Sequence[int | str]) -> tuple[Place, Node, tuple[Place, ...]]:
        """Return where `loc` leads as it is written, what the schema says of it, and the kinds chosen on the way.

        Args:
            loc: Where pydantic says that something is wrong.
        """
        node, place, chosen_at = self.root, (), ()
        for key in loc:
            kind = self.chooser(node)
            if key in kind["mapping"]:  # pydantic names the branch it took by its tag
                chosen_at = (*chosen_at, (*place, kind["propertyName"]))
                node = {"$ref": kind["mapping"][key]}
                continue
            below = next((found for branch in self.branches(node) if (found := _below(branch, key))), None)
            if below is None:  # an unknown key, or the rest names a branch of a union
                break
            node, place = below, (*place, key)
        return place, node, chosen_at

    def chooser(self, node: Node) -> Node:
        """Return the key by which the alternatives of a schema are told apart, and what each of its values means."""
        return self.branches(node)[0].get("discriminator", {"propertyName": "", "mapping": {}})

    def branches(self, node: Node) -> list[Node]:
        """Return the schema, its reference followed, and then the alternatives it is a union of."""
        node = {**self.root.get("$defs", {}).get(node.get("$ref", "").rpartition("/")[2], {}), **node}
        return [node, *(self.branches(alternative)[0] for alternative in node.get("anyOf", ()))]

    def allowed(self, node: Node) -> str:
        """Return what a part of the schema allows."""
        node, *union = self.branches(node)
        if union:
            named = [str(choice) for one in union for choice in _choices(one)]
            words = [self.allowed(one) for one in union if not _choices(one)]
            return " or ".join(dict.fromkeys([*([f"one of {', '.join(named)}"] if named else []), *words]))
        if choices := _choices(node):
            return f"one of {', '.join(map(str, choices))}"
        if "prefixItems" in node:
            each = dict.fromkeys(map(self.allowed, node["prefixItems"]))
            return f"a list of {len(node['prefixItems'])}, each {' or '.join(each)}"
        unit = _UNITS.get(node.get("unit", ""))
        words = f"a {unit.name}" if unit else _TYPES.get(node.get("type", ""), "")
        words = "a path" if node.get("format") in _PATHS else words
        words += f" of {', '.join(node['properties'])}" if node.get("properties") else ""
        words += f", each {self.allowed(node['items'])}" if node.get("items") else ""
        limits = [
            f"{sign} {show(node[key], unit) if unit else node[key]}" for key, sign in _BOUNDS.items() if key in node
        ]
        limits += [f"with length {sign} {node[key]}" for key, sign in _LENGTHS.items() if key in node]
        limits += [f"like {node['pattern']}"] if "pattern" in node else []
        limits += [f"such as {unit.example}"] if unit and not limits else []
        return f"{words} {' and '.join(limits)}".strip()


def _choices(node: Node) -> list[Any]:
    return node.get("enum", [node["const"]] if "const" in node else [])


def _below(node: Node, key: int | str) -> Node | None:
    if isinstance(key, int):
        fixed = node.get("prefixItems", ())
        return fixed[key] if key < len(fixed) else node.get("items")
    found = node.get("properties", {}).get(key) or node.get("additionalProperties")
    return found if isinstance(found, dict) else None
