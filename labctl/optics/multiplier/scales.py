"""Between light and network: what a weight, an activation and an error of the network are as fields.

Network quantities: inputs 0..1, activations in units of the saturation field, weights as the trainer knows them.
A stage's weight w is the panel modulation m = w / `weight_per_modulation`. Where a camera regenerates the sums with
gain G, light fixes that factor to G times the passive amplitude times the source's field; at the output, which is
read by a camera alone, it is free and chosen so that `weight_range` uses the panel's whole reach.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.optics.imaging.sensor import electrons_per_unit
from labctl.optics.layout import Layout
from labctl.optics.multiplier.elements import Encode, Regenerate
from labctl.optics.multiplier.network import StageOptics
from labctl.optics.parameters import Values


@dataclass(frozen=True)
class Readout:
    """How one camera's field becomes a network quantity.

    Args:
        per_field: Network quantity per unit field.
        full_scale: Largest network quantity read.
        per_unit: Electrons per unit field squared and exposure.
    """

    per_field: float
    full_scale: float
    per_unit: float


@dataclass(frozen=True)
class StageScales:
    """Scales of one stage.

    Args:
        source_field: Field of a source mode at full amplitude.
        weight_per_modulation: Weight that a panel modulation of 1 stands for.
        readouts: By camera.
    """

    source_field: float
    weight_per_modulation: float
    readouts: Mapping[str, Readout]


def stage_scales(
    layout: Layout, optics: Sequence[StageOptics], settings: Mapping[str, Any], values: Values
) -> tuple[StageScales, ...]:
    """Return the scales of every stage.

    Args:
        layout: Optical content of the bench file.
        optics: Its stages, built from the same values.
        settings: Settings of every device, by name.
        values: Parameter values.
    """
    return tuple(_scales(layout, one, settings, values) for one in optics)


def _scales(layout: Layout, optics: StageOptics, settings: Mapping[str, Any], values: Values) -> StageScales:
    stage = optics.stage
    amplitude = optics.multiplier.amplitude
    source_field = optics.source.full_field(settings[stage.source.beam].power_w)
    per_input = source_field if isinstance(stage.source, Encode) else 1.0
    if isinstance(stage.end, Regenerate):
        gain = 10 ** (stage.end.gain_db / 20)
        per_modulation = gain * amplitude * per_input
        end_per_field = gain
    else:
        per_modulation = stage.multiply.weight_range / optics.multiplier.reach
        end_per_field = per_modulation / (amplitude * per_input)
    per_field = {stage.end.camera: end_per_field}
    if stage.activation_tap:
        per_field[stage.activation_tap.camera] = 1.0
    if stage.error_tap and optics.injector:
        sent = optics.injector.full_field(settings[optics.injector.element.beam].power_w)
        per_field[stage.error_tap.camera] = per_modulation / (amplitude * sent)
    readouts = {}
    for camera, port in stage.cameras.items():
        prefix = port.device if isinstance(port, Regenerate) else camera
        device = settings[camera]
        per_unit = electrons_per_unit(
            layout.unit_power_w,
            values[f"{prefix}.fraction"],
            device.quantum_efficiency,
            device.exposure_s,
            layout.laser.photon_energy_j,
        )
        readouts[camera] = Readout(per_field[camera], port.full_scale, per_unit)
    return StageScales(source_field, per_modulation, readouts)
