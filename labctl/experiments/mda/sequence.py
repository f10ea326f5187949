"""Sequences of useq-schema as this plan takes them: strictly read, and what it cannot do refused by name."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import useq
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from labctl.bench.presets import IMAGE_FILES
from labctl.documents import Document, nearest
from labctl.errors import ConfigError

GROUP = "Channel"
"""Config group of the channels: useq's own default, and the one that `labctl.adapters.mmcore` makes."""

OWN = "labctl"
"""Key of a sequence's metadata below which settings of the plan may stand."""

_PLANS = ("time_plan", "stage_positions", "grid_plan", "z_plan", "channels")

_GRIDS = (useq.GridRowsColumns, useq.GridWidthHeight, useq.GridFromEdges, useq.RandomPoints)

_SETUP = {"x_pos", "y_pos", "z_pos", "exposure", "slm_image", "action"}
"""What may be set up before the first frame; `action` is filled in by useq."""


def read_sequence(path: Path) -> dict[str, Any]:
    """Return the contents of a sequence's YAML or JSON file, paths of images made absolute.

    Raises:
        ConfigError: There is no such file, or it is not readable as YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"sequence {path}: cannot be read: {error}; give the path of a YAML file") from error
    data, folder = Document(path.name, text).data, path.resolve().parent
    for part in _mappings(data, "setup", "slm_image"), _mappings(data, "metadata", OWN):
        for key in ("data", "presets"):
            if key in part:
                part[key] = absolute_images(part[key], folder)
    return data


def absolute_images(value: Any, folder: Path) -> Any:
    """Return `value` with every path of an image below it taken from `folder`."""
    if isinstance(value, Mapping):
        return {key: absolute_images(one, folder) for key, one in value.items()}
    if isinstance(value, str) and value.lower().endswith(IMAGE_FILES):
        return str(folder / value)
    return value


def own_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of this plan that stand in a sequence, under `metadata: labctl:`.

    Raises:
        ConfigError: What stands there are no settings.
    """
    metadata = data.get("metadata") or {}
    own = metadata.get(OWN) or {} if isinstance(metadata, Mapping) else {}
    if not isinstance(own, Mapping):
        raise ConfigError(f"sequence: metadata.{OWN}: asked for {own!r}; settings of this plan are allowed, by name")
    return dict(own)


def _mappings(data: Any, *keys: str) -> dict[str, Any]:
    """Return the mapping under `keys`, empty where there is none."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def parse_sequence(data: Mapping[str, Any]) -> useq.MDASequence:
    """Return the sequence that `data` describes.

    Raises:
        ConfigError: It is none, has keys that useq would silently pass over, or asks for what this plan cannot do.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sequence = useq.MDASequence.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(f"sequence: {_complaint(error)}") from error
    except (Warning, ValueError, TypeError) as error:
        raise ConfigError(f"sequence: {error}") from error
    _refuse_other_grids(data, sequence, "")
    _refuse_unknown(dict(data), sequence, ())
    for complaint in _unsupported(sequence):
        raise ConfigError(f"sequence: {complaint}")
    if not any(getattr(sequence, plan) for plan in _PLANS):
        raise ConfigError("sequence: has no frames; give it a time_plan, stage_positions, a z_plan or channels")
    return sequence


