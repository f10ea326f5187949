"""The typed light path of a bench: its elements in pump order, read as layers or as planes in free space."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from labctl.documents import StrictModel
from labctl.errors import ConfigError
from labctl.optics.free_space.elements import (
    Detect,
    FreeSpaceElement,
    FreeSpacePath,
    Illuminate,
    Lens,
    Mask,
    ObjectPlane,
    Propagate,
    View,
    read_path,
)
from labctl.optics.multiplier.absorber import Law
from labctl.optics.multiplier.elements import Absorb, Element, Encode, Laser, Multiply, Read, Reference, Regenerate, Tap
from labctl.optics.multiplier.stages import Stage, split_stages
from labctl.optics.parameters import Parameter, parameters_of


class LightEntry(StrictModel):
    """One entry of the light list: a mapping with exactly one key, the kind of element."""

    encode: Encode | None = None
    multiply: Multiply | None = None
    regenerate: Regenerate | None = None
    tap: Tap | None = None
    absorb: Absorb | None = None
    read: Read | None = None
    illuminate: Illuminate | None = None
    object: ObjectPlane | None = None
    propagate: Propagate | None = None
    lens: Lens | None = None
    mask: Mask | None = None
    detect: Detect | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1 or getattr(self, next(iter(self.model_fields_set))) is None:
            raise ValueError(f"an entry of the light list is one of: {', '.join(type(self).model_fields)}")
        return self

    @property
    def element(self) -> Element | FreeSpaceElement:
        """The element itself."""
        return getattr(self, next(iter(self.model_fields_set)))


class Layout(StrictModel):
    """The optical content of a bench file.

    Args:
        laser: Laser.
        light: Elements in pump order: a chain of slit multipliers, or planes in free space.
        reference_beam: Reference beam, where cameras read fields.
        absorber_law: How the cell absorbs (see `labctl.optics.multiplier.absorber`).
        meters: Power meters and the beam each looks at.
    """

    laser: Laser
    light: tuple[LightEntry, ...]
    reference_beam: Reference | None = Field(default=None, alias="reference")
    absorber_law: Law = "published"
    meters: dict[str, str] = Field(default_factory=dict)

    @field_validator("light")
    @classmethod
    def _is_one_of_both(cls, light: tuple[LightEntry, ...]) -> tuple[LightEntry, ...]:
        elements = tuple(entry.element for entry in light)
        free = tuple(element for element in elements if isinstance(element, FreeSpaceElement))
        if free and len(free) < len(elements):
            kinds = ", ".join(next(iter(entry.model_fields_set)) for entry in light)
            raise ValueError(f"the light list mixes elements of free space with those of a slit multiplier: {kinds}")
        _ = read_path(free) if free else split_stages(tuple(one for one in elements if isinstance(one, Element)))
        return light

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        if not self.in_free_space and self.reference_beam is None:
            raise ValueError("a chain of slit multipliers needs a 'reference' to read fields against")
        return self

    @property
    def in_free_space(self) -> bool:
        """Whether the light list is one of planes in free space."""
        return any(isinstance(element, FreeSpaceElement) for element in self.elements)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The light list as layers, in pump order.

        Raises:
            ConfigError: It is not a chain of slit multipliers.
        """
        if self.in_free_space:
            raise ConfigError("this needs a bench of slit multipliers, such as vapour_cell; this one is in free space")
        return split_stages(tuple(element for element in self.elements if isinstance(element, Element)))

    @cached_property
    def path(self) -> FreeSpacePath:
        """The light list as planes in free space.

        Raises:
            ConfigError: It is a chain of slit multipliers.
        """
        if not self.in_free_space:
            raise ConfigError("this needs a bench in free space, such as diffractive; this one multiplies by slits")
        return read_path(tuple(element for element in self.elements if isinstance(element, FreeSpaceElement)))

    @cached_property
    def elements(self) -> tuple[Element | FreeSpaceElement, ...]:
        """The elements in pump order."""
        return tuple(entry.element for entry in self.light)

    @property
    def reference(self) -> Reference:
        """The reference beam.

        Raises:
            ConfigError: The bench has none.
        """
        if self.reference_beam is None:
            raise ConfigError("this needs a bench with a 'reference' beam, against which cameras read fields")
        return self.reference_beam

    @property
    def beams(self) -> frozenset[str]:
        """Every beam of the light path, the reference included."""
        if self.in_free_space:
            lit = set(self.path.beams)
        else:
            lit = {end.beam for stage in self.stages for end in (stage.source, stage.injector) if end}
        return frozenset(lit | ({self.reference_beam.beam} if self.reference_beam else set()))

    @cached_property
    def unit_power_w(self) -> float:
        """Power of one mode at field 1: the believed saturation power, or 1 uW on a bench without a cell."""
        cells = [element for element in self.elements if isinstance(element, Absorb)]
        return cells[0].saturation_power.value if cells else 1e-6

    def parameters(self) -> dict[str, Parameter]:
        """Return every optics parameter by name, `device.parameter` (cameras for taps, `reference` for the beam)."""
        return dict(self._named_parameters())

    def _named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for element in self.elements:
            for part in _parts(element):
                yield from parameters_of(part, _prefix(part))
        if self.reference_beam:
            yield from parameters_of(self.reference_beam, "reference")

    def with_parameters(self, parameters: Mapping[str, Parameter]) -> Self:
        """Return the same layout with these parameters, by name as in `parameters`, in place of its own."""
        light = []
        for entry in self.light:
            kind = next(iter(entry.model_fields_set))
            light.append(entry.model_copy(update={kind: _with(entry.element, parameters)}))
        # made anew rather than copied: a copy would keep the stages of the old elements
        fields = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        return type(self).model_construct(**{**fields, "light": tuple(light)})


def _parts(element: BaseModel) -> Iterator[BaseModel]:
    """Yield an element, and what it holds that has parameters of its own."""
    yield element
    for name in type(element).model_fields:
        part = getattr(element, name)
        if isinstance(part, StrictModel) and not isinstance(part, Parameter):
            yield from _parts(part)


def _with(part: BaseModel, parameters: Mapping[str, Parameter]) -> BaseModel:
    changed: dict[str, Any] = {}
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Parameter):
            changed[name] = parameters.get(f"{_prefix(part)}.{name}", value)
        elif isinstance(value, StrictModel):
            changed[name] = _with(value, parameters)
    return part.model_copy(update=changed)


def _prefix(part: BaseModel) -> str:
    """Return the device, camera or way that an element's parameters are named after."""
    if isinstance(part, Tap | Read | View):
        return part.camera
    return part.name if isinstance(part, Propagate | Lens) else getattr(part, "device", "")
