"""The momentary state of a light path as plain values and arrays, and back: how a simulation is continued.

What is drawn from the truth seed is drawn again; only what happened since is kept. Sequences are not: between two
acquisitions DMDs are dark or show one pattern. Neither are injected faults, which begin anew, nor the noise of tags,
which reaches no reading.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from labctl.devices import Codebook, Pattern

if TYPE_CHECKING:
    from sim_backends.table import SimulatedTable

_BEAM = ("on", "power_w", "phase_rad", "detuning_hz")
_SENSOR = ("exposure_s", "next_id")


def snapshot(light: "SimulatedTable") -> dict[str, Any]:
    """Return the state of beams, cameras, cells, stages, panels and disturbances of `light`."""
    return {
        "beams": {name: {key: getattr(beam, key) for key in _BEAM} for name, beam in light.beams.items()},
        "sensors": {name: {key: getattr(sensor, key) for key in _SENSOR} for name, sensor in light.sensors.items()},
        "cells": {name: asdict(cell) for name, cell in light.cells.items()},
        "positions_m": {name: dict(position) for name, position in light.positions_m.items()},
        "on_panels": {name: _written(pattern) for name, pattern in light.on_panels.items()},
        "on_mirrors": {name: _written(pattern) for name, pattern in light.on_mirrors.items()},
        "disturbance": light.disturbance.state(),
    }


def restore(light: "SimulatedTable", state: Mapping[str, Any]) -> None:
    """Bring `light`, of the same bench and truth, to `state`."""
    parts = [(light.beams, "beams"), (light.sensors, "sensors"), (light.cells, "cells")]
    for devices, part in parts:
        for name, values in state[part].items():
            for key, value in values.items():
                setattr(devices[name], key, value)
    for name, position in state["positions_m"].items():
        light.positions_m[name] = dict(position)
    for name, pattern in state["on_panels"].items():
        light.show_panel(name, _read(pattern))
    for name, pattern in state["on_mirrors"].items():
        light.show_mirrors(name, _read(pattern), 0)
    light.disturbance.restore(state["disturbance"])


def _written(pattern: Pattern) -> dict[str, Any]:
    code = pattern.codebook
    about = {"code": code.name, "rest": code.rest, "block": list(code.block), "origin": list(pattern.origin)}
    return {**about, "indices": np.asarray(pattern.indices), "tiles": np.asarray(code.tiles)}


def _read(written: Mapping[str, Any]) -> Pattern:
    code = Codebook(written["code"], written["tiles"], tuple(written["block"]), written["rest"])
    return Pattern(written["indices"], code, tuple(written["origin"]))
