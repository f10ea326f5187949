"""Elements of a free-space bench, panels and lenses with light running freely between them, and the light list as such.

All planes of a path share one grid of samples, that of the panels' pixels, until a lens turns it into its spectrum.
"""

from dataclasses import dataclass
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from labctl.documents import StrictModel
from labctl.optics.parameters import LengthParameter, NotNegativeNumber, Number, PhaseParameter, PositiveNumber, Share
from labctl.units import Metres

Samples = tuple[PositiveInt, PositiveInt]
"""Rows and columns of samples of a plane."""


class Illuminate(StrictModel):
    """A beam that lights the first plane, collimated.

    Args:
        beam: The beam.
        waist_m: Radius at which its intensity has fallen to 1/e^2.
    """

    beam: str
    waist_m: Metres = Field(gt=0)


class ObjectPlane(StrictModel):
    """A micromirror device, imaged onto the first plane, that writes complex fields: one superpixel per sample.

    Args:
        device: DMD.
        beam: Beam that lights it, evenly.
        samples: Samples (rows, cols) of the plane, 4 x 4 mirrors each (see `labctl.optics.free_space.superpixel`).
        efficiency: Power in the used order over power on the device, all superpixels at full amplitude.
    """

    device: str
    beam: str
    samples: Samples
    efficiency: Share


class Propagate(StrictModel):
    """Free space between two planes.

    Args:
        name: What its distance is named after.
        distance: From plane to plane.
        shift_y: How far the next plane lies off this one's axis, downwards, in samples.
        shift_x: The same to the right.
    """

    name: str
    distance: LengthParameter
    shift_y: Number
    shift_x: Number


class Lens(StrictModel):
    """A lens between its focal planes: what follows is the spectrum of what is before.

    Args:
        name: What its focal length is named after.
        focal_length: Focal length.
    """

    name: str
    focal_length: LengthParameter


class View(StrictModel):
    """A camera that images a plane, or stands in the focal plane of a lens (see `labctl.optics.imaging.focal_image`).

    Args:
        camera: The camera.
        fraction: Power of the plane that reaches it, filters included.
        pixels_per_sample: Camera pixels along one sample of the plane; not behind a lens.
        margin: Samples it sees around the plane on every side, the same for all cameras of a path: an image that lies
            parts of a sample off reaches beyond its edge. Not behind a lens.
        shift_y: How far its image lies off the plane's samples, downwards, in samples; behind a lens where the axis
            is, down from the camera's centre, in camera pixels.
        shift_x: The same to the right.
        magnification: Of the image of a focal plane; behind a lens only, as the next two.
        rotation: By which that image is turned on the camera, from down towards right.
        flip: Whether that image is upside down, and whether left is right.
    """

    camera: str
    fraction: Share
    pixels_per_sample: int = Field(default=1, ge=1)
    margin: int = Field(default=0, ge=0)
    shift_y: Number
    shift_x: Number
    magnification: PositiveNumber | None = None
    rotation: PhaseParameter | None = None
    flip: tuple[bool, bool] = (False, False)


class Mask(StrictModel):
    """A phase panel in the light.

    Args:
        device: SLM.
        samples: Pixels (rows, cols) in the light, centred on the panel.
        reflectivity: Power it reflects, whatever it shows.
        unmodulated: Share of that power whose phase it does not turn.
        response: Phase of its highest level over what the bench file's levels say, 1 for a perfect look-up table.
        fringing: Blur of its phase, Gaussian sigma in pixels.
        aberration: Wavefront error over the panel, rms in waves.
        forward: Tap for the light on its way out, just after the mask.
        backward: Tap for light that comes back, at the same plane.
    """

    device: str
    samples: Samples
    reflectivity: Share
    unmodulated: NotNegativeNumber
    response: PositiveNumber
    fringing: NotNegativeNumber
    aberration: NotNegativeNumber
    forward: View | None = None
    backward: View | None = None

    @model_validator(mode="after")
    def _both_taps_or_none(self) -> Self:
        if (self.forward is None) != (self.backward is None):
            raise ValueError("a mask has a forward and a backward tap, or neither: its gradient needs both fields")
        return self


