"""What a bench's light can do: power at every plane, required against available, and how many modes fit."""

import math
from collections.abc import Iterator

from labctl.bench.ceilings import ceilings
from labctl.bench.planes import plane_rows
from labctl.bench.power_row import HEADROOM, PowerRow
from labctl.bench.schema import BenchFile
from labctl.errors import ConfigError
from labctl.optics.multiplier.elements import Encode, Regenerate, Tap, centred_origin
from labctl.optics.multiplier.network import StageOptics, build_stages
from labctl.optics.multiplier.scales import StageScales, stage_scales
from labctl.optics.multiplier.slit_multiplier import slit_first_zero, slit_power
from labctl.optics.multiplier.stages import Stage
from labctl.optics.parameters import believed
from labctl.units import LENGTH, POWER, show

SLIT_TOLERANCE = 0.15
"""How far a declared slit efficiency may be from that of the slit's own width, relative."""


def require_able(file: BenchFile) -> None:
    """Refuse a bench that cannot do what its file declares.

    Raises:
        ConfigError: One line per plane that falls short.
    """
    short = [row for row in power_table(file) if not row.able]
    if short:
        lines = [f"{file.name}: {r.plane}: {r.what}: {r.required} required, {r.available} available" for r in short]
        raise ConfigError("\n".join(lines))


def power_table(file: BenchFile) -> list[PowerRow]:
    """Return every plane's power, geometry and photon budget, in pump order.

    Raises:
        ConfigError: A plane has no light at all, so that nothing can be weighed against it.
    """
    if file.in_free_space:
        return [_laser_row(file), *_meter_rows(file), *_ceiling_rows(file), *plane_rows(file)]
    _require_some_light(file)
    values = believed(file.parameters())
    optics = build_stages(file, values, file.panel_bits)
    rows = [_laser_row(file), *_meter_rows(file), *_ceiling_rows(file)]
    for one, scales in zip(optics, stage_scales(file, optics, file.all_settings, values), strict=True):
        rows += [*_geometry_rows(file, one.stage), _slit_row(file, one.stage)]
        rows += [*_light_rows(file, one, scales), *_camera_rows(file, one, scales)]
    return rows


def _require_some_light(file: BenchFile) -> None:
    dark = []
    for stage in file.stages:
        beams = [stage.source.beam] + ([stage.injector.beam] if stage.injector else [])
        dark += [f"beam {beam} has no power" for beam in beams if file.settings(beam).power_w <= 0]
        for camera in stage.cameras:
            if camera not in file.reference.cameras:
                dark.append(f"camera {camera} is not among the reference's cameras and cannot read fields")
    if dark:
        raise ConfigError("\n".join(f"{file.name}: {line}" for line in dark))


def _laser_row(file: BenchFile) -> PowerRow:
    beams = [entry.settings.power_w for entry in file.devices.values() if entry.kind == "beam"]
    wavelength = file.laser.wavelength_m * 1e9
    total = sum(beams)
    return PowerRow(
        f"laser {wavelength:.2f} nm", "all beams", show(total, POWER), show(file.laser.power_w, POWER),
        total <= file.laser.power_w,
    )  # fmt: skip


def _meter_rows(file: BenchFile) -> Iterator[PowerRow]:
    for meter, beam in file.meters.items():
        power, most = file.settings(beam).max_power_w, file.settings(meter).max_power_w
        yield PowerRow(meter, f"ceiling of {beam}", show(power, POWER), show(most, POWER), power <= most)


def _ceiling_rows(file: BenchFile) -> Iterator[PowerRow]:
    for ceiling in ceilings(file):
        power = sum(file.settings(beam).power_w for beam in ceiling.beams)
        what, most = f"light of {', '.join(sorted(ceiling.beams))}", show(ceiling.max_light_w, POWER)
        yield PowerRow(ceiling.device, what, show(power, POWER), most, power <= ceiling.max_light_w)


def _geometry_rows(file: BenchFile, stage: Stage) -> Iterator[PowerRow]:
    source, panel, inject = stage.source, stage.multiply, stage.injector
    grids = [
        (source.device, source.block, (1, stage.columns)),
        (panel.device, panel.block, (stage.rows, stage.columns)),
    ]
    if inject:
        grids.append((inject.device, inject.block, (1, stage.rows)))
    for device, block, blocks in grids:
        shape = file.settings(device).shape
        asked = (block[0] * blocks[0], block[1] * blocks[1])
        fits = min(centred_origin(shape, block, blocks)) >= 0
        yield PowerRow(device, "pixels (rows x cols)", f"{asked[0]} x {asked[1]}", f"{shape[0]} x {shape[1]}", fits)
    for camera, port in stage.cameras.items():
        settings = file.settings(camera)
        modes = stage.rows if port is stage.end else stage.columns
        asked = (modes * settings.roi_per_mode[0], settings.roi_per_mode[1])
        fits = asked[0] <= settings.shape[0] and asked[1] <= settings.shape[1]
        have = f"{settings.shape[0]} x {settings.shape[1]}"
        yield PowerRow(camera, "pixels (rows x cols)", f"{asked[0]} x {asked[1]}", have, fits)
    if stage.absorb:
        span = stage.columns * stage.absorb.beam_pitch_m
        have = stage.absorb.aperture_m
        yield PowerRow(stage.absorb.device, "aperture", show(span, LENGTH), show(have, LENGTH), span <= have)


