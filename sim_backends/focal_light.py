"""The light path of a Fourier bench: a beam on one phase panel, a lens, and a camera in its focal plane.

Hidden: how the camera stands, the panel's wavefront error, dust, response, fringing and unmodulated light, an uneven
beam, and each pixel's response. Not in it: reflections between planes, noise common to a row of pixels, and flicker: it
turns the whole panel's phase, which a camera without a reference does not see.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.devices import Pattern
from labctl.errors import ConfigError
from labctl.optics.free_space.elements import Illuminate
from labctl.optics.grid import Grid
from labctl.optics.imaging.camera_noise import Sensor, expose
from labctl.optics.imaging.focal_image import FocalCamera, Registration
from labctl.optics.imaging.lens import Lens, alternation
from sim_backends.disturbance import ShotNoise
from sim_backends.free_space_light import FreeSpaceLight

if TYPE_CHECKING:
    from torch import Tensor


class FocalLight(FreeSpaceLight):
    """A Fourier bench as light; arguments as for `SimulatedTable`.

    Raises:
        ConfigError: The light list is another one than illuminate, mask, lens, detect.
    """

    focuses = True

    def _set_up(self) -> None:
        path = self.layout.path
        if not isinstance(path.source, Illuminate) or path.lens is None or len(path.steps) != 2 or path.detect.inject:
            raise ConfigError("simulation.light_path: FocalLight needs the light list illuminate, mask, lens, detect")
        super()._set_up()
        self._view = path.detect.view
        values, camera = self.truth.values, self._camera(self._view.camera)
        registration = Registration(
            values[f"{self._view.camera}.magnification"],
            values[f"{self._view.camera}.rotation"],
            (values[f"{self._view.camera}.shift_y"], values[f"{self._view.camera}.shift_x"]),
            self._view.flip,
        )
        lens = Lens(self._grid, values[f"{path.lens.name}.focal_length"], self.layout.laser.wavelength_m)
        self._behind = FocalCamera(lens, Grid(camera.shape, camera.pitch_m), registration)
        self._beam = path.source.beam
        lit = self._gaussian(path.source) * self._illumination(self._beam)
        self._source = lit * alternation(self._grid.shape)
        self._seen: Tensor | None = None
        self._sensor = Sensor(camera.read_noise, camera.electrons_per_count, camera.full_well, camera.bit_depth)

    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Show `pattern` on a phase panel; one outside the light path is ignored."""
        super().show_panel(name, pattern)
        self._seen = None

    def frame_shape(self, camera: str) -> tuple[int, int]:
        """Return rows and columns of a camera's frames: all its pixels."""
        return self._camera(camera).shape

    def _counts(
        self, cameras: Sequence[str], times: NDArray[np.float64], noise: ShotNoise
    ) -> dict[str, NDArray[np.unsignedinteger]]:
        beam = self.beams[self._beam]
        watts = noise.power[self._beam] * (beam.power_w if beam.on else 0.0)
        return {name: np.stack([self._read(name, power) for power in watts]) for name in cameras}

    def _read(self, camera: str, power_w: float) -> NDArray[np.unsignedinteger]:
        """Return the counts (rows, cols) of one exposure under a beam of `power_w`."""
        if self._seen is None:  # a panel that shows the same costs its noise only
            self._seen = self._behind.image(self._source * self._transmissions[0])
        response = self.disturbance.pixel_response(camera, *self.frame_shape(camera), 1)
        electrons = (self._seen * response * (power_w * self._electrons_per_watt(self._view))).numpy()
        counts, scale = expose(electrons, self._sensor, self.disturbance.rng), self.disturbance.noise_scale
        if scale == 1:
            return counts
        held, step = np.minimum(electrons, self._sensor.full_well), self._sensor.step
        return np.clip(np.rint((held + scale * (counts * step - held)) / step), 0, self._sensor.top).astype(np.uint16)
