"""The sentinel: a fixed batch measured at every checkpoint, by which a table is recognised before a run goes on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import RunAborted
from labctl.training.measure import BenchNetwork

Floats = NDArray[np.float32]

SAMPLES = 16
"""Samples of the sentinel; as many as its first reading calibrates the pilots of the error camera from."""

REPEATS = 3
"""Times it is measured: its noise is their scatter."""

POWER_TOLERANCE = 0.02
"""Largest relative change of a power reading; the reference set's drift (0.5 % per hour) needs four hours for it."""

FIELD_TOLERANCE = 0.05
"""Largest change of a camera's fields beyond their noise, rms over rms of the fields."""

NOISE_FACTOR = 2.0
"""How many standard errors count as noise; an rms over a hundred fields scatters little around one."""


def sentinel_exposures(samples: int, per_sample: int) -> int:
    """Return the exposures one sentinel takes; `per_sample` are those of one pass both ways."""
    return REPEATS * samples * per_sample


def measure_sentinel(
    network: BenchNetwork, weights: Sequence[Floats], inputs: Floats, errors: Floats
) -> dict[str, dict[str, Any]]:
    """Show `weights`, send a fixed batch through them both ways, and read the power meters.

    Args:
        network: Network on an open bench, its reference measured.
        weights: Weights of every layer.
        inputs: Fixed inputs, shape (n, inputs); the first `SAMPLES` are sent.
        errors: Fixed output errors, shape (n, outputs).

    Returns:
        `power_w` by meter, and `fields` by camera, shape (repeats, samples * modes).

    Raises:
        RunAborted: The reference cannot be held.
    """
    network.tally.heading = "sentinel"
    network.write_masks(weights)
    fields: dict[str, list[Floats]] = {}
    for _ in range(REPEATS):
        for camera, data in _fields(network, inputs[:SAMPLES], errors[:SAMPLES]).items():
            fields.setdefault(camera, []).append(data.ravel())
    return {"power_w": _powers(network), "fields": {camera: np.stack(all_) for camera, all_ in fields.items()}}


def _fields(network: BenchNetwork, inputs: Floats, errors: Floats) -> dict[str, Floats]:
    """Return what every camera reads of one pass both ways, shape (n, modes)."""
    stages, values, sent = network.bench.file.stages, inputs, inputs
    read: dict[str, Floats] = {}
    for layer, stage in enumerate(stages):
        sent = values
        readings = network.read_forward(layer, sent)
        read |= {camera: reading.data for camera, reading in readings.items()}
        values = read[stage.end.camera]
    tap = stages[-1].error_tap
    if tap:
        read[tap.camera] = network.read_backward(len(stages) - 1, sent, errors).data
    return read


def _powers(network: BenchNetwork) -> dict[str, float]:
    """Return the reading of every meter, with the beam it looks at on."""
    bench = network.bench
    powers = {}
    for meter, beam in bench.file.meters.items():
        if not bench.beam(beam).is_on:
            bench.beam(beam).on()
        powers[meter] = bench.power_meter(meter).read_power()
    return powers


def require_same_table(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare two sentinels of the same weights and samples.

    Raises:
        RunAborted: A power or a camera's fields have changed by more than noise and slow drift explain.
    """
    for meter, was in then["power_w"].items():
        reads = now["power_w"][meter]
        if abs(reads - was) > POWER_TOLERANCE * abs(was):
            raise RunAborted(
                f"{meter}: reads {reads:.4g} W, at the checkpoint it was {was:.4g} W; {POWER_TOLERANCE:.0%} change is "
                "allowed: bring the power back, then resume again"
            )
    for camera, was in then["fields"].items():
        changed, allowed = field_change(was, now["fields"][camera])
        if changed > allowed:
            raise RunAborted(
                f"{camera}: the fields of a fixed batch have changed by {changed:.1%} rms since the checkpoint, "
                f"{allowed:.1%} is allowed; the table is not as it was: realign it and resume again, or start a new run"
            )


def field_change(then: Floats, now: Floats) -> tuple[float, float]:
    """Return by how much fields (repeats, values) have changed and how much is allowed, rms over rms of the fields."""
    signal = max(_rms(then.mean(axis=0)), 1e-12)
    variances = [float(fields.var(axis=0, ddof=1).mean()) / len(fields) for fields in (then, now)]
    noise = NOISE_FACTOR * math.sqrt(sum(variances))
    return _rms(now.mean(axis=0) - then.mean(axis=0)) / signal, math.hypot(noise / signal, FIELD_TOLERANCE)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
