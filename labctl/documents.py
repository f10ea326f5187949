"""Strict YAML documents: safe loading with line numbers, overrides by path, and errors that name line and cure."""

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from labctl.complaints import Complaint, complaints
from labctl.errors import ConfigError
from labctl.forms import Place
from labctl.units import strip_suffix

M = TypeVar("M", bound=BaseModel)

_MERGE = "tag:yaml.org,2002:merge"


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
        self.lines: dict[Place, int] = {}
        self.overrides: dict[Place, str] = {}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            # aliases become copies, so that an override of one place leaves the others alone
            self.data: dict[str, Any] = _copy(yaml.safe_load(text))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f", line {mark.line + 1}" if mark else ""
            raise ConfigError(f"{file}{place}: not readable as YAML: {_why(error)}") from error
        if not isinstance(self.data, dict) or node is None:
            found = "it is empty" if self.data is None else f"it holds {reprlib.repr(self.data)}"
            raise ConfigError(f"{file}: a mapping of keys is needed at the top, {found}")
        self.lines = self._lines_of(node, ())

    @classmethod
    def of(cls, file: str, data: Mapping[str, Any]) -> Self:
        """Return plain data as a document that knows no lines; `file` says where they are from."""
        document = cls(file, "{}")
        document.data, document.lines = _copy(data), {}
        return document

    def _lines_of(self, node: yaml.Node, path: Place) -> dict[Place, int]:
        """Return the line of every key below `path`; what is merged in by `<<` has the line where it is written."""
        lines = {path: node.start_mark.line + 1}
        merged: dict[Place, int] = {}
        if isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                lines |= self._lines_of(child, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            for key, child in node.value:
                place = (*path, str(key.value))
                if place in lines:
                    raise ConfigError(f"{self.file}, line {key.start_mark.line + 1}: key '{key.value}' stands twice")
                if key.tag == _MERGE:
                    sources = child.value if isinstance(child, yaml.SequenceNode) else [child]
                    merged = {line: at for one in reversed(sources) for line, at in self._lines_of(one, path).items()}
                lines |= self._lines_of(child, place) | {place: key.start_mark.line + 1}
        return merged | lines

    def line(self, path: Place) -> int | None:
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
        if not all((*parts, last)):
            raise ConfigError(f"{self.file}: '{dotted}' cannot be set; write keys or indices set off by single dots")
        target: Any = self.data
        place: Place = ()
        for part in parts:
            if isinstance(target, list):
                index = self._index(target, part, dotted)
                target, place = target[index], (*place, index)
                if part.isdigit():
                    continue
            if not isinstance(target, dict):
                break
            target, place = target.setdefault(part, {}), (*place, part)
        if isinstance(target, list):
            index = self._index(target, last, dotted)
            target[index] = value if last.isdigit() else {last: value}
            place = (*place, index)
        elif isinstance(target, dict) and _is_parameter(target.get(last)) and not isinstance(value, dict):
            target[last] = {**target[last], "value": value, "source": "set by override"}
            place = (*place, last)
        elif isinstance(target, dict):
            target[last] = value
            place = (*place, last)
        else:
            raise ConfigError(f"{self.file}: '{dotted}' cannot be set, '{'.'.join(parts)}' holds a plain value")
        self.overrides[place] = dotted

    def _index(self, entries: list[Any], part: str, dotted: str) -> int:
        if part.isdigit() and int(part) < len(entries):
            return int(part)
        if part.isdigit():
            raise ConfigError(f"{self.file}: no '{dotted}' to override; the list has {len(entries)} entries, from 0 on")
        found = [i for i, entry in enumerate(entries) if isinstance(entry, dict) and part in entry]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{self.file}: '{dotted}' stands {len(found)} times; write its index, one of {found}")
        keys = [key for entry in entries if isinstance(entry, dict) for key in entry]
        raise ConfigError(f"{self.file}: no '{dotted}' to override{nearest(part, keys)}")

    def validate(self, model: type[M], data: Any = None, at: Place = ()) -> M:
        """Return `data` (default: the whole document) as `model`.

        Raises:
            ConfigError: One line per mistake with file, line or override, key, what was asked, and what is allowed or
                the nearest valid key.
        """
        given = self.data if data is None else data
        try:
            return model.model_validate(given)
        except ValidationError as error:
            found = [replace(one, place=(*at, *one.place)) for one in complaints(model, error, given)]
            raise ConfigError("\n".join(self._lines_for(_without_misspelt(found)))) from None

    def where(self, place: Place, chosen_at: Iterable[Place] = ()) -> str:
        """Return the file, and in it the line or the override, that a value at `place` came from.

        Args:
            place: Keys and indices that lead to the value.
            chosen_at: Other places that decide what may stand there.
        """
        chosen = {*chosen_at}
        brought = [dotted for path, dotted in self.overrides.items() if path == place[: len(path)] or path in chosen]
        if brought:
            return ", ".join([self.file, *(f"--set bench.{dotted}" for dotted in brought[-1:])])
        below = [dotted for path, dotted in self.overrides.items() if place and place == path[: len(place)]]
        line = self.line(place) if place else None
        return ", ".join([self.file, *([f"line {line}"] if line else []), *(f"--set bench.{one}" for one in below)])

    def find(self, value: str, *within: str) -> Place:
        """Return the first place below the top keys `within` where `value` stands; empty where it does not."""
        return next((place for key in within for place in _places(self.data.get(key), value, (key,))), ())

    def _lines_for(self, wrong: Sequence[Complaint]) -> list[str]:
        """Return one line for each mistake, however many devices share what is written there."""
        keys: dict[tuple[str, Place], list[Complaint]] = {}
        lines: dict[tuple[str, str, str], list[str]] = {}
        for one in wrong:
            container = one.place[:-1]
            if one.kind == "wrong":
                name = "" if one.place in self.overrides else one.name  # its --set has named it
                key = (self.where(one.place, one.chosen_at), "", f": {one.text}" if name else one.text)
                lines.setdefault(key, []).append(name)
            elif one.kind == "missing" and self._is_new(container):
                meant = nearest(str(container[-1]), self._beside(container))
                key = (self.where(container), "no ", f" in this file{meant}")
                lines.setdefault(key, []).append(f"'{'.'.join(map(str, container))}'")
            else:
                keys.setdefault((self.where(one.place, one.chosen_at), container), []).append(one)
        for (where, container), ones in keys.items():
            before, name, after = _about_keys(container, ones)
            lines.setdefault((where, before, after), []).append(name)
        return [f"{where}: {before}{_enumerated(names)}{after}" for (where, before, after), names in lines.items()]

    def _is_new(self, place: Place) -> bool:
        """Return whether only an override of something below brought the mapping at `place` into being."""
        return place not in self.lines and any(
            len(path) > len(place) and path[: len(place)] == place for path in self.overrides
        )

    def _beside(self, place: Place) -> list[str]:
        return [str(path[-1]) for path in self.lines if path[:-1] == place[:-1] and len(path) == len(place)]


def _why(error: Exception) -> str:
    """Return in one line why a text is no YAML."""
    if isinstance(error, RecursionError):
        return "an alias stands within what it stands for, or it is nested too deeply"
    words = str(getattr(error, "problem", None) or error).partition("\n")[0]
    return "a tab stands where only spaces may; write spaces" if "'\\t'" in words else words


def _copy(value: Any) -> Any:
    """Return plain data without shared parts."""
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _is_parameter(entry: Any) -> bool:
    return isinstance(entry, dict) and {"value", "source"} <= set(entry)


def _without_misspelt(wrong: Sequence[Complaint]) -> list[Complaint]:
    """Return the complaints without keys that are missing only because they are misspelt."""
    unknown = [one for one in wrong if one.kind == "unknown"]
    meant = {(*one.place[:-1], *_close(str(one.place[-1]), one.known)) for one in unknown}
    return [one for one in wrong if one.kind != "missing" or one.place not in meant]


def _places(data: Any, value: str, at: Place) -> Iterator[Place]:
    if isinstance(data, dict | list):
        for key, one in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _places(one, value, (*at, key))
    elif data == value:
        yield at


def _about_keys(container: Place, ones: Sequence[Complaint]) -> tuple[str, str, str]:
    """Return what to say of keys of one mapping that are missing or unknown: before a name, the name, after it."""
    first, *more = ones
    if more:
        missing, unknown = ([one for one in ones if one.kind == kind] for kind in ("missing", "unknown"))
        words = [f"{_keys(missing)} missing"] if missing else []
        words += [f"{_keys(unknown)} unknown; known here: {', '.join(unknown[0].known)}"] if unknown else []
        return "", ".".join(map(str, container)), f": {'; '.join(words)}"
    if first.kind == "unknown":
        return "unknown key ", f"'{first.name}'", nearest(str(first.place[-1]), first.known)
    return "key ", f"'{first.name}'", " is missing"


def _enumerated(names: Iterable[str]) -> str:
    *others, last = dict.fromkeys(names)
    return f"{', '.join(others)} and {last}" if others else last


def _keys(ones: Sequence[Complaint]) -> str:
    names = ", ".join(f"'{one.place[-1]}'" for one in ones)
    return f"key {names} is" if len(ones) == 1 else f"keys {names} are"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" or the list of what is known, to end a message with."""
    names = list(dict.fromkeys(known))
    if close := _close(word, names):
        return f"; did you mean '{close[0]}'?"
    return f"; known here: {', '.join(names)}" if names else ""


def _close(word: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(word, list(known), n=1)


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
        why = "a folder" if path.is_dir() else "not UTF-8 text" if path.is_file() else "no such file"
        close = [f"; did you mean '{one}'?" for one in _close(str(bench), shipped)]
        names = ", ".join(shipped)
        raise ConfigError(
            f"{bench or repr(bench)}: not a bench file that can be read ({why}), nor one of: {names}{''.join(close)}"
        ) from error
    document = Document(path.name, text)
    for dotted, value in (overrides or {}).items():
        document.override(dotted, value)
    return document
