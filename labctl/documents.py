"""Strict YAML documents: safe loading with line numbers, overrides by path, and errors that name line and cure."""

import difflib
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from labctl.errors import ConfigError
from labctl.units import strip_suffix

M = TypeVar("M", bound=BaseModel)
Path_ = tuple[str | int, ...]


class StrictModel(BaseModel):
    """A frozen part of a document: unknown keys are errors, and unit suffixes of fields are not written."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=strip_suffix, allow_inf_nan=False)


class Document:
    """A YAML file as plain data that remembers the line of every key.

    Args:
        file: Path or name shown in messages.
        text: The YAML text.

    Raises:
        ConfigError: The text is not YAML, repeats a key, or is not a mapping.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines: dict[Path_, int] = {}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            # aliases become copies, so that an override of one place leaves the others alone
            self.data: dict[str, Any] = _copy(yaml.safe_load(text))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f", line {mark.line + 1}" if mark else ""
            raise ConfigError(f"{file}{place}: not readable as YAML: {getattr(error, 'problem', error)}") from error
        if not isinstance(self.data, dict) or node is None:
            raise ConfigError(f"{file}: a mapping of keys is needed at the top")
        self._note_lines(node, ())

    def _note_lines(self, node: yaml.Node, path: Path_) -> None:
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                self._note_lines(child, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            for key, child in node.value:
                place = (*path, str(key.value))
                if place in self.lines:
                    raise ConfigError(f"{self.file}, line {key.start_mark.line + 1}: key '{key.value}' stands twice")
                self._note_lines(child, place)
                self.lines[place] = key.start_mark.line + 1

    def line(self, path: Path_) -> int | None:
        """Return the line of the deepest known part of `path`; None for what an override brought."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def override(self, dotted: str, value: Any) -> None:
        """Set the value at `dotted` ("simulation.noise_scale"); the schema judges it afterwards.

        A list is entered by index, or by a key that only one of its entries has ("light.absorb.leak_rejection").
        A `{value, sd, source}` may be given its value alone.

        Raises:
            ConfigError: The path leads through a plain value or to no entry of a list.
        """
        *parts, last = dotted.split(".")
        place: Any = self.data
        for part in parts:
            if isinstance(place, list):
                entry = place[self._index(place, part, dotted)]
                place = entry if part.isdigit() else entry[part]
            elif isinstance(place, dict):
                place = place.setdefault(part, {})
        if isinstance(place, list):
            index = self._index(place, last, dotted)
            place[index] = value if last.isdigit() else {last: value}
        elif isinstance(place, dict) and _is_parameter(place.get(last)) and not isinstance(value, dict):
            place[last] = {**place[last], "value": value, "source": "set by override"}
        elif isinstance(place, dict):
            place[last] = value
        else:
            raise ConfigError(f"{self.file}: '{dotted}' cannot be set, '{'.'.join(parts)}' holds a plain value")

    def _index(self, entries: list[Any], part: str, dotted: str) -> int:
        if part.isdigit() and int(part) < len(entries):
            return int(part)
        found = [i for i, entry in enumerate(entries) if isinstance(entry, dict) and part in entry]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{self.file}: '{dotted}' stands {len(found)} times; write its index, one of {found}")
        keys = [key for entry in entries if isinstance(entry, dict) for key in entry]
        raise ConfigError(f"{self.file}: no '{dotted}' to override{nearest(part, keys)}")

    def validate(self, model: type[M], data: Any = None, at: Path_ = ()) -> M:
        """Return `data` (default: the whole document) as `model`.

        Raises:
            ConfigError: One line per failure with file, line, key, what is allowed and the nearest valid key.
        """
        try:
            return model.model_validate(self.data if data is None else data)
        except ValidationError as error:
            lines = [self._explain(model, dict(failure), at) for failure in error.errors()]
            raise ConfigError("\n".join(dict.fromkeys(lines))) from None

    def _written(self, path: Path_) -> Path_:
        """Return `path` as it stands in the file: without the tags pydantic adds for alternatives."""
        kept: Path_ = ()
        for depth, part in enumerate(path, start=1):
            kept = (*kept, part) if depth == len(path) or (*kept, part) in self.lines else kept
        return kept

    def _explain(self, model: type[BaseModel], failure: dict[str, Any], at: Path_) -> str:
        path: Path_ = (*at, *failure["loc"])
        written = self._written(path)
        line = self.line(written)
        place = f"{self.file}, line {line}" if line else self.file
        name = ".".join(str(part) for part in written)
        if failure["type"] == "extra_forbidden":
            return f"{place}: unknown key '{name}'{nearest(str(path[-1]), _keys_at(model, failure['loc'][:-1]))}"
        if failure["type"] == "missing":
            return f"{place}: key '{name}' is missing"
        if failure["type"] == "literal_error":
            allowed = re.findall(r"'([^']*)'", failure["ctx"]["expected"])
            return f"{place}: {name}: no '{failure['input']}' here{nearest(str(failure['input']), allowed)}"
        what = f"{name}: " if name else ""
        return f"{place}: {what}{failure['msg'].removeprefix('Value error, ')}"


def _copy(value: Any) -> Any:
    """Return plain data without shared parts."""
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _is_parameter(entry: Any) -> bool:
    return isinstance(entry, dict) and {"value", "source"} <= set(entry)


def _keys_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Return the YAML keys allowed at `path` below `model`, as far as they can be told from the types."""
    current: set[type[BaseModel]] = {model}
    for part in path:
        following: set[type[BaseModel]] = set()
        for one in current:
            field = next((f for n, f in one.model_fields.items() if part in (n, f.alias)), None)
            following |= _models_in(field.annotation) if field else set()
        current = following or current
    return [field.alias or name for one in current for name, field in one.model_fields.items()]


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)}


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" or the list of what is known, to end a message with."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known here: {', '.join(names)}" if names else ""


def shipped_benches() -> dict[str, Path]:
    """Return the benches that come with labctl by name."""
    folder = Path(str(resources.files("labctl"))) / "benches"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_bench_document(bench: str | Path, overrides: Mapping[str, Any] | None = None) -> Document:
    """Return the bench file `bench`, a shipped name or a path, with `overrides` by dotted path applied.

    Raises:
        ConfigError: No such bench, not readable, or an override leads nowhere.
    """
    shipped = shipped_benches()
    path = shipped.get(str(bench), Path(bench))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(shipped)
        raise ConfigError(f"{bench}: not a bench file that can be read, nor one of: {known}") from error
    document = Document(path.name, text)
    for dotted, value in (overrides or {}).items():
        document.override(dotted, value)
    return document