def _complaint(error: ValidationError) -> str:
    """Return the first thing that is wrong, of a plan that is none of useq's kinds, for the kind it is closest to."""
    failures = error.errors(include_url=False)
    place, _ = _place_and_kind(failures[0]["loc"])
    kinds: dict[str, list[ErrorDetails]] = {}
    for failure in failures:
        where, kind = _place_and_kind(failure["loc"])
        if where[: len(place)] == place:
            kinds.setdefault(kind, []).append(failure)
    given = next((one["input"] for one in failures if one["type"] == "missing" and one["input"]), {})
    distances = {kind: _distance(kind, found, given) for kind, found in kinds.items()}
    closest = [found[0] for kind, found in kinds.items() if distances[kind] == min(distances.values())]
    lacking = [str(one["loc"][-1]) for one in closest if one["type"] == "missing"]
    if lacking:
        within = "".join(f"{name}." for name in place if name != lacking[0])
        return f"{within}{' or '.join(dict.fromkeys(lacking))}: is missing"
    where = ".".join(name for name in map(str, closest[0]["loc"]) if not re.search("[A-Z]", name))
    asked, words = closest[0]["input"], closest[0]["msg"].removeprefix("Value error, ")
    return f"{where}: {words}" if isinstance(asked, Mapping) else f"{where}: got {asked!r}; {words}"


def _place_and_kind(loc: tuple[int | str, ...]) -> tuple[tuple[str, ...], str]:
    """Return where something is as it is written, up to the plan it is in, and which of useq's kinds was tried."""
    names = [str(part) for part in loc]
    kind = next((name for name in names if re.search("[A-Z]", name)), "")
    return tuple(names[: names.index(kind)] if kind else names), kind


