"""slmsuite calibrates the simulated Fourier bench: `python benchmarks/slmsuite_calibration.py`.

For every truth seed: how far its Fourier calibration is from the hidden truth; where a blaze lands; what a wavefront
correction measured on superpixels of 32 pixels does to the peak of a spot, beside the peak of a panel without
aberration; and how even spots are that were corrected by what the camera saw. Their image goes to
`benchmarks/results/slmsuite_spots.png`.

A frame of this size is computed in about half a second, three are needed for each superpixel, and the panel has 2280 of
them: an hour and a half. So only every third row and fifth column of superpixels is measured (`--stride`), and slmsuite
continues the slopes it found into those between; a truth seed then takes six minutes. `--stride 1 1` measures all; more
than 3 5 is refused, as slopes from farther apart are joined wrongly and the correction ruins the peak.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from slmsuite.hardware.cameraslms import FourierSLM
from slmsuite.holography.algorithms import SpotHologram
from slmsuite.holography.toolbox.phase import blaze

from labctl.adapters.slmsuite import BenchCamera, BenchSLM
from labctl.bench import Bench, BenchFile, load_bench
from labctl.optics.imaging.focal_image import Registration
from sim_backends.truth import draw_truth

PICTURE = Path(__file__).parent / "results" / "slmsuite_spots.png"
SUPERPIXEL = 32
AWAY = (0.025, 0.0)
"""Where the panel outside two superpixels sends its light: beside the camera, which reaches 0.01 (kx, ky)."""

SPOT = (0.005, 0.003)
"""Blaze (kx, ky) of the spot whose peak is measured."""

LETTER = ("#####", "#....", "#....", "####.", "#....", "#....", "#....")
"""Spots: no mirror image or turn of it looks the same."""

SPACING = 60
"""Camera pixels between spots."""


@dataclass(frozen=True)
class Outcome:
    """What one truth seed gave.

    Args:
        matrix_error: Of the Fourier calibration's matrix, relative to the true one.
        axis_error: How far off it has the axis, in camera pixels.
        blaze_error: How far from its true place a blazed spot is brightest, in camera pixels.
        superpixels: How many superpixels were measured.
        peaks: Peak count of the spot before the correction, after it, and without any aberration.
        evenness: Faintest over brightest of the spots, computed alone and corrected by what the camera saw.
        seconds: Time of the Fourier and of the wavefront calibration.
    """

    matrix_error: float
    axis_error: float
    blaze_error: float
    superpixels: int
    peaks: tuple[float, float, float]
    evenness: tuple[float, float]
    seconds: tuple[float, float]


def true_affine(file: BenchFile, truth_seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrix and axis of pixel (x, y) = matrix (kx, ky) + axis, from how the twin's camera stands."""
    values, camera = draw_truth(file.parameters(), truth_seed, 1.0).values, file.settings("camera")
    stands = Registration(
        values["camera.magnification"],
        values["camera.rotation"],
        (values["camera.shift_y"], values["camera.shift_x"]),
        flip=(False, True),
    )
    pixels = torch.tensor([[0.0, 0.0], [0.0, 100.0], [100.0, 0.0]], dtype=torch.float64)  # (down, right) of the centre
    k = stands.places_m(pixels, camera.pitch_m).flip(-1).numpy() / values["lens.focal_length"]
    centre = (np.array(camera.shape[::-1]) - 1) / 2
    matrix = pixels[1:].flip(-1).numpy().T @ np.linalg.inv((k[1:] - k[0]).T)
    return matrix, centre - matrix @ k[0]


def outcome(file: BenchFile, truth_seed: int, stride: tuple[int, int]) -> tuple[Outcome, NDArray[np.uint16]]:
    """Return what slmsuite finds on the twins of a truth seed, and the camera's image of the letter."""
    matrix, axis = true_affine(file, truth_seed)
    with Bench(file, simulate=True, truth_seed=truth_seed) as bench:
        slm = BenchSLM(bench.slm("slm"), file.laser.wavelength_m)
        camera = BenchCamera(bench.camera("camera"))
        setup: Any = FourierSLM(camera, slm)
        bench.beam("beam").on()

        start = time.perf_counter()
        setup.fourier_calibrate(array_shape=[10, 8], array_pitch=[30, 30], autoexpose=True, verbose=False, plot=-1)
        fourier_s = time.perf_counter() - start
        found, found_axis = np.array(setup.fourier_affine.M), setup.kxyslm_to_ijcam([0, 0]).ravel()

        evenness, image = letter(setup)
        slm.set_phase(blaze(slm, SPOT))
        exposure_s = camera.autoexpose(verbose=False)
        landed = np.array(np.unravel_index(setup.cam.get_image().argmax(), camera.shape))[::-1]
        before = peak(setup, exposure_s)
        start = time.perf_counter()
        superpixels = correct(setup, stride)
        wavefront_s = time.perf_counter() - start
        after = peak(setup, exposure_s)
    flat = load_bench("fourier", {"light.1.mask.aberration.sd": 0})
    with Bench(flat, simulate=True, truth_seed=truth_seed) as bench:
        slm, camera = BenchSLM(bench.slm("slm"), file.laser.wavelength_m), BenchCamera(bench.camera("camera"))
        bench.beam("beam").on()
        ideal_setup = FourierSLM(camera, slm)
        ideal_setup.fourier_calibrate_analytic(matrix, axis)
        ideal = peak(ideal_setup, exposure_s)
    return Outcome(
        float(np.linalg.norm(found - matrix) / np.linalg.norm(matrix)),
        float(np.linalg.norm(found_axis - axis)),
        float(np.linalg.norm(landed - (matrix @ SPOT + axis))),
        superpixels,
        (before, after, ideal),
        evenness,
        (fourier_s, wavefront_s),
    ), image


