"""Five phase plates that image at unit magnification: how fine the lines are that they resolve."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from labctl.experiments.diffractive.bars import RAYLEIGH_DIP, bars, contrast, dip, random_bars
from labctl.experiments.diffractive.cells import step_seconds
from labctl.experiments.diffractive.data import Data, load_splits
from labctl.experiments.diffractive.figures import images_figure, plates_figure
from labctl.experiments.diffractive.geometry import IMAGER, Geometry
from labctl.experiments.diffractive.losses import intensity_of, log_plane_error
from labctl.experiments.diffractive.network import (
    Modulation,
    Transmission,
    initial_latent,
    output_field,
    plates_of,
    transmission,
)
from labctl.experiments.diffractive.objects import enlarged, object_fields
from labctl.experiments.diffractive.plates import PLATES_FILE, write_plates
from labctl.experiments.diffractive.training import Objective, Training, device, train_kept
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Curve, Row, curves_figure
from labctl.report.figures import png
from labctl.training.model_training import Recipe

PUBLISHED_MM = 1.2
"""Line width that the published imager resolves in simulation (Lin et al. 2018)."""

OBJECT_SHARE = 140 / 300
"""Side of the object over that of the plate (published-systems 3.3)."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        recipe: Of the training.
        data: Images trained on and tested with; as many random bars are trained on besides.
        geometry: Where the planes lie.
        widths: Widths of bars tried, in pixels.
    """

    recipe: Recipe
    data: Data
    geometry: Geometry = IMAGER
    widths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class ImagerTraining:
    """One training of an imager.

    Args:
        settings: Settings of the table.
        seed: Draws bars and the order of the samples.
    """

    settings: Settings
    seed: int

    @property
    def side(self) -> int:
        """Pixels along each side of the object."""
        return round(OBJECT_SHARE * min(self.settings.geometry.grid.shape))


class Imager:
    """Optics of an imager made ready on a device; plates are given to its methods.

    Args:
        geometry: Where the planes lie.
        side: Pixels along each side of the object.
        device: `cpu` or `cuda`.
    """

    def __init__(self, geometry: Geometry, side: int, device: str) -> None:
        self.geometry, self.side, self.device = geometry, side, device
        self.transfers = geometry.transfers(device)

    def passed(self, images: NDArray[np.uint8], plates: Transmission) -> tuple[Tensor, Tensor]:
        """Return intensities (n, rows, cols) of objects of amplitude 0..1, and of what lies in the output plane."""
        grey = torch.from_numpy(images).to(self.device).float() / 255
        fields = object_fields(grey, self.side, self.geometry.grid.shape)
        return intensity_of(fields), intensity_of(output_field(fields, plates, self.transfers))

    def image(self, objects: NDArray[np.uint8], plates: Transmission) -> NDArray[np.float32]:
        """Return what lies in the output plane (n, rows, cols), without gradient."""
        with torch.no_grad():
            return self.passed(objects, plates)[1].cpu().numpy()

    def dips(self, widths: Sequence[int], plates: Transmission) -> list[float]:
        """Return how deep the gaps between bars of every width are, the worse of upright and lying ones."""
        worst = []
        for width in widths:
            upright, lying = self.image(np.stack([bars(self.side, width), bars(self.side, width, np.pi / 2)]), plates)
            worst.append(max(dip(upright, width), dip(lying.T, width)))
        return worst


def resolved_width(widths: Sequence[int], dips: Sequence[float]) -> int | None:
    """Return the smallest width from which on all bars are resolved; None where the widest are not."""
    finest = None
    for width, depth in sorted(zip(widths, dips, strict=True), reverse=True):
        if depth > RAYLEIGH_DIP:
            break
        finest = width
    return finest


def train_imager(asked: ImagerTraining, folder: Path) -> Mapping[str, Any]:
    """Return what a trained imager resolves; plates, their picture and that of images stay in `folder`."""
    settings, where = asked.settings, device()
    imager = Imager(settings.geometry, asked.side, where)
    train, validation, test = load_splits(settings.data)
    train_images = _with_bars(train.images, asked.side, np.random.default_rng([asked.seed, 1]))
    validation_images = _with_bars(validation.images, asked.side, np.random.default_rng([asked.seed, 2]))
    count, shape, modulation = settings.geometry.plates, settings.geometry.grid.shape, Modulation()
    latent = initial_latent(count, shape, modulation, where)

    def loss(images: NDArray[np.uint8]) -> Tensor:
        wanted, intensity = imager.passed(images, transmission(latent, modulation))
        return log_plane_error(intensity, wanted)

    def score() -> float:
        return -_error(imager, validation_images, transmission(latent, modulation))

    objective = Objective(len(train_images), lambda chosen: loss(train_images[chosen]), score)
    run = Training(latent, settings.recipe, objective, asked.seed)
    train_kept(run, folder, repr(asked))
    plates = transmission(run.best, modulation)
    flat = transmission(initial_latent(count, shape, modulation, where), modulation)
    kept = plates_of(plates, settings.geometry)
    write_plates(kept, folder / PLATES_FILE)
    (folder / "plates.png").write_bytes(png(plates_figure(kept)))
    _picture(imager, test.images, {"plates": plates, "free space": flat}, folder / "images.png")
    return {
        "dips": imager.dips(settings.widths, plates),
        "free_space": imager.dips(settings.widths, flat),
        "cosine": 100 * math.exp(-_error(imager, test.images, plates) / 2),  # 1 + e is 1 / cosine^2
        "light": 100 * _light(imager, test.images, plates),
        "losses": run.losses,
        "validation": run.scores,
    }


def _with_bars(images: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return images enlarged to `side`, and as many of random bars behind them."""
    large = enlarged(torch.from_numpy(images).float(), side).round().to(torch.uint8).numpy()
    return np.concatenate([large, random_bars(len(large), side, rng)])