def _distance(kind: str, failures: Sequence[ErrorDetails], given: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many of the keys given are none of a kind's, and how many of its own are missing."""
    fields = getattr(getattr(useq, kind, None), "model_fields", {})
    return sum(key not in fields for key in given), sum(one["type"] == "missing" for one in failures)


def parts(sequence: useq.MDASequence) -> list[useq.MDASequence]:
    """Return a sequence and those of its positions."""
    return [sequence, *(one.sequence for one in sequence.stage_positions if one.sequence)]


def phases(sequence: useq.MDASequence) -> list[useq.TIntervalDuration | useq.TIntervalLoops | useq.TDurationLoops]:
    """Return the phases of a sequence's time plan, none where it has no plan."""
    plan = sequence.time_plan
    return list(plan.phases) if isinstance(plan, useq.MultiPhaseTimePlan) else [plan] if plan else []


def _refuse_other_grids(raw: Mapping[str, Any], parsed: useq.MDASequence, place: str) -> None:
    """Refuse a grid that is none of useq's kinds, for the kind it is closest to: useq takes it as a position."""
    given = raw.get("grid_plan")
    if isinstance(given, Mapping) and not isinstance(parsed.grid_plan, _GRIDS):
        closest = min(_GRIDS, key=lambda kind: _distance(kind.__name__, (), given))
        try:
            closest.model_validate(dict(given))
        except ValidationError as error:
            raise ConfigError(f"sequence: {place}grid_plan.{_complaint(error)}") from error
    for k, position in enumerate(parsed.stage_positions):
        if position.sequence and isinstance(inner := raw["stage_positions"][k].get("sequence"), Mapping):
            _refuse_other_grids(inner, position.sequence, f"{place}stage_positions.{k}.sequence.")


def _refuse_unknown(raw: Any, parsed: Any, place: tuple[str, ...]) -> None:
    """Refuse keys of `raw` that have no field in what became of it: useq ignores them."""
    if isinstance(raw, Mapping) and isinstance(parsed, BaseModel):
        fields = type(parsed).model_fields
        known = {**{name: name for name in fields}, **{one.alias: name for name, one in fields.items() if one.alias}}
        for key, value in raw.items():
            if key not in known:
                where = ".".join((*place, str(key)))
                raise ConfigError(f"sequence: {where}: unknown key '{key}'{nearest(str(key), known)}")
            if key not in ("metadata", "slm_image"):
                _refuse_unknown(value, getattr(parsed, known[key]), (*place, str(key)))
    elif isinstance(raw, Sequence) and not isinstance(raw, str):
        inner = getattr(parsed, "phases", parsed)
        if isinstance(inner, Sequence) and len(inner) == len(raw):
            for k, (one, became) in enumerate(zip(raw, inner, strict=True)):
                _refuse_unknown(one, became, (*place, str(k)))


def _unsupported(sequence: useq.MDASequence) -> Iterator[str]:
    """Yield what a sequence asks for that this plan cannot do."""
    yield from _unsupported_part(sequence, "")
    if sequence.setup:
        other = sorted(sequence.setup.model_fields_set - _SETUP)
        if other:
            able = ", ".join(sorted(_SETUP - {"action"}))
            yield f"setup: {', '.join(other)} cannot be set up; this plan sets up: {able}"
    if isinstance(sequence.stage_positions, useq.WellPlatePlan):
        yield "stage_positions: well plates are not supported; list the positions"
        return
    for k, position in enumerate(sequence.stage_positions):
        place = f"stage_positions.{k}: "
        if position.properties:
            yield f"{place}properties are not supported; give beams and panels in presets of channels"
        if position.sequence:
            if position.sequence.time_plan and sequence.time_plan:
                yield f"{place}sequence: its time_plan would be taken again at each time of the whole; give one"
            yield from _unsupported_part(position.sequence, f"{place}sequence: ")
            if position.sequence.setup:
                yield f"{place}sequence: setup is only done once, for the whole sequence; put it there"


def _unsupported_places(plan: BaseModel | None, place: str) -> Iterator[str]:
    """Yield why a plan of z or of a grid leads nowhere: useq takes one plane, or none, of such a stack."""
    for name in type(plan).model_fields if plan else ():
        value: Any = getattr(plan, name)
        if not np.all(np.isfinite(_numbers(value))):
            yield f"{place}{name}: got {value}; give finite numbers, in um"
        elif name in ("range", "above", "below") and value < 0:
            yield f"{place}{name}: got {value:g} um; give 0 or more"
        elif name == "step" and value <= 0:
            yield f"{place}step: got {value:g} um; give more than 0; go_up says which way"
        elif name in ("relative", "absolute") and not value:
            yield f"{place}{name}: has no planes; list them, in um"
    if isinstance(plan, useq.ZTopBottom) and plan.top < plan.bottom:
        yield f"{place}top, {plan.top:g} um, lies below bottom, {plan.bottom:g} um; exchange them; go_up says which way"


def _numbers(value: Any) -> list[float]:
    """Return the numbers that a field of a plan holds."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, float)]


def _unsupported_part(sequence: useq.MDASequence, place: str) -> Iterator[str]:
    if sequence.autofocus_plan:
        yield f"{place}autofocus_plan is not supported; leave it out, and give z in stage_positions"
    yield from _unsupported_places(sequence.z_plan, f"{place}z_plan: ")
    yield from _unsupported_places(sequence.grid_plan, f"{place}grid_plan: ")
    for phase in phases(sequence):
        if isinstance(phase, useq.TIntervalDuration) and not phase.interval:
            yield f"{place}time_plan: has no end; give an interval above 0, or loops"
        elif isinstance(phase, useq.TDurationLoops) and phase.loops == 1:
            yield f"{place}time_plan: one loop has no duration; give 2 loops or more, or an interval"
        elif phase.interval < timedelta(0):
            yield f"{place}time_plan: an interval of {phase.interval.total_seconds():g} s; give 0 or more"
    overlap = max(getattr(sequence.grid_plan, "overlap", (0.0,)))
    if overlap >= 100:
        yield f"{place}grid_plan: an overlap of {overlap:g} % does not move on; give less than 100"
    if isinstance(sequence.grid_plan, useq.RandomPoints) and sequence.grid_plan.random_seed is None:
        yield f"{place}grid_plan: random points differ each time they are asked for; give a random_seed"
    for k, channel in enumerate(sequence.channels):
        if channel.group != GROUP:
            yield f"{place}channels.{k}: group '{channel.group}' is not known; presets of beams are in '{GROUP}'"
        if channel.camera is not None:
            yield f"{place}channels.{k}: camera is not supported; choose one for all frames: metadata: {OWN}: camera:"