def _slit_row(file: BenchFile, stage: Stage) -> PowerRow:
    panel = stage.multiply
    lit = stage.columns * panel.block[1] * file.settings(panel.device).pitch_m
    passed = slit_power(panel.slit_m, slit_first_zero(file.laser.wavelength_m, panel.focal_length_m, lit))
    declared = panel.slit_efficiency.value
    return PowerRow(
        panel.device, "slit efficiency", f"{declared:.1%} +- {SLIT_TOLERANCE:.0%} of it",
        f"{passed:.1%} through {show(panel.slit_m, LENGTH)} at {show(lit, LENGTH)} lit columns",
        abs(passed - declared) <= SLIT_TOLERANCE * declared,
    )  # fmt: skip


def _light_rows(file: BenchFile, optics: StageOptics, scales: StageScales) -> Iterator[PowerRow]:
    stage, unit = optics.stage, file.unit_power_w
    power = file.settings(stage.source.beam).power_w
    field = scales.source_field
    if isinstance(stage.source, Encode):
        have = f"{show(power, POWER)} on it, {show(field**2 * unit, POWER)} per full mode"
        yield PowerRow(stage.source.device, "light", "", have)
    else:
        need = (stage.source.full_scale / field) ** 2 * power
        what = f"re-sent field {stage.source.full_scale:g} (saturation units)"
        yield PowerRow(stage.source.device, what, show(need, POWER), show(power, POWER), need <= power)
    weight = optics.multiplier.amplitude * optics.multiplier.reach
    passed = f"{(field * weight) ** 2 * unit * 1e9:.3g} nW per full weight and input"
    yield PowerRow(stage.multiply.device, f"passivity bound |W| <= {weight:.4g}", "", passed)
    if isinstance(stage.end, Regenerate):
        passive = scales.weight_per_modulation * optics.multiplier.reach * 10 ** (-stage.end.gain_db / 20)
        asked = 20 * math.log10(stage.multiply.weight_range / passive)
        optical = f"{show(power * 10 ** (max(asked, 0) / 10), POWER)} on {stage.source.device}"
        if stage.absorb:  # more light before the cell would only saturate it
            optical = f"an amplifier behind {stage.absorb.device}"
        yield PowerRow(
            stage.end.device, f"gain for weights to {stage.multiply.weight_range:g}", f"{asked:.1f} dB",
            f"{stage.end.gain_db:g} dB optoelectronic (all-optical: {optical})",
            asked <= stage.end.gain_db + 1e-9,
        )  # fmt: skip
    if optics.injector and stage.injector and stage.absorb:
        sent = optics.injector.full_field(file.settings(stage.injector.beam).power_w)
        probe, most = sent * weight, stage.injector.max_probe_field
        yield PowerRow(
            stage.absorb.device, "probe field, one full weight and error", f"<= {most:g}",
            f"{probe:.3g} ({show(probe**2 * unit, POWER)})", probe <= most,
        )  # fmt: skip


def _camera_rows(file: BenchFile, optics: StageOptics, scales: StageScales) -> Iterator[PowerRow]:
    for camera, port in optics.stage.cameras.items():
        settings, readout = file.settings(camera), scales.readouts[camera]
        signal = readout.per_unit * (readout.full_scale / readout.per_field) ** 2
        reference = file.reference.electrons.value if camera in file.reference.cameras else 0.0
        pixels = settings.roi_per_mode[0] * settings.roi_per_mode[1]
        peak = (math.sqrt(reference) + math.sqrt(signal)) ** 2 / (pixels * settings.full_well)
        noise = math.sqrt(2 * (reference + pixels * settings.read_noise**2)) / (4 * math.sqrt(reference * signal))
        have = f"{signal:.2g} e- and {reference:.2g} e- reference, homodyne noise {noise:.2%} of full scale"
        what = f"full scale {port.full_scale:g}" + (" of the probe" if isinstance(port, Tap) and port.backward else "")
        yield PowerRow(camera, what, f"<= {HEADROOM:.0%} of well", f"{peak:.0%}; {have}", peak <= HEADROOM)


def largest_hidden(file: BenchFile) -> list[int]:
    """Return the most neurons each hidden layer of this bench can have, from light list and geometry."""
    return [
        min(stage.end.modes, _fitting_rows(file, stage)) for stage in file.stages if isinstance(stage.end, Regenerate)
    ]


def _fitting_rows(file: BenchFile, stage: Stage) -> int:
    panel_rows = file.settings(stage.multiply.device).shape[0] // stage.multiply.block[0]
    return panel_rows - stage.end.behind_data
