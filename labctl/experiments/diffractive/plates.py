"""Trained plates: phase and amplitude of every neuron, how they are checked, kept in a file, appended and peeled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from labctl.errors import ConfigError
from labctl.files import replace_file

Floats = NDArray[np.float32]

MOST_PLATES = 10
"""Plates of the deepest network that was published (Lin et al. 2018, Fashion-MNIST)."""

PLATES_FILE = "plates.safetensors"
"""Name of a cell's trained plates in its folder."""


@dataclass(frozen=True, eq=False)
class Plates:
    """Plates of a network, in the order in which light meets them.

    Args:
        phase: Phase in rad of every neuron, shape (plates, rows, cols).
        pitch_m: Distance of neighbouring neurons.
        wavelength_m: That the phase is meant for.
        amplitude: Transmitted share of the amplitude, 0..1, same shape; None where all of it is.

    Raises:
        ConfigError: Shape, number of plates or values cannot be those of plates.
    """

    phase: Floats
    pitch_m: float
    wavelength_m: float
    amplitude: Floats | None = None

    def __post_init__(self) -> None:
        if self.phase.ndim != 3 or not 1 <= len(self.phase) <= MOST_PLATES or 0 in self.phase.shape:
            raise ConfigError(
                f"phases of shape {self.phase.shape}: plates are (plates, rows, cols) with 1 to {MOST_PLATES} plates; "
                "give one phase in rad for each neuron"
            )
        for name, values in self.values().items():
            _require(name, values, self.phase.shape)
        if self.amplitude is not None and not (self.amplitude.min() >= 0 and self.amplitude.max() <= 1):
            raise ConfigError("amplitudes of plates: a passive plate transmits 0 to 1; scale them")
        if not (self.pitch_m > 0 and self.wavelength_m > 0):
            raise ConfigError(
                f"plates with pitch {self.pitch_m:g} m and wavelength {self.wavelength_m:g} m: both must be above 0"
            )

    def __len__(self) -> int:
        return len(self.phase)

    def values(self) -> dict[str, Floats]:
        """Return the arrays by name: `phase`, and `amplitude` where the plates have one."""
        return {"phase": self.phase} | ({} if self.amplitude is None else {"amplitude": self.amplitude})

    def peeled(self, kept: int) -> "Plates":
        """Return the first `kept` plates."""
        amplitude = None if self.amplitude is None else self.amplitude[:kept]
        return Plates(self.phase[:kept], self.pitch_m, self.wavelength_m, amplitude)


def _require(name: str, values: Floats, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ConfigError(f"{name} of shape {values.shape} beside phases of shape {shape}: give both the same shape")
    bad = len(values) - int(np.isfinite(values).all(axis=(1, 2)).sum())
    if bad:
        first = int(np.argmin(np.isfinite(values).all(axis=(1, 2)))) + 1
        raise ConfigError(
            f"{name} of plate {first} holds NaN or infinity ({bad} of {len(values)} plates do): "
            "take the last checkpoint before the training diverged, or lower its learning rate"
        )


def write_plates(plates: Plates, path: Path) -> None:
    """Write plates as safetensors, pitch and wavelength beside them; the file is whole or not there."""
    about = {"pitch_m": plates.pitch_m, "wavelength_m": plates.wavelength_m}
    replace_file(path, safetensors.numpy.save(plates.values(), {"plates": json.dumps(about)}))


def read_plates(path: Path) -> Plates:
    """Return the plates in a file that `write_plates` wrote.

    Raises:
        ConfigError: It cannot be read, or holds no plates.
    """
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            about = (file.metadata() or {}).get("plates")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: cannot be read as safetensors ({error}); name a file of trained plates") from error
    if about is None or "phase" not in arrays:
        raise ConfigError(
            f"{path}: holds no plates: a tensor `phase` (plates, rows, cols) in rad and metadata `plates` with pitch_m "
            "and wavelength_m are needed; write them with labctl.experiments.diffractive.plates.write_plates"
        )
    return _plates(path, arrays, json.loads(about))


def _plates(path: Path, arrays: Mapping[str, Floats], about: Mapping[str, float]) -> Plates:
    try:
        return Plates(arrays["phase"], about["pitch_m"], about["wavelength_m"], arrays.get("amplitude"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
