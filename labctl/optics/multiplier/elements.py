"""The optical elements a bench file may name, each with its parameters."""

from dataclasses import dataclass
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from labctl.documents import StrictModel
from labctl.optics.multiplier.absorber import Profile
from labctl.optics.multiplier.modulator import DMD_LEVELS
from labctl.optics.parameters import (
    DecibelParameter,
    NotNegativeNumber,
    Number,
    PhaseParameter,
    PositiveNumber,
    PowerParameter,
    Share,
)
from labctl.units import Decibels, Metres, Watts

SMALLEST_BLOCK_COLUMNS = 4
"""Columns of the narrowest panel block: the blur of its phase reaches two pixels in from each side."""

PILOTS = 2
"""Pilot modes of every measured plane: one in phase, one a quarter period shifted."""

GUARD = 1
"""Dark modes between data and pilots where a cell follows. Atoms that fly between beams carry 1 % of a pilot's
intensity to its neighbour (reference-benches section 1): at 8 saturation fields 0.64, which bleaches a weak beam."""


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

    wavelength_m: Metres = Field(gt=0)
    power_w: Watts = Field(ge=0)
    source: str = Field(min_length=1)

    @property
    def photon_energy_j(self) -> float:
        """Energy of one photon in joule, h c / wavelength."""
        return 6.62607015e-34 * 299_792_458.0 / self.wavelength_m


Block = tuple[PositiveInt, PositiveInt]
"""Rows and columns of one block, in pixels or mirrors."""


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
    block: Block
    efficiency: Share

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        if self.block[0] % DMD_LEVELS:
            raise ValueError(
                f"a column needs a multiple of {DMD_LEVELS} mirror rows, one per level, got {self.block[0]}"
            )
        return self

    @property
    def behind_data(self) -> int:
        """Modes behind the data modes: the pilot columns."""
        return self.pilot_columns


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
    block: Block
    period: int = Field(ge=4)
    slit_m: Metres = Field(gt=0)
    focal_length_m: Metres = Field(gt=0)
    slit_stage: str | None = None
    weight_range: float = Field(gt=0)
    reflectivity: Share
    slit_efficiency: Share
    path_efficiency: Share
    fringing: NotNegativeNumber
    registration: Number
    aberration: NotNegativeNumber
    weight_error: NotNegativeNumber

    @model_validator(mode="after")
    def _carrier_fits(self) -> Self:
        _require_carrier(self.block, self.period)
        if self.block[1] < SMALLEST_BLOCK_COLUMNS:
            raise ValueError(f"a block needs {SMALLEST_BLOCK_COLUMNS} columns or more, fringing mixes two on each side")
        return self


@dataclass(frozen=True)
class Inject:
    """A micromirror device that sends errors backwards, on a signed carrier.

    Args:
        device: DMD.
        beam: Probe beam that lights it.
        modes: Data modes.
        behind_data: Modes behind them: pilots, and what keeps them apart.
        block: Mirrors (rows, cols) of one mode.
        carrier: Carrier period in mirror rows.
        prefix: What its parameter `efficiency` is named after.
        max_probe_field: Probe field at the absorber above which it saturates noticeably.
    """

    device: str
    beam: str
    modes: int
    behind_data: int
    block: tuple[int, int]
    carrier: int
    prefix: str
    max_probe_field: float


class Backward(StrictModel):
    """The way back past a regeneration: an error measured behind it is re-sent into the multiplier before it.

    Args:
        camera: Backward tap of the next stage, which measures the error.
        device: DMD that re-sends it on a signed carrier.
        beam: Probe beam that lights the DMD.
        block: Mirrors (rows, cols) of one mode.
        carrier: Carrier period in mirror rows.
        efficiency: Power in the used order over power on the device, full carrier.
        max_probe_field: Probe field at the absorber above which it saturates noticeably; a warning names it.
    """

    camera: str
    device: str
    beam: str
    block: Block
    carrier: int = Field(ge=4)
    efficiency: Share
    max_probe_field: float = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _carrier_fits(self) -> Self:
        _require_carrier(self.block, self.carrier)
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
        backward: How errors pass it, where a cell stands before it.
    """

    camera: str
    device: str
    beam: str
    gain_db: Decibels
    modes: int = Field(ge=1)
    block: Block
    carrier: int = Field(ge=4)
    efficiency: Share
    fraction: Share
    full_scale: float = Field(gt=0)
    backward: Backward | None = None

    @model_validator(mode="after")
    def _carrier_fits(self) -> Self:
        _require_carrier(self.block, self.carrier)
        return self

    @property
    def behind_data(self) -> int:
        """Modes behind the data modes: the guard and the pilots."""
        return GUARD + PILOTS

    @property
    def injector(self) -> Inject | None:
        """What sends errors into the multiplier before it."""
        back = self.backward
        if back is None:
            return None
        return Inject(
            back.device,
            back.beam,
            self.modes,
            self.behind_data,
            back.block,
            back.carrier,
            back.device,
            back.max_probe_field,
        )


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
    fraction: Share
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
        profile: Profile of the beams (see `labctl.optics.multiplier.absorber.Profile`).
    """

    device: str
    saturation_power: PowerParameter
    depth_at_70c: NotNegativeNumber
    leak_rejection: DecibelParameter
    beam_pitch_m: Metres = Field(gt=0)
    aperture_m: Metres = Field(gt=0)
    profile: Profile = "uniform"


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
    fraction: Share
    full_scale: float = Field(gt=0)
    inject: str
    beam: str
    modes: int = Field(ge=1)
    block: Block
    carrier: int = Field(ge=4)
    efficiency: Share
    max_probe_field: float = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _carrier_fits(self) -> Self:
        _require_carrier(self.block, self.carrier)
        return self

    @property
    def behind_data(self) -> int:
        """Modes behind the data modes: the pilots."""
        return PILOTS

    @property
    def injector(self) -> Inject:
        """What sends errors into the multiplier before it."""
        return Inject(
            self.inject,
            self.beam,
            self.modes,
            self.behind_data,
            self.block,
            self.carrier,
            self.camera,
            self.max_probe_field,
        )


Element = Encode | Multiply | Regenerate | Tap | Absorb | Read


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
    electrons: PositiveNumber
    phase: PhaseParameter
