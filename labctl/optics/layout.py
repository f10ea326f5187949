"""The typed light path of a bench: its elements in pump order, and what each is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from labctl.documents import StrictModel
from labctl.optics.absorber import Law
from labctl.optics.parameters import (
    DecibelParameter,
    Number,
    Parameter,
    PhaseParameter,
    PowerParameter,
    parameters_of,
)
from labctl.units import Decibels, Metres, Watts

SMALLEST_BLOCK_COLUMNS = 4
"""Columns of the narrowest panel block: the blur of its phase reaches two pixels in from each side."""

PILOTS = 2
"""Pilot modes behind the data modes of every measured plane: one in phase, one a quarter period shifted."""


def centred_origin(shape: tuple[int, int], block: tuple[int, int], blocks: tuple[int, int]) -> tuple[int, int]:
    """Return the pixel where a grid of `blocks` begins when it is centred on a panel of `shape`; negative if too large.

    Args:
        shape: Panel (rows, cols).
        block: Pixels (rows, cols) of one block.
        blocks: Blocks (rows, cols).
    """
    return (shape[0] - block[0] * blocks[0]) // 2, (shape[1] - block[1] * blocks[1]) // 2


def _require_carrier(block: tuple[int, int], period: int) -> None:
    if period % 4 or block[0] % period:
        raise ValueError(f"a carrier period is a multiple of 4 that divides the block's {block[0]} rows, got {period}")


class Laser(StrictModel):
    """The laser all beams come from.

    Args:
        wavelength_m: Vacuum wavelength.
        power_w: Power available for all beams together.
        source: Where these values come from.
    """

    wavelength_m: Metres
    power_w: Watts
    source: str = Field(min_length=1)

    @property
    def photon_energy_j(self) -> float:
        """Energy of one photon in joule, h c / wavelength."""
        return 6.62607015e-34 * 299_792_458.0 / self.wavelength_m


class Encode(StrictModel):
    """A micromirror device that writes the input as mode amplitudes (fraction of ON mirrors in a column).

    Args:
        device: DMD.
        beam: Beam that lights it.
        modes: Data columns.
        pilot_columns: Columns behind the data that stay on, for the pilots.
        block: Mirrors (rows, cols) of one column.
        efficiency: Power after the device over power on it, all mirrors on.
    """

    device: str
    beam: str
    modes: int = Field(ge=1)
    pilot_columns: int = Field(ge=1)
    block: tuple[int, int]
    efficiency: Number


class Multiply(StrictModel):
    """A slit multiplier: a phase panel of blocks between cylindrical lenses, summed by a slit.

    Args:
        device: SLM.
        block: Panel pixels (rows, cols) of one weight.
        period: Carrier period along the rows of a block, in pixels; 4 divides it and it divides the rows.
        slit_m: Full slit width.
        focal_length_m: Lens that Fourier-transforms the columns onto the slit.
        slit_stage: Stage whose axis `x` moves the slit, where there is one.
        weight_range: Largest weight magnitude that is written; larger ones are clipped and counted.
        reflectivity: Panel power efficiency without the grating's.
        slit_efficiency: Power the slit passes.
        path_efficiency: Power the other optics pass.
        fringing: Blur of the panel's phase, Gaussian sigma in pixels.
        registration: Shift of input columns against panel columns, in panel pixels.
        aberration: Wavefront error over the panel, rms in waves.
        weight_error: Static relative error of each weight, rms.
    """

    device: str
    block: tuple[int, int]
    period: int = Field(ge=4)
    slit_m: Metres
    focal_length_m: Metres
    slit_stage: str | None = None
    weight_range: float = Field(gt=0)
    reflectivity: Number
    slit_efficiency: Number
    path_efficiency: Number
    fringing: Number
    registration: Number
    aberration: Number
    weight_error: Number

    @model_validator(mode="after")
    def _carrier_fits(self) -> Self:
        _require_carrier(self.block, self.period)
        if self.block[1] < SMALLEST_BLOCK_COLUMNS:
            raise ValueError(f"a block needs {SMALLEST_BLOCK_COLUMNS} columns or more, fringing mixes two on each side")
        return self


class Regenerate(StrictModel):
    """Optoelectronic regeneration: a camera measures every mode and a DMD re-sends `gain` times the field.

    Args:
        camera: Measures the field before the gain.
        device: DMD that re-sends it on a signed carrier.
        beam: Beam that lights the DMD.
        gain_db: Power gain, one for all modes and samples.
        modes: Data modes, the most neurons this layer can have.
        block: Mirrors (rows, cols) of one mode.
        carrier: Carrier period in mirror rows.
        efficiency: Power in the used order over power on the device, full carrier.
        fraction: Power picked off for the camera, filters included.
        full_scale: Largest field read, after the gain, in units of the saturation field.
    """

    camera: str
    device: str
    beam: str
    gain_db: Decibels
    modes: int = Field(ge=1)
    block: tuple[int, int]
    carrier: int = Field(ge=4)
    efficiency: Number
    fraction: Number
    full_scale: float = Field(gt=0)

    @model_validator(mode="after")
    def _carrier_fits(self) -> Self:
        _require_carrier(self.block, self.carrier)
        return self


class Tap(StrictModel):
    """A pick-off that measures the field here, of the pump (`forward`) or of the probe (`backward`).

    Args:
        forward: Camera for the pump.
        backward: Camera for the probe.
        fraction: Power picked off, filters included.
        full_scale: Largest field read; for `backward`, in units of weight times error.
    """

    forward: str | None = None
    backward: str | None = None
    fraction: Number
    full_scale: float = Field(gt=0)

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if (self.forward is None) == (self.backward is None):
            raise ValueError("a tap names exactly one of forward and backward")
        return self

    @property
    def camera(self) -> str:
        """Name of the camera."""
        return self.forward or self.backward or ""


class Absorb(StrictModel):
    """The vapour cell as a layer of saturable absorbers, one per mode.

    Args:
        device: Cell.
        saturation_power: Power of one mode at saturation field 1.
        depth_at_70c: Optical depth for intensity at 70 degrees Celsius reservoir temperature.
        leak_rejection: Suppression of pump light that window reflections send towards the probe's camera.
        beam_pitch_m: Distance between the beams of neighbouring modes.
        aperture_m: Clear aperture.
    """

    device: str
    saturation_power: PowerParameter
    depth_at_70c: Number
    leak_rejection: DecibelParameter
    beam_pitch_m: Metres
    aperture_m: Metres


class Read(StrictModel):
    """The output plane: a camera reads it, and a DMD injects the error there, backwards.

    Args:
        camera: Output camera.
        fraction: Power that reaches it, filters included.
        full_scale: Largest output read, in units of weight times activation.
        inject: DMD that sends the error on a signed carrier.
        beam: Probe beam that lights it.
        modes: Data outputs.
        block: Mirrors (rows, cols) of one output on the injecting DMD.
        carrier: Carrier period in mirror rows.
        efficiency: Power in the used order over power on the device, full carrier.
        max_probe_field: Probe field at the absorber above which it saturates noticeably; a warning names it.
    """

    camera: str
    fraction: Number
    full_scale: float = Field(gt=0)
    inject: str
    beam: str
    modes: int = Field(ge=1)
    block: tuple[int, int]
    carrier: int = Field(ge=4)
    efficiency: Number
    max_probe_field: float = 0.1

    @model_validator(mode="after")
    def _carrier_fits(self) -> Self:
        _require_carrier(self.block, self.carrier)
        return self


Element = Encode | Multiply | Regenerate | Tap | Absorb | Read


class LightEntry(StrictModel):
    """One entry of the light list: a mapping with exactly one key, the kind of element."""

    encode: Encode | None = None
    multiply: Multiply | None = None
    regenerate: Regenerate | None = None
    tap: Tap | None = None
    absorb: Absorb | None = None
    read: Read | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1 or getattr(self, next(iter(self.model_fields_set))) is None:
            raise ValueError(f"an entry of the light list is one of: {', '.join(type(self).model_fields)}")
        return self

    @property
    def element(self) -> Element:
        """The element itself."""
        return getattr(self, next(iter(self.model_fields_set)))


class Reference(StrictModel):
    """The reference beam that cameras read fields against.

    Args:
        beam: Reference beam.
        cameras: Cameras it reaches.
        electrons: Electrons per mode and exposure that it leaves at its nominal power.
        phase: Residual phase of each mode against its calibration.
    """

    beam: str
    cameras: tuple[str, ...]
    electrons: Number
    phase: PhaseParameter


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

    @property
    def columns(self) -> int:
        """Input modes of the multiplier, pilots included."""
        return self.source.modes + (self.source.pilot_columns if isinstance(self.source, Encode) else PILOTS)

    @property
    def rows(self) -> int:
        """Output modes of the multiplier, pilots included."""
        return self.end.modes + PILOTS

    @property
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
    return tuple(stages)


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

    @property
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
            prefix = element.camera if isinstance(element, Tap | Read) else element.device
            yield from parameters_of(element, prefix)
        yield from parameters_of(self.reference, "reference")
