"""The true reference phase of every camera mode, worked out from the truth's matrices and without any measurement.

Phases count from where the camera's pilots see phase 0, as `labctl.training.reference` does: the mean of the pilot in
phase and the one written a quarter period late.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.optics.layout import Layout
from labctl.optics.multiplier.elements import PILOTS, Encode, Read
from labctl.optics.multiplier.network import Source, StageOptics, build_stages
from labctl.optics.multiplier.pilots import pilot_columns, write_pilots
from labctl.optics.multiplier.scales import StageScales, stage_scales
from sim_backends.disturbance import Disturbance
from sim_backends.truth import Truth

Phases = NDArray[np.float64]


def true_reference_phases(
    layout: Layout, truth: Truth, terms: Mapping[str, float], settings: Mapping[str, Any]
) -> dict[str, Phases]:
    """Return the phase of every data mode in rad, by camera.

    Args:
        layout: Optical content of the bench file.
        truth: Hidden truth.
        terms: Size of every term of the noise set, scaled.
        settings: Settings of every device, by name.
    """
    disturbance = Disturbance(layout, truth, terms, 0.0, 0)
    bits = {name: settings[name].bit_depth for name in (stage.multiply.device for stage in layout.stages)}
    nominal = {name: parameter.value for name, parameter in layout.parameters().items()}
    as_believed = build_stages(layout, nominal, bits)
    scales = stage_scales(layout, as_believed, settings, nominal)
    found: dict[str, Phases] = {}
    for optics, believed, scale in zip(build_stages(layout, truth.values, bits), as_believed, scales, strict=True):
        disturbance.distort(optics, settings[optics.stage.multiply.device].shape)
        found |= _of_stage(optics, _matrix(optics, believed, scale), disturbance)
    return found


def _of_stage(optics: StageOptics, matrix: torch.Tensor, disturbance: Disturbance) -> dict[str, Phases]:
    # what pilots and data spill into each other is a background, which measurements take off
    stage = optics.stage
    rows, columns = stage.end.modes, stage.source.modes
    light = _full_light(optics.source)
    found: dict[str, Phases] = {}
    if stage.activation_tap:
        found[stage.activation_tap.camera] = _phases(disturbance, stage.activation_tap.camera, light, columns)
    data = torch.cat([matrix[:rows, :columns] @ light[:columns], matrix[rows:, columns:] @ light[columns:]])
    found[stage.end.camera] = _phases(disturbance, stage.end.camera, data, rows)
    if stage.error_tap and optics.injector and isinstance(stage.end, Read):
        camera = stage.error_tap.camera
        sent = _full_light(optics.injector)
        back = torch.cat([sent[:rows] @ matrix[:rows, :columns], sent[rows:] @ matrix[rows:, columns:]])
        returned = _phases(disturbance, camera, back, columns)
        lost = _column_phases(disturbance, stage.end.camera, matrix * light, found[stage.end.camera], columns)
        found[camera] = np.angle(np.exp(1j * (returned - lost)))
    return found


def _full_light(source: Source) -> torch.Tensor:
    """Return the field of data modes and pilots at full amplitude, the last pilot a quarter period late.

    Data count against the light of mirrors that are off, which is a background.
    """
    indices = np.full((1, source.modes), source.full_index, np.uint16)
    if not isinstance(source.element, Encode):
        indices[0, -1] = source.quarter_index
        indices[0, source.element.modes : -PILOTS] = source.zero_index
    light, dark = source.fields(indices, 1.0)[0], source.fields(np.full_like(indices, source.zero_index), 1.0)[0]
    dark[source.element.modes :] = 0
    return light - dark


def _matrix(optics: StageOptics, believed: StageOptics, scales: StageScales) -> torch.Tensor:
    """Return the panel's matrix with all data at the largest weight and its pilots, written without the truth.

    Light that rows receive of their neighbours is no row's own: it goes out in the mean with a mask that has every
    other row negative.
    """
    rows, columns = optics.stage.end.modes, optics.stage.source.modes
    modulation = optics.stage.multiply.weight_range / scales.weight_per_modulation / believed.multiplier.slit[:columns]
    seen = []
    for signs in (np.ones((rows, 1)), np.where(np.arange(rows) % 2, -1.0, 1.0)[:, None]):
        indices = np.full(believed.multiplier.shape, believed.multiplier.zero_index, np.uint16)
        indices[:rows, :columns] = believed.multiplier.inverse(signs * modulation)
        write_pilots(indices, believed, pilot_columns(believed, scales.weight_per_modulation))
        optics.multiplier.show(indices)
        matrix = optics.multiplier.matrix.clone()
        matrix[:rows] *= torch.from_numpy(signs.astype(np.float32))
        seen.append(matrix)
    return torch.stack(seen).mean(dim=0)


def _phases(disturbance: Disturbance, camera: str, fields: torch.Tensor, data: int) -> Phases:
    """Return the phase of the data modes of `fields` (modes,) on a camera."""
    turned = fields * disturbance.mode_phases(camera, len(fields))
    return -np.angle(turned.numpy()[:data] * np.conj(_zero(disturbance, camera, fields)))


def _zero(disturbance: Disturbance, camera: str, fields: torch.Tensor) -> np.complex64:
    """Return a field that reads no phase on a camera; its pilots' ghosts are part of where the reference is held."""
    alone = fields.clone()
    alone[:-PILOTS] = 0
    seen = disturbance.with_ghost(camera, alone[None, :, None])[0, :, 0] * disturbance.mode_phases(camera, len(fields))
    return np.complex64(seen[-2].item() - 1j * seen[-1].item())


def _column_phases(disturbance: Disturbance, camera: str, light: torch.Tensor, rows: Phases, columns: int) -> Phases:
    """Return the phase of each data column's light at a camera, averaged over data rows at their own phases `rows`.

    Args:
        disturbance: Distortions of the truth.
        camera: Camera at the end of the stage.
        light: Field that every column sends to every row, pilots included.
        rows: Phase of every data row.
        columns: Data columns.
    """
    turned = (light * disturbance.mode_phases(camera, len(light))[:, None])[: len(rows), :columns].numpy()
    zero = _zero(disturbance, camera, light[:, columns:].sum(dim=1))
    return -np.angle((turned * np.exp(1j * rows)[:, None]).sum(axis=0) * np.conj(zero))