class Inject(StrictModel):
    """A micromirror device, imaged onto the output plane, that sends complex fields backwards, as `ObjectPlane`.

    Args:
        device: DMD.
        beam: Beam that lights it, evenly.
        efficiency: Power in the used order over power on the device, all superpixels at full amplitude.
        shift_y: How far its image lies off the output's samples, downwards, in samples.
        shift_x: The same to the right.
    """

    device: str
    beam: str
    efficiency: Share
    shift_y: Number
    shift_x: Number


class Detect(StrictModel):
    """The last plane: a camera reads it, and a micromirror device may send errors back from it.

    Args:
        view: The camera and how it sees the plane.
        inject: What sends errors back.
    """

    view: View
    inject: Inject | None = None


FreeSpaceElement = Illuminate | ObjectPlane | Propagate | Lens | Mask | Detect


@dataclass(frozen=True)
class FreeSpacePath:
    """A light list as planes: a source, what the light passes, and what reads it.

    Args:
        samples: Samples (rows, cols) of every plane before a lens.
        source: Lights the first plane.
        steps: What the light passes, in its order.
        detect: What reads it.
    """

    samples: tuple[int, int]
    source: Illuminate | ObjectPlane
    steps: tuple[Propagate | Lens | Mask, ...]
    detect: Detect

    @property
    def masks(self) -> tuple[Mask, ...]:
        """The panels, in the light's order."""
        return tuple(step for step in self.steps if isinstance(step, Mask))

    @property
    def hops(self) -> tuple[Propagate, ...]:
        """The ways between planes, in the light's order."""
        return tuple(step for step in self.steps if isinstance(step, Propagate))

    @property
    def lens(self) -> Lens | None:
        """The lens whose focal plane the last camera sees, where there is one."""
        last = self.steps[-1]
        return last if isinstance(last, Lens) else None

    @property
    def views(self) -> dict[str, View]:
        """How each camera sees its plane, by camera name."""
        taps = [tap for mask in self.masks for tap in (mask.forward, mask.backward) if tap]
        return {view.camera: view for view in (*taps, self.detect.view)}

    @property
    def framed(self) -> tuple[int, int]:
        """Samples (rows, cols) that its cameras see, margins included."""
        rows, columns = self.samples
        return rows + 2 * self.detect.view.margin, columns + 2 * self.detect.view.margin

    @property
    def beams(self) -> frozenset[str]:
        """Beams that light it, the reference aside."""
        inject = self.detect.inject
        return frozenset({self.source.beam, *([inject.beam] if inject else [])})

    @property
    def devices(self) -> frozenset[str]:
        """Modulators in it."""
        named = {mask.device for mask in self.masks}
        named |= {self.source.device} if isinstance(self.source, ObjectPlane) else set()
        return frozenset(named | ({self.detect.inject.device} if self.detect.inject else set()))


def read_path(elements: tuple[FreeSpaceElement, ...]) -> FreeSpacePath:
    """Return the light list of a free-space bench as planes.

    Raises:
        ValueError: It does not run from one source through planes of one size to `detect`.
    """
    source, *steps, detect = elements
    if not isinstance(source, Illuminate | ObjectPlane) or not isinstance(detect, Detect):
        raise ValueError("a free-space light list begins with 'illuminate' or 'object' and ends with 'detect'")
    passed = tuple(step for step in steps if isinstance(step, Propagate | Lens | Mask))
    if len(passed) < len(steps) or not passed:
        raise ValueError("between the source and 'detect' stand 'propagate', 'lens' and 'mask', one or more")
    sizes = {plane.samples for plane in (source, *passed) if isinstance(plane, ObjectPlane | Mask)}
    if len(sizes) != 1:
        raise ValueError(f"all planes have the same samples (rows, cols); got {sorted(sizes) or 'none'}")
    if any(isinstance(step, Lens) for step in passed[:-1]):
        raise ValueError("a 'lens' is the last before 'detect', whose camera stands in its focal plane")
    registered = detect.view.magnification is not None and detect.view.rotation is not None
    if registered != isinstance(passed[-1], Lens):
        raise ValueError("a camera behind a 'lens' has 'magnification' and 'rotation', and no other camera has")
    path = FreeSpacePath(sizes.pop(), source, passed, detect)
    margins = {view.margin for view in path.views.values()}
    if len(margins) > 1:
        raise ValueError(f"all cameras see the same 'margin' of samples around their planes; got {sorted(margins)}")
    if path.lens and margins != {0}:
        raise ValueError("a camera behind a 'lens' sees what its own pixels cover, no 'margin'")
    return path
