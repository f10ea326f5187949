"""Presets: named states of the light, each saying which beams are on, with what power, and what each panel shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.bench.schema import BenchFile
from labctl.devices import Pattern, SLMSettings, identity_codebook
from labctl.documents import nearest
from labctl.errors import ConfigError, LimitError
from labctl.units import POWER

IMAGE_FILES = (".npy", ".png", ".bmp", ".tif", ".tiff")
"""Endings of files that hold an image for a panel."""

Written = Mapping[str, Mapping[str, Any]]
"""Presets as they are written: device to power or image, by name of the preset."""


@dataclass(frozen=True)
class Preset:
    """A state of the light.

    Args:
        powers_w: Power of every beam that is on; all others are off.
        images: Panel levels (rows, cols) by panel; panels not named keep what they show.
    """

    powers_w: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint16]] = field(default_factory=dict)


def read_presets(file: BenchFile, written: Written) -> dict[str, Preset]:
    """Return the presets that `written` describes on the bench of `file`.

    A beam is given its power with its unit, or `on` for the bench file's; a panel one level, rows of levels, or the
    path of an image file. `{low: {pump: 0.5 mW}, high: {pump: on, slm: grating.png}}` are two presets.

    Raises:
        ConfigError: A device is no beam or panel of the bench, or a value is none it can take.
        LimitError: A power above a beam's ceiling.
    """
    return {name: _preset(file, name, devices) for name, devices in written.items()}


def plain_pattern(image: NDArray[np.uint16], bit_depth: int) -> Pattern:
    """Return panel levels (rows, cols) as the pattern that shows just these."""
    return Pattern(image.astype(np.uint16), identity_codebook(bit_depth))


def panel_image(panel: str, settings: SLMSettings, value: Any) -> NDArray[np.uint16]:
    """Return the levels (rows, cols) that `value` asks a panel for.

    Args:
        panel: Name in the bench file.
        settings: Its shape and bit depth.
        value: One level for all pixels, rows of levels, or the path of an image file (.npy, .png, .bmp, .tif).

    Raises:
        ConfigError: It is none of these, of another shape, or has levels the panel has not.
    """
    levels = _levels(panel, value)
    top = 2**settings.bit_depth - 1
    if levels.ndim == 0:
        levels = np.full(settings.shape, levels)
    if levels.shape != settings.shape:
        raise ConfigError(f"{panel}: an image of {levels.shape} pixels was given, the panel has {settings.shape}")
    if levels.dtype.kind not in "iub" or levels.min() < 0 or levels.max() > top:
        raise ConfigError(f"{panel}: an image holds {levels.dtype} from {levels.min()} to {levels.max()}; "
                          f"whole levels from 0 to {top} are allowed")  # fmt: skip
    return levels.astype(np.uint16)


def _levels(panel: str, value: Any) -> NDArray[Any]:
    if not isinstance(value, str):
        try:
            return np.asarray(value)
        except ValueError as error:
            raise ConfigError(f"{panel}: rows of an image differ in length; give as many levels in each") from error
    path = Path(value)
    if path.suffix.lower() not in IMAGE_FILES:
        kinds = ", ".join(IMAGE_FILES)
        raise ConfigError(f"{panel}: {value!r} is no image; give a level, rows of levels, or a file of {kinds}")
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        from PIL import Image  # slow to import, and only files need it

        with Image.open(path) as image:
            return np.asarray(image)
    except (OSError, EOFError, ValueError) as error:
        raise ConfigError(f"{panel}: {path}: cannot be read as an image: {error}") from error


def _preset(file: BenchFile, preset: str, devices: Mapping[str, Any]) -> Preset:
    powers_w, images = {}, {}
    for device, value in devices.items():
        entry = file.devices.get(device)
        kind = entry.kind if entry else None
        if kind == "beam":
            powers_w[device] = _power_w(file, preset, device, value)
        elif kind == "slm":
            images[device] = panel_image(device, file.settings(device), value)
        else:
            usable = [name for name, one in file.devices.items() if one.kind in ("beam", "slm")]
            raise ConfigError(f"preset {preset}: no beam or panel '{device}' on {file.name}{nearest(device, usable)}")
    return Preset(powers_w, images)


def _power_w(file: BenchFile, preset: str, beam: str, value: Any) -> float:
    settings = file.settings(beam)
    if value is True or value == "on":  # YAML reads `on` as true, JSON and Python do not
        return settings.power_w
    try:
        power_w = POWER.parse(value)
    except ValueError as error:
        raise ConfigError(f"preset {preset}: {beam}: {error}, or `on` for the bench file's power") from error
    if not 0 <= power_w <= settings.max_power_w:
        raise LimitError(
            beam, f"preset {preset}: power {power_w:g} W was asked for, allowed is 0 to {settings.max_power_w:g} W"
        )
    return power_w