def letter(setup: Any) -> tuple[tuple[float, float], NDArray[np.uint16]]:
    """Show the letter in the lower left of the camera; return how even its spots are, and its image."""
    places = np.array([(x, y) for y, row in enumerate(LETTER) for x, dot in enumerate(row) if dot == "#"]).T * SPACING
    spots = places + np.array([[200], [600]])
    shape = SpotHologram.get_padded_shape(setup, padding_order=1, square_padding=True)
    hologram = SpotHologram(shape, spots, basis="ij", cameraslm=setup)
    evenness = []
    for feedback, rounds in (("computational_spot", 10), ("experimental_spot", 10)):
        hologram.optimize("WGS-Kim", maxiter=rounds, feedback=feedback, verbose=False)
        setup.slm.set_phase(hologram.get_phase())
        setup.cam.autoexpose(verbose=False)
        image = np.mean(setup.cam.get_images(4), axis=0)
        powers = [image[y - 5 : y + 6, x - 5 : x + 6].sum() for x, y in np.rint(spots).astype(int).T]
        evenness.append(float(min(powers) / max(powers)))
    return (evenness[0], evenness[1]), setup.cam.get_image()


def peak(setup: Any, exposure_s: float) -> float:
    """Return the highest count of the blazed spot, which is put on nine places of a pixel: one is near its middle."""
    setup.cam.set_exposure(exposure_s)
    peaks = []
    for aside in np.mgrid[-1:2, -1:2].reshape(2, 9).T / 3:
        setup.slm.set_phase(blaze(setup.slm, SPOT + np.linalg.solve(setup.fourier_affine.M, aside)))
        peaks.append(np.mean(setup.cam.get_images(8), axis=0).max())
    return float(max(peaks))


def correct(setup: Any, stride: tuple[int, int]) -> int:
    """Measure the wavefront on superpixels and correct it; return how many were measured."""
    # at its default, 4, no window is on the camera without the light the panel does not modulate
    setup._wavefront_calibration_window_multiplier = 2  # noqa: SLF001
    setup.cam.set_exposure(setup.cam.exposure_bounds_s[1])
    rows, columns = (-(-n // SUPERPIXEL) for n in setup.slm.shape)
    measured = np.zeros((rows, columns), bool)
    measured[stride[0] // 2 :: stride[0], stride[1] // 2 :: stride[1]] = True
    measured[rows // 2 - 1 : rows // 2 + 2, columns // 2 - 1 : columns // 2 + 2] = True  # the reference's neighbours
    aside = setup.kxyslm_to_ijcam([0, 0]) - [[430], [270]]  # a place that the light of other superpixels leaves dark
    setup.wavefront_calibrate(
        calibration_points=np.rint(aside),
        superpixel_size=SUPERPIXEL,
        exclude_superpixels=~measured,
        field_point=AWAY,
        plot=-1,
    )
    found = setup.wavefront_calibration_superpixel_process(apply=False)
    setup.slm.source["phase"] = found["phase"]  # the amplitude has gaps where no superpixel was measured
    return int(measured.sum())


def draw(image: NDArray[np.uint16]) -> None:
    """Save the part of the camera's image with the letter, the brightest of two by two pixels, as a spot has three."""
    rows, columns = image.shape
    coarse = image.reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3))
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(coarse, cmap="inferno", extent=(0, columns, rows, 0))
    axes.set(xlim=(150, 490), ylim=(1010, 550))
    axes.set(xlabel="column", ylabel="row", title="spots of slmsuite on the simulated Fourier bench")
    figure.colorbar(shown, label="counts")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Print a table with a column for every truth seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth-seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stride", type=int, nargs=2, default=[3, 5], help="rows and columns of superpixels per step")
    options = parser.parse_args()
    if options.stride[0] > 3 or options.stride[1] > 5:
        parser.error(
            f"--stride {options.stride[0]} {options.stride[1]}: at most 3 5; slopes from farther apart do not join"
        )
    torch.set_num_threads(1)
    console, file = Console(), load_bench("fourier")
    table = Table("truth seed")
    found = []
    for seed in options.truth_seeds:
        result, image = outcome(file, seed, (options.stride[0], options.stride[1]))
        found.append(result)
        table.add_column(str(seed), justify="right")
        draw(image)
    lines = {
        "matrix error": [f"{one.matrix_error:.2%}" for one in found],
        "axis error": [f"{one.axis_error:.2f} px" for one in found],
        "blaze lands off by": [f"{one.blaze_error:.2f} px" for one in found],
        "evenness of spots, computed": [f"{one.evenness[0]:.3f}" for one in found],
        "evenness of spots, by camera": [f"{one.evenness[1]:.3f}" for one in found],
        "superpixels measured": [str(one.superpixels) for one in found],
        "peak before correction": [f"{one.peaks[0] / one.peaks[2]:.3f} of ideal" for one in found],
        "peak after correction": [f"{one.peaks[1] / one.peaks[2]:.3f} of ideal" for one in found],
        "Fourier calibration": [f"{one.seconds[0]:.0f} s" for one in found],
        "wavefront calibration": [f"{one.seconds[1]:.0f} s" for one in found],
    }
    for name, cells in lines.items():
        table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
