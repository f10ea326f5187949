"""The planes of a free-space bench as a trainer sees them: masks written, fields sent, fields and powers read.

A field is read in four exposures with the reference's phase stepped by quarter turns; N(0) - N(pi) + i (N(pi/2) -
N(3 pi/2)) is 4 sqrt(N_R) times it. Fields are over that of a full sample of the DMD that sent them, where what is
believed of the bench is the truth; the rest is found by the balance of forward and backward fields (see `gradient`).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.acquisition import Shots, measure
from labctl.bench import Bench
from labctl.devices import Codebook, Pattern, PatternStack, identity_codebook
from labctl.errors import ConfigError
from labctl.optics.free_space.elements import Inject, ObjectPlane, View
from labctl.optics.free_space.planes import Planes, levels_of, phase_of, plane_grid
from labctl.optics.free_space.shift import displaced
from labctl.optics.free_space.superpixel import SIDE, superpixel_fields, superpixel_indices, superpixel_tiles
from labctl.optics.imaging.sensor import electrons_per_unit
from labctl.optics.multiplier.elements import centred_origin
from labctl.optics.parameters import Values, believed
from labctl.training.tally import Tally

STEPS_RAD = (0.0, math.pi / 2, math.pi, 3 * math.pi / 2)


@dataclass(frozen=True, eq=False)
class Forward:
    """Fields of a batch on their way out.

    Args:
        masks: Just after every mask, each (n, rows, cols).
        output: At the output plane, (n, rows, cols).
    """

    masks: Sequence[Tensor]
    output: Tensor


@dataclass(frozen=True)
class FieldNoise:
    """Noise of fields that are read, standard deviation of each quadrature of a sample.

    Args:
        forward: At the forward tap of every mask.
        backward: At its backward tap, over the peak of what was sent.
        output: At the output.
    """

    forward: Sequence[float]
    backward: Sequence[float]
    output: float


class BenchFields:
    """Masks, objects and errors on the bench, and the calibrated model of it.

    Args:
        bench: Open bench in free space, with a DMD at the input, taps at every mask and a DMD at the output.
        instead: Parameter values to believe in place of the bench's, by name.
        framed: Whether fields that are read keep the margin that cameras see around their planes.

    Raises:
        ConfigError: The bench has no such light path.
    """

    def __init__(self, bench: Bench, instead: Values | None = None, *, framed: bool = False) -> None:
        path = bench.file.path
        source, inject = path.source, path.detect.inject
        if not isinstance(source, ObjectPlane) or inject is None or not all(mask.forward for mask in path.masks):
            raise ConfigError(
                f"bench {bench.file.name}: phase masks are trained between an 'object' DMD and a 'detect' that can "
                "'inject', with 'forward' and 'backward' taps at every mask"
            )
        self.bench, self.path = bench, path
        self.tally = Tally()
        self.saturated: Counter[str] = Counter()
        self.grid = plane_grid(path, bench.file.all_settings)
        self._values = {**believed(bench.file.parameters()), **(instead or {})}
        self.model = Planes(path, self.grid, bench.file.laser.wavelength_m, self._values)
        self._source, self._inject, self._cut = source, inject, 0 if framed else path.detect.view.margin
        self._code = Codebook("superpixels", superpixel_tiles(), (SIDE, SIDE))
        self._bits = {mask.device: bench.file.settings(mask.device).bit_depth for mask in path.masks}
        self.phases = [torch.zeros(self.grid.shape) for _ in path.masks]

    @property
    def _views_ahead(self) -> list[View]:
        """How the light on its way out is seen, mask by mask and at the output."""
        return [mask.forward for mask in self.path.masks if mask.forward] + [self.path.detect.view]

    # ---- masks

    def write_masks(self, phases: Sequence[Tensor]) -> None:
        """Show the nearest panel levels of `phases` (rows, cols) in rad; `phases` are then those of the levels."""
        for mask, levels in zip(self.path.masks, self.model_masks(phases), strict=True):
            panel = self.bench.slm(mask.device)
            code = identity_codebook(self._bits[mask.device])
            panel.show(Pattern(levels, code, centred_origin(panel.shape, (1, 1), self.grid.shape)))
            self.tally.mask_writes += 1

    def model_masks(self, phases: Sequence[Tensor]) -> list[NDArray[np.uint16]]:
        """Return the nearest panel levels of `phases`, which the model has from now on; the panels stay as they are."""
        bits = [self._bits[mask.device] for mask in self.path.masks]
        levels = [levels_of(phase.detach(), depth) for phase, depth in zip(phases, bits, strict=True)]
        self.phases = [phase_of(one, depth) for one, depth in zip(levels, bits, strict=True)]
        return levels

    def transmissions(self) -> list[Tensor]:
        """Return what the calibrated model says the written masks do to light."""
        return [panel.transmission(phase) for panel, phase in zip(self.model.panels, self.phases, strict=True)]

    # ---- fields

    def forward(self, objects: Tensor) -> Forward:
        """Send objects, complex fields (n, rows, cols) of amplitude 0..1, and read what they become at every tap."""
        *masks, output = self._read(self._source, objects, self._views_ahead)
        return Forward(masks, output)

    def backward(self, errors: Tensor) -> list[Tensor]:
        """Send fields (n, rows, cols) back from the output and read what they become behind every mask.

        Each is sent as large as the DMD can and divided by its scale after reading.
        """
        scale = errors.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)
        aside = self._shift_of(self._inject.device)
        sent = displaced(errors / scale, (-aside[0], -aside[1]))
        views = [mask.backward for mask in self.path.masks if mask.backward]
        return [field * scale for field in self._read(self._inject, sent, views)]

    def modelled_forward(self, objects: Tensor) -> Forward:
        """Return what the calibrated model says objects become."""
        with self.bench.computing():
            *masks, output = self.model.forward(self.as_sent(objects), self.transmissions())
        return Forward(masks, output)

    def brightest(self, objects: Tensor) -> Mapping[str, float]:
        """Return the most electrons that a pixel of each camera on the way out is believed to take of objects."""
        fields, views = self.modelled_forward(objects), self._views_ahead
        return {
            view.camera: self._electrons(view, self._source) * float(field.abs().square().amax())
            for view, field in zip(views, [*fields.masks, fields.output], strict=True)
        }

    def modelled_backward(self, errors: Tensor) -> list[Tensor]:
        """Return what the calibrated model says fields sent back from the output become behind every mask."""
        with self.bench.computing():
            return self.model.backward(errors, self.transmissions())

    def as_sent(self, objects: Tensor) -> Tensor:
        """Return objects as the superpixels can write them."""
        return superpixel_fields(superpixel_indices(objects.numpy()))

    def powers(self, objects: Tensor) -> Tensor:
        """Send objects and read the output's intensity (n, rows, cols), in one exposure each without reference."""
        view = self.path.detect.view
        order = {self._source.device: np.arange(len(objects))}
        shots = Shots((view.camera,), frozenset({self._source.beam}), order)
        counts = self._take(self._source, objects, shots, [view])[view.camera]
        return self._registered(counts, view).real / self._electrons(view, self._source)

    def _read(self, source: ObjectPlane | Inject, fields: Tensor, views: Sequence[View]) -> list[Tensor]:
        """Return the fields at each view, shape (n, rows, cols), for each of `fields` that is sent."""
        reference = self.bench.file.reference
        lit, cameras = frozenset({source.beam, reference.beam}), tuple(view.camera for view in views)
        order = {source.device: np.repeat(np.arange(len(fields)), len(STEPS_RAD))}
        shots = Shots(cameras, lit, order, {reference.beam: np.tile(STEPS_RAD, len(fields))})
        counts = self._take(source, fields, shots, views)
        found = []
        for view in views:
            with self.bench.computing():
                one, two, three, four = counts[view.camera].unflatten(0, (-1, len(STEPS_RAD))).unbind(1)
                per_field = 4 * math.sqrt(reference.electrons.value * self._electrons(view, source))
                field = self._registered(torch.complex(one - three, two - four) / per_field, view)
            found.append(field)
        return found

    def _take(
        self, source: ObjectPlane | Inject, fields: Tensor, shots: Shots, views: Sequence[View]
    ) -> dict[str, Tensor]:
        """Return the electrons (shots, rows, cols) that every view's camera reads, pixels of a sample summed."""
        indices = superpixel_indices(fields.numpy())
        origin = centred_origin(self.bench.dmd(source.device).shape, (SIDE, SIDE), self.grid.shape)
        taken = measure(self.bench, {source.device: PatternStack(indices, self._code, origin)}, [shots])
        self.tally.expose(taken)
        electrons = {}
        for view in views:
            counts, finer = taken.frames[view.camera].counts, view.pixels_per_sample
            step = self.bench.file.settings(view.camera).electrons_per_count
            rows, columns = self.path.framed
            with self.bench.computing():
                self._note_saturated(view.camera, counts)
                per_pixel = torch.from_numpy(counts.astype(np.float32)) * step
                electrons[view.camera] = per_pixel.reshape(-1, rows, finer, columns, finer).mean(dim=(2, 4))
        return electrons

    def _note_saturated(self, camera: str, counts: NDArray[np.unsignedinteger]) -> None:
        lost = int((counts >= self.bench.camera(camera).top_count).sum())
        self.saturated[camera] += lost
        self.tally.clipped_modes += lost

    def _registered(self, field: Tensor, view: View) -> Tensor:
        """Return a view's image on the samples of its plane, by where the image is believed to lie."""
        down, right = self._shift_of(view.camera)
        image = field if field.is_complex() else torch.complex(field, torch.zeros_like(field))
        image = displaced(image, (-down, -right)) if down or right else image
        return image[..., self._cut : image.shape[-2] - self._cut, self._cut : image.shape[-1] - self._cut]

    @property
    def noise(self) -> FieldNoise:
        """What photons and read-out leave on every field that is read, before errors are scaled back."""
        ahead = [self._noise(mask.forward, self._source) for mask in self.path.masks if mask.forward]
        behind = [self._noise(mask.backward, self._inject) for mask in self.path.masks if mask.backward]
        return FieldNoise(ahead, behind, self._noise(self.path.detect.view, self._source))

    def _noise(self, view: View, source: ObjectPlane | Inject) -> float:
        """Four steps against a reference of N_R electrons leave (N_R + read noise^2) / (8 N_R) in each quadrature."""
        reference, read = self.bench.file.reference.electrons.value, self.bench.file.settings(view.camera).read_noise
        return math.sqrt((reference + read**2) / (8 * reference * self._electrons(view, source)))

    def _shift_of(self, name: str) -> tuple[float, float]:
        return self._values[f"{name}.shift_y"], self._values[f"{name}.shift_x"]

    def _electrons(self, view: View, source: ObjectPlane | Inject) -> float:
        """Return the electrons in a pixel of a view for field 1, that of a full sample of the source's DMD."""
        settings = self.bench.file.settings(view.camera)
        power = self.bench.file.settings(source.beam).power_w * self._values[f"{source.device}.efficiency"]
        return electrons_per_unit(
            power / math.prod(self.grid.shape),
            self._values[f"{view.camera}.fraction"] / view.pixels_per_sample**2,
            settings.quantum_efficiency,
            settings.exposure_s,
            self.bench.file.laser.photon_energy_j,
        )