def _error(imager: Imager, images: NDArray[np.uint8], plates: Transmission) -> float:
    """Return the mean `log_plane_error` of images."""
    errors = []
    with torch.no_grad():
        for start in range(0, len(images), 10):
            wanted, intensity = imager.passed(images[start : start + 10], plates)
            errors.append(float(log_plane_error(intensity, wanted)))
    return float(np.mean(errors))


def _light(imager: Imager, images: NDArray[np.uint8], plates: Transmission) -> float:
    """Return the share of the objects' light that reaches the output plane."""
    sent, arrived = 0.0, 0.0
    with torch.no_grad():
        for start in range(0, len(images), 10):
            wanted, intensity = imager.passed(images[start : start + 10], plates)
            sent, arrived = sent + float(wanted.sum()), arrived + float(intensity.sum())
    return arrived / sent


def _picture(imager: Imager, images: NDArray[np.uint8], ways: Mapping[str, Transmission], path: Path) -> None:
    """Draw objects, and what lies in the output plane behind plates and behind nothing."""
    items = enlarged(torch.from_numpy(images[:2]).float(), imager.side).round().to(torch.uint8).numpy()
    objects = np.concatenate([items, np.stack([bars(imager.side, 4), bars(imager.side, 6, np.pi / 2)])])
    flat = next(iter(ways.values()))
    with torch.no_grad():
        shown = {"object": imager.passed(objects, flat)[0].cpu().numpy()}
    shown |= {name: imager.image(objects, plates) for name, plates in ways.items()}
    path.write_bytes(png(images_figure(shown, imager.geometry.grid.pitch_m)))


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    data = settings.data
    samples = 2 * settings.recipe.epochs * ((data.train or 55_000) + data.validation / 3)
    return [Cell("imager", train_imager, ImagerTraining(settings, seed), 10 + step_seconds(settings.geometry, samples))]


def _rows(settings: Settings, results: Results) -> list[Row]:
    result = results["imager"]
    width = resolved_width(settings.widths, result["dips"])
    resolved_mm = None if width is None else 1e3 * settings.geometry.grid.pitch_m * width
    return [
        Row("line width resolved", PUBLISHED_MM, resolved_mm, "mm"),
        Row("cosine of test images to their objects", None, result["cosine"]),
        Row("light of test images that reaches the output plane", None, result["light"]),
    ]


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    widths = [1e3 * settings.geometry.grid.pitch_m * width for width in settings.widths]
    limit, result = contrast(RAYLEIGH_DIP), results["imager"]
    curves = [
        Curve("published line width", [PUBLISHED_MM], [limit], published=True),
        Curve("five trained plates", widths, [contrast(depth) for depth in result["dips"]]),
        Curve("free space", widths, [contrast(depth) for depth in result["free_space"]]),
        Curve("resolved above", [widths[0], widths[-1]], [limit, limit]),
    ]
    return curves_figure("Bars imaged at unit magnification", "line width (mm)", "contrast", curves)


d2nn_imager = Table(
    "d2nn_imager",
    {
        "quick": Settings(Recipe(10, 8, 0.1, "cosine"), Data("fashion-mnist", 1_500, 100, 100), IMAGER.cut(100)),
        "paper": Settings(Recipe(10, 8, 0.1, "cosine"), Data("fashion-mnist", 1_500, 100, 100)),
    },
    _cells,
    _rows,
    _figure,
    "Trained on log(1 + e), e the square error of the intensity, its brightness fitted to each object: plates may "
    "throw light away to form a finer image; the images are enlarged fashion items and as many random bars at all "
    "angles, for want of ImageNet's. Resolved: three upright and three lying bars, their gaps nowhere brighter "
    "than 73.5 % of the darkest bar, at this and all larger widths tried, in whole pixels of 0.3 mm. Quick: the middle "
    "100 x 100 neurons at the published distances, objects of 47 x 47.",
)
