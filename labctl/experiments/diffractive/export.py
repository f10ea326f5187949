"""Trained plates as files to print or to show: STL bodies, height maps as CSV or 16-bit PNG, levels of a panel."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labctl.errors import ConfigError
from labctl.experiments.diffractive.levels import ideal_response, nearest_levels
from labctl.experiments.diffractive.plates import Plates
from labctl.experiments.diffractive.relief import VERO_BLACK_PLUS, heights_m, relief, write_stl

WHITE = 65_535
"""Grey value of a PNG that stands for the height of one wavelength of phase."""


class Format(StrEnum):
    """What plates can be exported as."""

    STL = "stl"
    CSV = "csv"
    PNG = "png"
    LEVELS = "levels"


@dataclass(frozen=True, eq=False)
class Printed:
    """What a plate is made of, or shown on.

    Args:
        index: Refractive index of the material, > 1.
        base_m: Thickness under the lowest neuron, > 0.
        response: Phase in rad of every level of a panel.
    """

    index: float = VERO_BLACK_PLUS
    base_m: float = 0.5e-3
    response: NDArray[np.floating] | None = None


def export_plates(plates: Plates, folder: Path, form: Format, printed: Printed) -> list[Path]:
    """Write one file per plate and `plates.json`, which says what their numbers mean; return the files of the plates.

    Args:
        plates: Plates of phase only.
        folder: Where to write, made where it is missing.
        form: What to write.
        printed: Material, base, or panel.

    Raises:
        ConfigError: The plates change amplitude, too, or index or base cannot be.
    """
    if plates.amplitude is not None:
        raise ConfigError("plates that change amplitude cannot be printed as heights; train plates of phase only")
    heights = heights_m(plates.phase, plates.wavelength_m, printed.index)
    response = ideal_response() if printed.response is None else printed.response
    suffix = "png" if form is Format.LEVELS else form.value
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"plate_{number}.{suffix}" for number in range(1, len(plates) + 1)]
    for path, phase, height in zip(files, plates.phase, heights, strict=True):
        if form is Format.STL:
            body = relief(1e3 * height, 1e3 * plates.pitch_m, 1e3 * printed.base_m)
            write_stl(body, path, f"{path.stem}: millimetres, {height.shape[0]}x{height.shape[1]} neurons")
        elif form is Format.CSV:
            np.savetxt(path, 1e3 * (printed.base_m + height), "%.6f", delimiter=",")
        elif form is Format.PNG:
            grey = np.round(height * WHITE * (printed.index - 1) / plates.wavelength_m).astype(np.uint16)
            Image.fromarray(grey).save(path)
        else:
            Image.fromarray(nearest_levels(phase, response)).save(path)
    about = {"files": [path.name for path in files], **_about(plates, form, printed, len(response))}
    (folder / "plates.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    return files


def _about(plates: Plates, form: Format, printed: Printed, levels: int) -> dict[str, str | float | int]:
    about = {"wavelength_m": plates.wavelength_m, "pitch_m": plates.pitch_m}
    if form is Format.LEVELS:
        return {**about, "levels": levels, "response": "ideal" if printed.response is None else "measured"}
    full_m = plates.wavelength_m / (printed.index - 1)
    made = {**about, "index": printed.index, "base_m": printed.base_m, "height_of_one_wavelength_m": full_m}
    meanings = {
        Format.STL: "millimetres, flat side at z = 0",
        Format.CSV: "thickness in millimetres, base included, one row of neurons a line",
        Format.PNG: f"height over the base: grey / {WHITE} of height_of_one_wavelength_m",
    }
    return {**made, "meaning": meanings[form]}
