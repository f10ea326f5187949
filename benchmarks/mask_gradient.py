"""How true the gradient of phase masks is that a bench measures: `python benchmarks/mask_gradient.py [BENCH]`.

One mask and three, digits on the published detectors. Cosines of the measured gradient to that of the twin's own light
by automatic differentiation, the worst mask: with ideal taps; with all hidden errors on and the taps as the bench file
has them, as `tap_registration` finds them, with the panels as `panel_response` does, and exactly known; and with every
backward tap off by parts of a sample, down and right. At reference noise the floor is the cosine between two
measurements of the same gradient. `--picture FILE` draws the curves; `benchmarks/results/mask_gradient.png` is of the
default bench, truth and masks.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from calibration.panel_response import panel_response
from calibration.tap_registration import tap_registration
from labctl.bench import Bench, load_bench
from labctl.calibrations import Calibration
from labctl.documents import read_bench_document
from labctl.errors import RunAborted
from labctl.experiments.diffractive.detectors import detector_powers
from labctl.experiments.diffractive.in_situ.fields import BenchFields
from labctl.experiments.diffractive.in_situ.gradient import mask_gradient
from labctl.experiments.diffractive.in_situ.plan import plane_detectors
from labctl.experiments.diffractive.losses import normalised_cross_entropy
from labctl.experiments.diffractive.objects import object_fields
from labctl.optics.free_space.shift import displaced
from labctl.optics.parameters import Values
from labctl.plan import parse_settings
from labctl.training.datasets import load_dataset

SAMPLES = 4
LARGEST_PHASE_RAD = 3.0
"""Of the random masks: almost half of the light goes on unscattered, as through masks that are still being trained. A
full turn is harder: no light goes straight on, and every pixel differs from its neighbours."""

OFF = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
PRINTED = (0.05, 0.2)
IDEAL_BAR, REGISTERED_BAR = 0.9999, 0.999
QUIET: Mapping[str, Any] = {"simulation.noise_scale": 0}

console = Console()


@dataclass(frozen=True)
class Curve:
    """Cosine of the worst mask for backward taps that are off by `OFF`, nan where the step is refused.

    Args:
        cosines: For every element of `OFF`.
        floor: Cosine between two measurements with taps exactly known.
    """

    cosines: Sequence[float]
    floor: float


def one_mask(bench: str) -> dict[str, Any]:
    """Return the overrides that leave the first mask of a bench, its backward camera exposed as the last one's was."""
    document = read_bench_document(bench, {}).data
    light, devices = document["light"], document["devices"]
    masks = [element["mask"] for element in light if "mask" in element]
    first, last = masks[0]["backward"]["camera"], masks[-1]["backward"]["camera"]
    exposure = devices[last]["settings"]["exposure"]
    return {"light": [*light[:3], *light[-2:]], f"devices.{first}.settings.exposure": exposure}


class Batch:
    """A few digits under random masks on an open simulated bench."""

    def __init__(self, bench: Bench, largest_phase_rad: float) -> None:
        self.bench = bench
        fields, digits = BenchFields(bench), load_dataset("sample", None)
        images = torch.from_numpy(np.asarray(digits.train_images[:SAMPLES], np.float32) / 255)
        self.objects = object_fields(images, round(0.4 * min(fields.grid.shape)), fields.grid.shape)
        self.labels = torch.from_numpy(np.asarray(digits.train_labels[:SAMPLES], np.int64))
        self.detectors = plane_detectors(fields)
        generator = torch.Generator().manual_seed(5)
        self.phases = [largest_phase_rad * torch.rand(fields.grid.shape, generator=generator) for _ in fields.phases]

    def loss(self, intensity: Tensor) -> Tensor:
        """Return the loss that masks are trained with."""
        return normalised_cross_entropy(detector_powers(intensity, self.detectors), self.labels)

    def measured(self, believed: Values) -> Sequence[Tensor]:
        """Return the measured gradient of every mask, believing some parameters.

        Raises:
            RunAborted: The bench refuses it.
        """
        fields = BenchFields(self.bench, believed)
        fields.write_masks(self.phases)
        return mask_gradient(fields, "optical", self.objects, self.loss).masks

    def true(self, believed: Values) -> Sequence[Tensor]:
        """Return the gradient in the twin's own light, of the loss on detectors that lie where they are believed to."""
        fields, light = BenchFields(self.bench), vars(self.bench)["_light"]
        fields.model_masks(self.phases)
        phases = [phase.requires_grad_() for phase in fields.phases]
        source = next(iter(vars(light)["_profiles"]))
        sent = fields.as_sent(self.objects) * vars(light)["_profiles"][source]
        masks = [panel.transmission(phase) for panel, phase in zip(light.planes.panels, phases, strict=True)]
        camera = self.bench.file.path.detect.view.camera
        names = [f"{camera}.shift_{axis}" for axis in "yx"]
        down, right = (light.truth.values[name] - believed.get(name, 0.0) for name in names)
        output = displaced(light.planes.forward(sent, masks)[-1], (down, right))
        return torch.autograd.grad(self.loss(output.real**2 + output.imag**2), phases)

    def worst_cosine(self, believed: Values) -> float:
        """Return the cosine of the worst mask, nan where the bench refuses the step."""
        with suppress(RunAborted):
            return worst(self.measured(believed), self.true(believed))
        return math.nan

    def floor(self, believed: Values) -> float:
        """Return the cosine of two measurements of the worst mask, nan where the bench refuses one."""
        with suppress(RunAborted):
            return worst(self.measured(believed), self.measured(believed))
        return math.nan

    def shifts(self) -> dict[str, float]:
        """Return the true shifts of all images."""
        values = vars(self.bench)["_light"].truth.values
        hops = {hop.name for hop in self.bench.file.path.hops}
        return {name: value for name, value in values.items() if ".shift_" in name and name.split(".")[0] not in hops}

    def calibrated(self, calibration: Calibration, seed: int) -> dict[str, float]:
        """Return the parameters that a calibration finds."""
        settings = parse_settings(calibration.measure, {})
        record = list(calibration.measure(self.bench, settings, np.random.default_rng(seed)))[-1]
        found = calibration.fit({**record.values, **record.arrays}).parameters
        return {name: float(one.value) for name, one in found.items()}

    def curve(self) -> Curve:
        """Return the cosine against how far the backward taps are off."""
        known = self.shifts()
        cameras = [mask.backward.camera for mask in self.bench.file.path.masks if mask.backward]
        backward = [f"{camera}.{axis}" for camera in cameras for axis in ("shift_y", "shift_x")]
        beside = [known | {name: known[name] + off for name in backward} for off in OFF]
        return Curve([self.worst_cosine(one) for one in beside], self.floor(known))


