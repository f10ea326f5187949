"""A free-space bench whose images are taken as they come, at no shift: what its calibrations measure with."""

import math

import numpy as np
import torch
from torch import Tensor

from labctl.bench import Bench, BenchFile
from labctl.errors import ConfigError
from labctl.experiments.diffractive.in_situ.fields import STEPS_RAD, BenchFields
from labctl.optics.free_space.elements import FreeSpacePath
from labctl.records import Budget

BLOCK_PX = 2
"""Side of the blocks of the random masks: fine, to show parts of a sample, but not so that the light misses the next
plane, or that what neighbouring pixels do to each other matters."""

FILL = 0.5
"""Share of the cameras' full wells that the brightest pixel may take, reference included."""


def masked_path(file: BenchFile) -> FreeSpacePath:
    """Return the path of a bench on which phase masks can be calibrated.

    Raises:
        ConfigError: It has no such path.
    """
    if not has_taps(file):
        raise ConfigError(
            f"bench {file.name} has no taps to calibrate; that needs phase masks in free space with 'forward' and "
            "'backward' taps, and a 'detect' that can 'inject', as in diffractive"
        )
    return file.path


def has_taps(file: BenchFile) -> bool:
    """Return whether a bench has phase masks in free space with taps, and an error DMD at the output."""
    return file.in_free_space and file.path.detect.inject is not None and all(mask.forward for mask in file.path.masks)


def four_step_budget(file: BenchFile, *, forward: int, writes: int, steps: int, backward: int = 0) -> Budget:
    """Return what it takes to read fields on a bench with taps.

    Args:
        file: Bench file.
        forward: Fields sent through all masks, read by every forward tap and the output camera.
        backward: Fields sent back from the output, read by every backward tap.
        writes: Masks written.
        steps: Steps recorded.
    """
    path, exposures = file.path, len(STEPS_RAD) * (forward + backward)
    panel, camera = file.settings(path.masks[0].device), file.settings(path.detect.view.camera)
    frames = len(STEPS_RAD) * (forward * (len(path.masks) + 1) + backward * len(path.masks))
    electrons = frames * math.prod(path.samples) * file.reference.electrons.value
    return Budget(
        exposures={"calibration": exposures},
        photons=electrons / camera.quantum_efficiency,
        mask_writes=writes,
        bench_seconds=exposures * camera.period_s + writes * (panel.latency_s + panel.settle_s),
        steps=steps,
    )


class UnregisteredTable:
    """An open bench whose images are taken at no shift, with the margin around them.

    Args:
        bench: Open bench with taps at every mask.
        rng: Draws masks.

    Raises:
        ConfigError: The bench has no taps.
    """

    def __init__(self, bench: Bench, rng: np.random.Generator) -> None:
        path = masked_path(bench.file)
        images = set(path.views) | ({path.detect.inject.device} if path.detect.inject else set())
        shifts = [name for name in bench.file.parameters() if name.rsplit(".", 1)[0] in images]
        unshifted = {name: 0.0 for name in shifts if name.endswith((".shift_y", ".shift_x"))}
        self.fields, self.rng = BenchFields(bench, unshifted, framed=True), rng
        self.fields.tally.heading = "calibration"
        self._margin = path.detect.view.margin
        wells = min(bench.file.settings(camera).full_well for camera in path.views)
        self._room = (math.sqrt(FILL * wells) - math.sqrt(bench.file.reference.electrons.value)) ** 2

    def framed(self, plane: Tensor, around: float = 0.0) -> Tensor:
        """Return a plane (..., rows, cols) with the cameras' margin of samples, filled with `around`, on every side."""
        return torch.nn.functional.pad(plane, 4 * [self._margin], value=around)

    def cut(self, image: Tensor) -> Tensor:
        """Return an image (..., rows, cols) without the margin on every side."""
        return torch.nn.functional.pad(image, 4 * [-self._margin])

    def blocks(self) -> Tensor:
        """Return a mask of random blocks, -pi/2 or pi/2 rad, float32 (rows, cols).

        A quarter turn to either side makes all amplitudes equal, whatever share of the light is not turned.
        """
        rows, columns = self.fields.grid.shape
        signs = self.rng.integers(0, 2, (-(-rows // BLOCK_PX), -(-columns // BLOCK_PX))) * 2 - 1
        tiles = np.kron(signs, np.ones((BLOCK_PX, BLOCK_PX)))[:rows, :columns]
        return torch.from_numpy((tiles * (math.pi / 2)).astype(np.float32))

    def bright_object(self) -> Tensor:
        """Return all samples on, as bright as the cameras can take under the masks that are written.

        Shape (1, rows, cols), complex64, at most 1.
        """
        full = torch.ones(1, *self.fields.grid.shape, dtype=torch.complex64)
        brightest = max(self.fields.brightest(full).values())
        return full * min(1.0, math.sqrt(self._room / brightest))
