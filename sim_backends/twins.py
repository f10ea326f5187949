"""Thin device twins: each writes its state into the shared light path and reads frames and powers out of it."""

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.clock import Clock
from labctl.devices import (
    DMD,
    SLM,
    Beam,
    BeamSettings,
    Camera,
    CameraSettings,
    CellSettings,
    DMDSettings,
    Frames,
    Levels,
    Pattern,
    PatternStack,
    PowerMeter,
    PowerMeterSettings,
    Sequence,
    SLMSettings,
    Stage,
    StageSettings,
    Trigger,
    VapourCell,
)
from sim_backends.states import BeamState, CellState, SensorState
from sim_backends.table import SimulatedTable


class TwinSLM(SLM):
    """Phase panel that shows blocks to the light path."""

    def __init__(self, name: str, clock: Clock, settings: SLMSettings, light_path: SimulatedTable) -> None:
        super().__init__(name, clock, settings)
        self._light = light_path
        light_path.injector.attach(self)

    def _do_open(self) -> None: ...

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "serial": self._light.truth.serial}

    def _do_show_blocks(self, pattern: Pattern) -> None:
        self._light.show_panel(self.name, pattern)

    def _do_show(self, frame: Levels) -> None:
        raise NotImplementedError  # blocks are taken above


class TwinDMD(DMD):
    """Micromirror device with a board's rules: memory by handle, trigger in or out."""

    def __init__(self, name: str, clock: Clock, settings: DMDSettings, light_path: SimulatedTable) -> None:
        super().__init__(name, clock, settings)
        self._light = light_path
        self._trigger: Trigger = "internal"
        self._picture_s = settings.min_picture_s
        light_path.injector.attach(self)

    def _do_open(self) -> None:
        self._trigger = "internal"
        self._light.darken_mirrors(self.name)

    def _do_close(self) -> None:
        self._light.darken_mirrors(self.name)

    def _do_state(self) -> dict[str, Any]:
        return {"trigger": self._trigger, "picture_s": self._picture_s, "sequences": len(self._loaded)}

    def _do_load_blocks(self, sequence: Sequence, patterns: PatternStack) -> None:
        self._light.load_mirrors(self.name, sequence.id, patterns)

    def _do_show_blocks(self, pattern: Pattern, number: int) -> None:
        self._light.show_mirrors(self.name, pattern, number)

    def _do_set_timing(self, picture_s: float) -> None:
        self._picture_s = picture_s

    def _do_set_trigger(self, trigger: Trigger) -> None:
        self._trigger = trigger

    def _do_play(self, sequence: Sequence, order: NDArray[np.integer]) -> None:
        self._light.arm_mirrors(self.name, sequence.id, order // self.copies, sequence.numbers(order))
        if self._trigger == "internal":
            self._light.trigger(self.name, len(order), self._picture_s)

    def _do_halt(self) -> None:
        self._light.darken_mirrors(self.name)

    def _do_free(self, sequence: Sequence) -> None:
        self._light.free_mirrors(self.name, sequence.id)

    def _do_load(self, sequence: Sequence, frames: NDArray[np.uint8]) -> None:
        raise NotImplementedError  # blocks are taken above

    def _do_show(self, frame: NDArray[np.uint8]) -> None:
        raise NotImplementedError  # blocks are taken above


class TwinCamera(Camera):
    """sCMOS camera whose frames are the modes of the light path, shape (1, modes), pixels of a mode summed."""

    def __init__(self, name: str, clock: Clock, settings: CameraSettings, light_path: SimulatedTable) -> None:
        super().__init__(name, clock, settings)
        self._light = light_path
        self._internal = 0
        light_path.injector.attach(self)

    def _do_open(self) -> None:
        self._light.sensors[self.name] = SensorState(self.settings.exposure_s)

    def _do_close(self) -> None:
        del self._light.sensors[self.name]

    def _do_state(self) -> dict[str, Any]:
        return {"exposure_s": self._do_exposure_s(), "shape": list(self._do_shape())}

    def _do_shape(self) -> tuple[int, int]:
        return self._light.sensor_shape(self.name)

    def _do_top_count(self) -> int:
        return self._light.top_count(self.name)

    def _do_exposure_s(self) -> float:
        return self._light.sensors[self.name].exposure_s

    def _do_set_exposure(self, exposure_s: float) -> None:
        self._light.sensors[self.name].exposure_s = exposure_s

    def _do_arm(self, n: int, trigger: Trigger) -> None:
        self._internal = n if trigger == "internal" else 0
        if trigger == "external":
            self._light.arm_sensor(self.name, n)

    def _do_collect(self) -> Frames:
        return self._light.expose(self.name, self._internal) if self._internal else self._light.collect(self.name)

    def _do_disarm(self) -> None:
        self._light.collect(self.name)


class TwinBeam(Beam):
    """Pump, probe or reference beam."""

    def __init__(self, name: str, clock: Clock, settings: BeamSettings, light_path: SimulatedTable) -> None:
        super().__init__(name, clock, settings)
        self._beam = BeamState(power_w=settings.power_w)
        light_path.beams[name] = self._beam
        light_path.injector.attach(self)

    def _do_open(self) -> None: ...

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        beam = self._beam
        return {"on": beam.on, "power_w": beam.power_w, "phase_rad": beam.phase_rad, "detuning_hz": beam.detuning_hz}

    def _do_is_on(self) -> bool:
        return self._beam.on

    def _do_power_w(self) -> float:
        return self._beam.power_w

    def _do_phase_rad(self) -> float:
        return self._beam.phase_rad

    def _do_detuning_hz(self) -> float:
        return self._beam.detuning_hz

    def _do_switch(self, on: bool) -> None:
        self._beam.on = on

    def _do_set_power(self, power_w: float) -> None:
        self._beam.power_w = power_w

    def _do_set_phase(self, phase_rad: float) -> None:
        self._beam.phase_rad = phase_rad
        self._beam.sequence = None

    def _do_load_phases(self, phases_rad: SequenceOf[float]) -> None:
        self._beam.sequence = np.asarray(phases_rad, float) if len(phases_rad) else None

    def _do_set_detuning(self, detuning_hz: float) -> None:
        self._beam.detuning_hz = detuning_hz


class TwinCell(VapourCell):
    """Heated cell whose reservoir follows its set point at the allowed ramp."""

    def __init__(self, name: str, clock: Clock, settings: CellSettings, light_path: SimulatedTable) -> None:
        super().__init__(name, clock, settings)
        self._cell = CellState(settings.min_temperature_c, settings.min_temperature_c, clock.now_s())
        light_path.cells[name] = self._cell
        light_path.temperatures_c[name] = self._do_temperature_c
        light_path.injector.attach(self)

    def _do_open(self) -> None: ...

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        return {"temperature_c": self._do_temperature_c(), "target_c": self._cell.target_c}

    def _do_temperature_c(self) -> float:
        cell = self._cell
        travelled = self.settings.ramp_k_per_s * (self.clock.now_s() - cell.since_s)
        gap = cell.target_c - cell.start_c
        return cell.target_c if abs(gap) <= travelled else cell.start_c + np.sign(gap) * travelled

    def _do_set_temperature(self, temperature_c: float) -> None:
        self._cell.start_c = float(self._do_temperature_c())
        self._cell.target_c, self._cell.since_s = temperature_c, self.clock.now_s()


class TwinStage(Stage):
    """Stage that arrives at once; settling is bench time."""

    def __init__(self, name: str, clock: Clock, settings: StageSettings, light_path: SimulatedTable) -> None:
        super().__init__(name, clock, settings)
        self._positions_m = light_path.positions_m
        self._positions_m[name] = dict.fromkeys(settings.axes, 0.0)
        light_path.injector.attach(self)

    def _do_open(self) -> None: ...

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        return {"position_m": self._do_position_m()}

    def _do_position_m(self) -> dict[str, float]:
        return dict(self._positions_m[self.name])

    def _do_move(self, target_m: Mapping[str, float]) -> None:
        self._positions_m[self.name] = {**self._positions_m[self.name], **target_m}

    def _do_stop(self) -> None: ...


class TwinPowerMeter(PowerMeter):
    """Power meter on the beam the bench file names for it."""

    def __init__(self, name: str, clock: Clock, settings: PowerMeterSettings, light_path: SimulatedTable) -> None:
        super().__init__(name, clock, settings)
        self._light = light_path
        light_path.injector.attach(self)

    def _do_open(self) -> None: ...

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        return {"wavelength_m": self.settings.wavelength_m}

    def _do_power_w(self) -> float:
        return self._light.meter_power_w(self.name)
