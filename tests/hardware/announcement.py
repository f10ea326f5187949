"""What the contract suites will do to a bench, in words."""

from collections.abc import Sequence
from typing import Any

from labctl.bench import BenchFile
from labctl.devices import BeamSettings, CameraSettings, CellSettings, StageSettings
from labctl.units import FREQUENCY, LENGTH, POWER, TIME, show
from tests.devices.contracts.beam import DIMMED
from tests.devices.contracts.cell import rise_of
from tests.hardware.mild import PART_OF_TRAVEL


def announcement(file: BenchFile, devices: Sequence[str]) -> str:
    """Return what will be done to each of `devices`, and which others are left alone."""
    lines = [f"Contract suites on the REAL hardware of bench '{file.name}', one device open at a time:"]
    for name in devices:
        entry = file.devices[name]
        lines.append(f"  {name} ({entry.driver}{_where(entry.hardware)}): {deeds(entry.settings)}")
    rest = [name for name in file.devices if name not in devices]
    if rest:
        lines.append(f"  left alone, not chosen or without a driver: {', '.join(rest)}")
    lines.append("No watchdog guards this run: stay at the bench, with the beams' paths clear of people and detectors.")
    return "\n".join(lines)


def _where(hardware: Any) -> str:
    known = [str(hardware[key]) for key in ("url", "serial", "label") if hardware.get(key)]
    return f" at {known[0]}" if known else ""


def deeds(settings: Any) -> str:
    """Return what is done to a device with such settings."""
    if isinstance(settings, BeamSettings):
        lit = show(DIMMED * settings.power_w, POWER)
        detuned = (
            f" and detuned by up to {show(settings.max_detuning_hz, FREQUENCY)}" if settings.max_detuning_hz else ""
        )
        return f"LIT at {lit}; while dark, set to up to {show(settings.max_power_w, POWER)}{detuned}"
    if isinstance(settings, CellSettings):
        ramp = f"{settings.ramp_k_per_s * 60:g} K/min"
        top = f"{settings.safe_temperature_c + rise_of(settings):g} degC"
        return f"RAMPED to its safe {settings.safe_temperature_c:g} degC, then up to {top}, at {ramp}; takes long"
    if isinstance(settings, StageSettings):
        far = {name: PART_OF_TRAVEL * (axis.high_m - axis.low_m) for name, axis in settings.axes.items()}
        moves = ", ".join(f"{name} by {show(step_m, LENGTH)}" for name, step_m in far.items())
        return f"MOVED from where it is, {moves}, and back"
    if isinstance(settings, CameraSettings):
        longest = show(max(settings.exposure_s, min(0.01, settings.max_exposure_s)), TIME)
        return f"takes single frames of up to {longest}; no light is needed"
    return "read" if hasattr(settings, "averaging_s") else "shows patterns of few pixels"
