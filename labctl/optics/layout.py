"""The typed light path of a bench: its elements in pump order, read as layers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from labctl.documents import StrictModel
from labctl.optics.absorber import Law
from labctl.optics.elements import (
    Absorb,
    Element,
    Encode,
    Inject,
    Laser,
    LightEntry,
    Multiply,
    Read,
    Reference,
    Regenerate,
    Tap,
)
from labctl.optics.parameters import Parameter, parameters_of


@dataclass(frozen=True)
class Stage:
    """One layer as light: a source writes fields, a cell may act on them, a multiplier sums them, a camera reads.

    Args:
        source: Writes the stage's input fields.
        absorb: Cell between source and multiplier, where there is one.
        activation_tap: Pick-off for the pump before the multiplier.
        error_tap: Pick-off for the probe on its way out of the stage.
        multiply: The multiplier.
        end: What reads the sums.
    """

    source: Encode | Regenerate
    absorb: Absorb | None
    activation_tap: Tap | None
    error_tap: Tap | None
    multiply: Multiply
    end: Regenerate | Read

    @cached_property
    def columns(self) -> int:
        """Input modes of the multiplier, pilots included."""
        return self.source.modes + self.source.behind_data

    @property
    def rows(self) -> int:
        """Output modes of the multiplier, pilots included."""
        return self.end.modes + self.end.behind_data

    def modes(self, camera: str) -> int:
        """Return how many modes a camera of this stage reads, pilots included."""
        return self.rows if camera == self.end.camera else self.columns

    @cached_property
    def injector(self) -> Inject | None:
        """What sends errors backwards through the multiplier, where there is a cell to send them through."""
        return self.end.injector

    @cached_property
    def cameras(self) -> dict[str, Regenerate | Read | Tap]:
        """What each camera of this stage reads, by camera name."""
        taps = {tap.camera: tap for tap in (self.activation_tap, self.error_tap) if tap}
        return {**taps, self.end.camera: self.end}


def split_stages(elements: tuple[Element, ...]) -> tuple[Stage, ...]:
    """Return the light list as stages, in pump order.

    Raises:
        ValueError: The list is not a chain of stages that ends in `read`.
    """
    stages: list[Stage] = []
    start = 0
    for index, element in enumerate(elements):
        if isinstance(element, Regenerate | Read):
            stages.append(_stage(elements[start : index + 1]))
            start = index
    if not stages or not isinstance(elements[-1], Read):
        raise ValueError("the light list must end with 'read'")
    for before, after in pairwise(stages):
        _require_way_back(before, after)
    return tuple(stages)


def _require_way_back(before: Stage, after: Stage) -> None:
    """Refuse a regeneration between two cells that errors cannot pass, or one that sends them where nothing looks."""
    back = before.end.backward if isinstance(before.end, Regenerate) else None
    if (back is None) != (before.error_tap is None):
        raise ValueError("'regenerate' has a 'backward' where a cell stands before it, and nowhere else")
    measured = after.error_tap.camera if after.error_tap else "none"
    if back and back.camera != measured:
        raise ValueError(f"'backward' re-sends what the next backward tap measures, {measured}, not {back.camera}")


def _stage(elements: tuple[Element, ...]) -> Stage:
    source, *middle, end = elements
    multiply = [element for element in middle if isinstance(element, Multiply)]
    absorb = [element for element in middle if isinstance(element, Absorb)]
    taps = [element for element in middle if isinstance(element, Tap)]
    if not isinstance(source, Encode | Regenerate) or not isinstance(end, Regenerate | Read):
        raise ValueError("a stage begins with 'encode' or 'regenerate' and ends with 'regenerate' or 'read'")
    if len(multiply) != 1 or len(absorb) > 1:
        raise ValueError("between two of encode, regenerate and read stand one 'multiply' and at most one 'absorb'")
    forward = [tap for tap in taps if tap.forward]
    backward = [tap for tap in taps if tap.backward]
    if absorb and (len(forward), len(backward)) != (1, 1):
        raise ValueError("a stage with 'absorb' needs one forward and one backward 'tap'")
    return Stage(
        source,
        absorb[0] if absorb else None,
        forward[0] if forward else None,
        backward[0] if backward else None,
        multiply[0],
        end,
    )


class Layout(StrictModel):
    """The optical content of a bench file.

    Args:
        laser: Laser.
        light: Elements in pump order.
        reference: Reference beam.
        absorber_law: How the cell absorbs (see `labctl.optics.absorber`).
        meters: Power meters and the beam each looks at.
    """

    laser: Laser
    light: tuple[LightEntry, ...]
    reference: Reference
    absorber_law: Law = "published"
    meters: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_a_chain(self) -> Self:
        split_stages(self.elements)
        return self

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The light list as layers, in pump order."""
        return split_stages(self.elements)

    @property
    def elements(self) -> tuple[Element, ...]:
        """The elements in pump order."""
        return tuple(entry.element for entry in self.light)

    @property
    def unit_power_w(self) -> float:
        """Power of one mode at field 1: the believed saturation power, or 1 uW on a bench without a cell."""
        cells = [element for element in self.elements if isinstance(element, Absorb)]
        return cells[0].saturation_power.value if cells else 1e-6

    def parameters(self) -> dict[str, Parameter]:
        """Return every optics parameter by name, `device.parameter` (cameras for taps, `reference` for the beam)."""
        return dict(self._named_parameters())

    def _named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for element in self.elements:
            yield from parameters_of(element, _prefix(element))
            if isinstance(element, Regenerate) and element.backward:
                yield from parameters_of(element.backward, element.backward.device)
        yield from parameters_of(self.reference, "reference")

    def with_parameters(self, parameters: Mapping[str, Parameter]) -> Self:
        """Return the same layout with these parameters, by name as in `parameters`, in place of its own."""
        light = []
        for entry in self.light:
            kind, element = next(iter(entry.model_fields_set)), entry.element
            changed = {name: parameters[full] for name in type(element).model_fields
                       if (full := f"{_prefix(element)}.{name}") in parameters}  # fmt: skip
            light.append(entry.model_copy(update={kind: element.model_copy(update=changed)}))
        # made anew rather than copied: a copy would keep the stages of the old elements
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_construct(**{**fields, "light": tuple(light)})


def _prefix(element: Element) -> str:
    """Return the device an element's parameters are named after."""
    return element.camera if isinstance(element, Tap | Read) else element.device
