"""A panel frame through a 2f lens to a noisy camera frame, beside slmsuite: `python benchmarks/camera_frame.py`.

Grey levels 1080 x 1920 in, uint16 counts out, one thread, a new panel frame each time. All are run in turn; medians are
printed. slmsuite's SimulatedCamera is timed with a Poisson background and Gaussian read noise as its documentation
writes them, and with its own GaussianDetectorNoise, which has no Poisson; neither depends on the signal. Ours has the
shot noise of the signal and read noise.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from slmsuite.hardware.cameras.simulated import GaussianDetectorNoise, SimulatedCamera
from slmsuite.hardware.slms.simulated import SimulatedSLM

from labctl.optics.grid import Grid
from labctl.optics.imaging.camera_noise import Sensor, expose
from labctl.optics.imaging.lens import Lens, alternation, focus, intensity, panel_field, zoom

ROUNDS = 9
SHAPE = 1080, 1920
MEAN_ELECTRONS = 2.0
SENSOR = Sensor(read_noise=1.6, step=0.46, full_well=30_000, offset=100)

Frame = NDArray[np.unsignedinteger]


def labctl_frames(rng: np.random.Generator) -> dict[str, Callable[[Frame], object]]:
    """Return our frame's steps: with noise, without, a region of 256 x 256 bins, and 512 x 512 zoomed twice."""
    response = torch.from_numpy(np.exp(2j * np.pi * np.arange(256) / 256).astype(np.complex64))
    source = (alternation(SHAPE) * MEAN_ELECTRONS**0.5).to(torch.complex64)
    lens = Lens(Grid(SHAPE, 8e-6), focal_length_m=0.2, wavelength_m=532e-9)
    window = zoom(lens, Grid((512, 512), lens.bin_m[1] / 2))

    def light(frame: Frame) -> torch.Tensor:
        return panel_field(frame, response, source)

    return {
        "labctl": lambda frame: expose(intensity(focus(light(frame))).numpy(), SENSOR, rng),
        "labctl, no noise": lambda frame: intensity(focus(light(frame))),
        "labctl, 256 x 256 bins, no noise": lambda frame: intensity(focus(light(frame), slice(256), slice(256))),
        "labctl, 512 x 512 zoomed twice, no noise": lambda frame: intensity(window.forward(light(frame))),
    }


def slmsuite_frames(rng: np.random.Generator) -> dict[str, Callable[[Frame], object]]:
    """Return slmsuite's frame, with its two kinds of noise and without."""
    gaussian = GaussianDetectorNoise(dark=100 / 2**16, read=3.5 / 2**16)
    poisson = {
        "dark": lambda full_scale: rng.poisson(100 / 2**16 * full_scale),
        "read": lambda full_scale: rng.normal(0, 3.5 / 2**16 * full_scale),
    }
    return {
        "slmsuite, Poisson and Gaussian noise": _slmsuite(poisson),
        "slmsuite, Gaussian noise": _slmsuite(gaussian),
        "slmsuite, no noise": _slmsuite(None),
    }


def _slmsuite(noise: object) -> Callable[[Frame], object]:
    """Return what shows a frame on slmsuite's simulated panel and takes it with its camera."""
    panel = SimulatedSLM(SHAPE[::-1], wav_um=0.532, wav_design_um=0.532)
    camera = SimulatedCamera(panel, bitdepth=16, noise=noise, gain=SHAPE[0] * SHAPE[1] * 4)  # counts as ours

    def frame(levels: Frame) -> object:
        panel.set_phase(levels, settle=False, phase_correct=False)
        return camera.get_image()

    return frame


def milliseconds(action: Callable[[Frame], object], frame: Frame) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    action(frame)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Print the medians and slmsuite's over ours."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # slmsuite's advice on calibrations
    rng = np.random.Generator(np.random.SFC64(0))
    actions = {**slmsuite_frames(rng), **labctl_frames(rng)}
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(ROUNDS + 1):
        for name in rng.permutation(list(actions)):
            taken = milliseconds(actions[name], rng.integers(0, 256, SHAPE, dtype=np.uint8))
            if turn:  # the first builds tables and plans transforms
                times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, median in medians.items():
        sys.stdout.write(f"{name:42s} {median:6.1f} ms, {median / medians['labctl']:5.2f} of labctl's\n")
    ratio = medians["slmsuite, Poisson and Gaussian noise"] / medians["labctl"]
    sys.stdout.write(f"frame with noise: {ratio:.1f} times slmsuite's speed (bar 6)\n")


if __name__ == "__main__":
    main()
