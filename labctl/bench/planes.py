"""What the planes of a free-space bench can do: geometry, power per sample and photons on its cameras."""

import math
from collections.abc import Iterator

from labctl.bench.power_row import HEADROOM, PowerRow
from labctl.bench.schema import BenchFile
from labctl.optics.free_space.elements import Illuminate, Inject, Lens, Mask, ObjectPlane, Propagate, View
from labctl.optics.free_space.superpixel import SIDE
from labctl.optics.grid import Grid
from labctl.optics.imaging import lens as optics
from labctl.optics.imaging.sensor import electrons_per_unit
from labctl.optics.multiplier.elements import centred_origin
from labctl.units import LENGTH, POWER, TIME, show


def plane_rows(file: BenchFile) -> Iterator[PowerRow]:
    """Yield every plane's geometry and power, in the light's order."""
    path = file.path
    if isinstance(path.source, ObjectPlane):
        yield from _mirror_rows(file, path.source)
    for step in path.steps:
        if isinstance(step, Mask):
            yield _fit(file, step.device, (1, 1))
            yield from (_camera_row(file, view) for view in (step.forward, step.backward) if view)
        elif isinstance(step, Propagate):
            yield _hop_row(file, step)
    if path.lens:
        yield from _focal_rows(file, path.lens)
    else:
        yield _camera_row(file, path.detect.view)
    if path.detect.inject:
        yield from _mirror_rows(file, path.detect.inject)


def _fit(file: BenchFile, device: str, block: tuple[int, int]) -> PowerRow:
    shape, samples = file.settings(device).shape, file.path.samples
    asked = f"{block[0] * samples[0]} x {block[1] * samples[1]}"
    fits = min(centred_origin(shape, block, samples)) >= 0
    return PowerRow(device, "pixels (rows x cols)", asked, f"{shape[0]} x {shape[1]}", fits)


def _mirror_rows(file: BenchFile, source: ObjectPlane | Inject) -> Iterator[PowerRow]:
    yield _fit(file, source.device, (SIDE, SIDE))
    power = file.settings(source.beam).power_w
    sample = power * source.efficiency.value / math.prod(file.path.samples)
    have = f"{show(power, POWER)} on it, {show(sample, POWER)} per full sample"
    yield PowerRow(source.device, "light", "", have, sample > 0)


def _hop_row(file: BenchFile, hop: Propagate) -> PowerRow:
    """Return whether light of one sample reaches all of the next plane, z >= N p^2 / wavelength."""
    samples, pitch = max(file.path.samples), file.settings(file.path.masks[0].device).pitch_m
    least = samples * pitch**2 / file.laser.wavelength_m
    have = hop.distance.value
    return PowerRow(hop.name, "connects every sample from", show(least, LENGTH), show(have, LENGTH), have > 0)


def _camera_row(file: BenchFile, view: View) -> PowerRow:
    settings = file.settings(view.camera)
    rows, columns = (n * view.pixels_per_sample for n in file.path.framed)
    fits = rows <= settings.shape[0] and columns <= settings.shape[1]
    reference = file.reference_beam
    electrons = reference.electrons.value if reference and view.camera in reference.cameras else 0.0
    per_watt = electrons_per_unit(
        1.0,
        view.fraction.value / view.pixels_per_sample**2,
        settings.quantum_efficiency,
        settings.exposure_s,
        file.laser.photon_energy_j,
    )
    room = (math.sqrt(HEADROOM * settings.full_well) - math.sqrt(electrons)) ** 2 / per_watt
    have = f"{rows} x {columns} of {settings.shape[0]} x {settings.shape[1]}, {show(room, POWER)} per sample fill it"
    able = fits and electrons < HEADROOM * settings.full_well
    return PowerRow(view.camera, f"reference {electrons:.2g} e-", f"<= {HEADROOM:.0%} of well", have, able)


def _focal_rows(file: BenchFile, lens: Lens) -> Iterator[PowerRow]:
    """Yield what a camera in a focal plane sees of what the panel's pitch reaches, and how bright that is."""
    path, view = file.path, file.path.detect.view
    panel, settings = file.settings(path.masks[-1].device), file.settings(view.camera)
    focal = optics.Lens(Grid(path.samples, panel.pitch_m), lens.focal_length.value, file.laser.wavelength_m)
    pixel_m = settings.pitch_m / (view.magnification.value if view.magnification else 1.0)
    bins = " x ".join(f"{one / pixel_m:.2g}" for one in focal.bin_m)
    yield PowerRow(lens.name, "far-field bin (rows x cols)", "", f"{bins} camera pixels")
    seen, reach = " x ".join(show(n * pixel_m, LENGTH) for n in settings.shape), show(focal.reach_m, LENGTH)
    yield PowerRow(view.camera, "field of view", f"<= {reach}", seen, max(settings.shape) * pixel_m <= focal.reach_m)
    power = file.settings(path.source.beam).power_w
    passed = power * math.prod(mask.reflectivity.value for mask in path.masks) * view.fraction.value
    shortest, usual = (
        electrons_per_unit(passed, 1.0, settings.quantum_efficiency, exposure, file.laser.photon_energy_j)
        for exposure in (settings.min_exposure_s, settings.exposure_s)
    )
    lit_m2 = math.prod(path.samples) * panel.pitch_m**2
    if isinstance(path.source, Illuminate):
        lit_m2 = min(lit_m2, 2 * math.pi * path.source.waist_m**2)
    spot = shortest * lit_m2 * (pixel_m / (file.laser.wavelength_m * lens.focal_length.value)) ** 2 / settings.full_well
    even = usual * (pixel_m / focal.reach_m) ** 2
    have = f"{spot:.0%}; spread over the reach {even:.2g} e- per pixel in {show(settings.exposure_s, TIME)}"
    what = f"a flat panel's spot in {show(settings.min_exposure_s, TIME)}"
    yield PowerRow(view.camera, what, f"<= {HEADROOM:.0%} of well", have, spot <= HEADROOM)
