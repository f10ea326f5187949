"""What is wrong with values given to a model: where, what was asked, and what the model allows, in words."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from labctl.forms import Form, Place

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
    form = Form(model)
    found = dict.fromkeys(_complaint(form, failure, given) for failure in error.errors(include_url=False))
    # pydantic calls a list too short, too, once it has put aside what is wrong in it
    return [one for one in found if not any(_lies_within(other.place, one.place) for other in found)]


def _lies_within(inner: Place, outer: Place) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _complaint(form: Form, failure: ErrorDetails, given: Any) -> Complaint:
    place, node, chosen_at = form.find(failure["loc"])
    if failure["type"] == "extra_forbidden":
        known = tuple(key for branch in form.branches(node) for key in branch.get("properties", {}))
        return Complaint((*place, failure["loc"][-1]), "unknown", known=known, chosen_at=chosen_at)
    if failure["type"] in _NO_TAG:
        kind = form.chooser(node)
        place, node = (*place, kind["propertyName"]), {"enum": list(kind["mapping"])}
    too_short = failure["type"] == "missing" and isinstance(place[-1], int)
    if too_short:  # pydantic misses its last entries; what is wrong is the list
        place, node, chosen_at = form.find(failure["loc"][:-1])
    allowed = form.allowed(node)
    if failure["type"] in ("missing", "union_tag_not_found") and not too_short:
        return Complaint(place, "missing", allowed and f"allowed: {allowed}", chosen_at=chosen_at)
    asked = _written(given, place, failure["input"])
    return Complaint(place, "wrong", _what_is_wrong(failure, asked, allowed if place else ""), chosen_at=chosen_at)


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