def worst(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the smallest cosine of two gradients of each mask."""
    pairs = zip(one, other, strict=True)
    return min(torch.cosine_similarity(a.ravel(), b.ravel(), 0).item() for a, b in pairs)


def measure(
    bench: str, overrides: Mapping[str, Any], seed: int, largest_phase_rad: float
) -> tuple[dict[str, float], dict[str, Curve]]:
    """Return cosines by what is believed, and curves by noise, of one bench and truth."""
    found: dict[str, float] = {}
    curves: dict[str, Curve] = {}
    ideal = {**overrides, **QUIET, "simulation.imperfections": False}
    with Bench(load_bench(bench, ideal), True, seed=seed, truth_seed=seed) as table:
        found["ideal taps, noise-free"] = Batch(table, largest_phase_rad).worst_cosine({})
    for noise, changes in (("noise-free", QUIET), ("reference noise", {})):
        with Bench(load_bench(bench, {**overrides, **changes}), True, seed=seed, truth_seed=seed) as table:
            batch = Batch(table, largest_phase_rad)
            found[f"taps as the file has them, {noise}"] = batch.worst_cosine({})
            registered = batch.calibrated(tap_registration, seed)
            found[f"taps registered, {noise}"] = batch.worst_cosine(registered)
            panels = batch.calibrated(panel_response, seed)
            found[f"taps registered, panels calibrated, {noise}"] = batch.worst_cosine(registered | panels)
            curve = curves[noise] = batch.curve()
        found[f"taps exactly known, {noise}"] = curve.cosines[0]
        found |= {f"off by {off} px, {noise}": curve.cosines[OFF.index(off)] for off in PRINTED}
        found[f"floor, {noise}"] = curve.floor
    return found, curves


def plot(curves: Mapping[int, Mapping[str, Curve]], picture: Path) -> None:
    """Write the curves of cosine against tap error, by number of masks and noise."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for masks, by_noise in curves.items():
        for noise, curve in by_noise.items():
            style = "-" if noise == "noise-free" else "--"
            name = f"{masks} mask{'s' if masks > 1 else ''}, {noise}"
            axes.plot(OFF, curve.cosines, style, marker="o", label=name, color=f"C{masks // 2}")
    axes.set(xlabel="backward taps off by, down and right (samples)", ylabel="cosine to the true gradient, worst mask")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120)


def main() -> None:
    """Print the table of a bench, and plot its curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="?", default="diffractive", help="shipped name or path, of three masks")
    parser.add_argument("--truth-seed", type=int, default=1)
    parser.add_argument("--largest-phase", type=float, default=LARGEST_PHASE_RAD, help="of the random masks, in rad")
    parser.add_argument("--picture", type=Path, help="file of the curves")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        masks: measure(options.bench, overrides, options.truth_seed, options.largest_phase)
        for masks, overrides in ((1, one_mask(options.bench)), (3, {}))
    }
    table = Table(
        title=f"{options.bench}, truth {options.truth_seed}, masks of 0 to {options.largest_phase:g} rad: "
        "cosine to the true gradient, worst mask"
    )
    for column in ("", "1 mask", "3 masks", "bar"):
        table.add_column(column, justify="left" if not column else "right")
    bars = {"ideal taps, noise-free": IDEAL_BAR, "taps registered, noise-free": REGISTERED_BAR}
    bars["taps registered, panels calibrated, noise-free"] = REGISTERED_BAR
    for name in results[1][0]:
        cells = [f"{found[name]:.5f}" if np.isfinite(found[name]) else "refused" for found, _ in results.values()]
        table.add_row(name, *cells, f"{bars[name]:g}" if name in bars else "")
    console.print(table)
    if options.picture:
        plot({masks: curves for masks, (_, curves) in results.items()}, options.picture)


if __name__ == "__main__":
    main()
