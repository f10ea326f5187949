"""The contracts as real hardware can keep them: readings wander, lines take their time, stages move little."""

from collections.abc import Mapping

import pytest

from labctl.devices import Stage
from tests.devices.contracts.beam import BeamContract
from tests.devices.contracts.camera import CameraContract
from tests.devices.contracts.cell import CellContract
from tests.devices.contracts.device import DeviceContract
from tests.devices.contracts.dmd import DMDContract
from tests.devices.contracts.power_meter import PowerMeterContract
from tests.devices.contracts.slm import SLMContract
from tests.devices.contracts.stage import StageContract

PART_OF_TRAVEL = 0.01
"""How far a stage moves from where it is."""


class OnHardware:
    """What a contract allows real hardware."""

    SLACK_S = 1.0


class MildStage(OnHardware, StageContract):
    """Moves a little from where the stage is, and back."""

    def targets_m(self, stage: Stage, axis: str) -> tuple[float, ...]:
        low, high = stage.limits_m[axis]
        here, step = stage.position_m[axis], PART_OF_TRAVEL * (high - low)
        if not low <= here <= high:
            where = f"{stage.name}: {axis} stands at {here:g} m, its limits are {low:g} to {high:g} m"
            pytest.fail(f"{where}; it is not moved by a test from there, bring it inside first", pytrace=False)
        return min(here + step, high), max(here - step, low), here


class MildCell(OnHardware, CellContract):
    """Allows the resolution of a heater's controller, and the reservoir's lag behind it."""

    READING_K = 0.2
    LAG_S = 300.0


class MildSLM(OnHardware, SLMContract):
    """A phase panel."""


class MildDMD(OnHardware, DMDContract):
    """A micromirror device."""


class MildCamera(OnHardware, CameraContract):
    """A camera."""


class MildBeam(OnHardware, BeamContract):
    """A beam."""


class MildPowerMeter(OnHardware, PowerMeterContract):
    """A power meter."""


MILD: Mapping[str, type[DeviceContract]] = {
    "slm": MildSLM,
    "dmd": MildDMD,
    "camera": MildCamera,
    "stage": MildStage,
    "beam": MildBeam,
    "cell": MildCell,
    "power_meter": MildPowerMeter,
}
"""The contract by the kind of a bench file."""
