"""Complex fields by four steps of the reference's phase: no quadrature is lost, whatever a mode's own phase is."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labctl.acquisition import Shots, measure
from labctl.bench import Bench
from labctl.devices import PatternStack
from labctl.errors import RunAborted

STEPS_RAD = (0.0, math.pi / 2, math.pi, 3 * math.pi / 2)

Fields = NDArray[np.complex128]


def take_fields(
    bench: Bench,
    camera: str,
    beams: frozenset[str],
    stacks: Mapping[str, PatternStack],
    frames: Mapping[str, NDArray[np.integer]],
) -> Fields:
    """Return the complex fields of one camera, shape (n, modes).

    N(0) - N(pi) + i (N(pi/2) - N(3 pi/2)) is the field times 4 sqrt(N_R n), in counts; gains are left to the fit.

    Args:
        bench: Open bench.
        camera: Camera that is read.
        beams: Beams that are on, beside the reference.
        stacks: Frames by DMD.
        frames: Frame number of every field, shape (n,), by DMD.

    Raises:
        RunAborted: The camera is saturated.
    """
    reference = bench.file.reference.beam
    lit = beams | {reference}
    order = {dmd: np.repeat(numbers, len(STEPS_RAD)) for dmd, numbers in frames.items()}
    count = len(next(iter(frames.values())))
    shots = Shots((camera,), lit, order, {reference: np.tile(STEPS_RAD, count)})
    counts = measure(bench, stacks, [shots]).frames[camera].counts
    stepped = counts.reshape(count, len(STEPS_RAD), -1).astype(float)
    lost = int(np.any(stepped >= bench.camera(camera).top_count, axis=1).sum())
    if lost:
        raise RunAborted(f"{camera}: {lost} readings are saturated; lower the beam's power, or its exposure")
    return (stepped[:, 0] - stepped[:, 2]) + 1j * (stepped[:, 1] - stepped[:, 3])


def above_dark(fields: Fields) -> Fields:
    """Return lit less dark of `fields` (..., lit and dark, repeats, modes), without that axis, as training reads them.

    They are turned by the phase of the dark field's pilots, the last two modes, which is where training sees phase 0:
    in phase and, of the shifted one, a quarter period late, on average. The common phase goes with it, and pilots are
    alone in the dark, as data spill a little into them.
    """
    lit, dark = fields[..., 0, :, :], fields[..., 1, :, :]
    pilots = dark[..., -2:-1] - 1j * dark[..., -1:]
    return (lit - dark) * np.conj(pilots) / np.abs(pilots)
