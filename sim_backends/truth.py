"""The hidden truth of a simulated bench: drawn from its truth seed, seen by twins only.

`python -m sim_backends.truth BENCH --truth-seed N --json` prints one, for tests.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from labctl.devices import (
    BeamSettings,
    CameraSettings,
    CellSettings,
    DMDSettings,
    PowerMeterSettings,
    SLMSettings,
    StageSettings,
    twin_serial,
)
from labctl.documents import Document, StrictModel, read_bench_document
from labctl.errors import ConfigError
from labctl.optics.layout import Layout
from labctl.optics.parameters import Parameter


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one named draw, so that adding a draw never moves another."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Truth:
    """One draw of the hidden truth.

    Args:
        seed: Truth seed.
        values: Scalar parameters by name, as in `Layout.parameters`; those that vary over modes or weights are
            drawn by `modes`, `smooth_profile` and `aberration` and keep their nominal value here.
        scale: Factor on every deviation, 0 for a bench without imperfections.
    """

    seed: int
    values: Mapping[str, float]
    scale: float

    @property
    def serial(self) -> str:
        """What stands in as the twins' serial number."""
        return twin_serial(self.seed, self.scale)

    def modes(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return unit normal draws of `shape` under `name`, the same at each call."""
        return stream(self.seed, name).standard_normal(shape)

    def smooth_profile(self, name: str, count: int) -> np.ndarray:
        """Return a smooth draw over `count` modes with mean 0 and rms 1 (a few low polynomial orders)."""
        x = np.linspace(-1, 1, count)
        profile = sum(c * np.polynomial.legendre.Legendre.basis(k + 1)(x) for k, c in enumerate(self.modes(name, (4,))))
        return np.asarray(profile) / np.sqrt(np.mean(np.square(profile)))

    def aberration(self, name: str, shape: tuple[int, int], used: tuple[float, float]) -> np.ndarray:
        """Return a smooth wavefront over a panel's weights in waves, rms 1 over the whole panel.

        Cosines of up to four half periods in both directions; they have no piston and, unlike polynomials, are not
        steeper at the edges than elsewhere.

        Args:
            name: Name of the draw.
            shape: Weights (rows, columns).
            used: Share of the panel's height and width that they cover, centred.
        """
        y, x = (0.5 + part * np.linspace(-0.5, 0.5, count) for count, part in zip(shape, used, strict=True))
        draws = self.modes(name, (5, 5))
        orders = [(i, j) for i in range(5) for j in range(5) if 0 < i + j <= 4]
        variance = sum(draws[i, j] ** 2 / ((1 + (i > 0)) * (1 + (j > 0))) for i, j in orders)
        surface = sum(draws[i, j] * np.outer(np.cos(np.pi * i * y), np.cos(np.pi * j * x)) for i, j in orders)
        return np.asarray(surface) / np.sqrt(variance)


VARYING = ("weight_error", "aberration", "phase")
"""Parameters drawn per weight or mode; their scalar value stays nominal and their sd is the draw's rms."""


def draw_truth(parameters: Mapping[str, Parameter], seed: int, scale: float) -> Truth:
    """Return the truth of `seed`: value + scale * sd * normal for every scalar parameter.

    A quantity that is positive by nature stays above a twentieth of its value.
    """
    values = {}
    for name, parameter in parameters.items():
        value = parameter.value
        if name.rpartition(".")[2] not in VARYING:
            value += scale * parameter.sd * float(stream(seed, name).standard_normal())
            value = max(value, parameter.value / 20) if parameter.value > 0 else value
        values[name] = value
    return Truth(seed, values, scale)


def layout_of(data: Mapping[str, object]) -> dict[str, object]:
    """Return the part of a bench document that `Layout` reads."""
    keys = [field.alias or name for name, field in Layout.model_fields.items()]
    return {key: data[key] for key in keys if key in data}


_SETTINGS: dict[str, type[StrictModel]] = {
    "slm": SLMSettings,
    "dmd": DMDSettings,
    "camera": CameraSettings,
    "stage": StageSettings,
    "beam": BeamSettings,
    "cell": CellSettings,
    "power_meter": PowerMeterSettings,
}


def _reference_phases(layout: Layout, document: Document, truth: Truth) -> dict[str, list[float]]:
    from sim_backends.noise import load_noise_set
    from sim_backends.reference_phases import true_reference_phases  # it needs Truth from here

    simulation = document.data.get("simulation", {})
    terms = load_noise_set(simulation.get("noise", "reference"), simulation.get("terms", {}))
    settings = {
        name: document.validate(_SETTINGS[entry["kind"]], entry["settings"], ("devices", name, "settings"))
        for name, entry in document.data["devices"].items()
    }
    phases = true_reference_phases(layout, truth, terms.scaled(0.0, truth.scale), settings)
    return {camera: one.tolist() for camera, one in phases.items()}


def _rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def main(arguments: list[str] | None = None) -> None:
    """Print the truth of a bench and seed."""
    parser = argparse.ArgumentParser(prog="python -m sim_backends.truth", description=__doc__)
    parser.add_argument("bench", help="shipped name or path")
    parser.add_argument("--truth-seed", type=int, default=None)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    document = read_bench_document(options.bench)
    layout = document.validate(Layout, layout_of(document.data))
    simulation = document.data.get("simulation", {})
    seed = options.truth_seed if options.truth_seed is not None else simulation.get("truth_seed", 1)
    scale = simulation.get("imperfection_scale", 1.0) if simulation.get("imperfections", True) else 0.0
    truth = draw_truth(layout.parameters(), seed, scale)
    phases = {} if layout.in_free_space else _reference_phases(layout, document, truth)
    found = {"bench": options.bench, "truth_seed": seed, "serial": truth.serial, "values": dict(truth.values)}
    lines = [json.dumps({**found, "reference_phases": phases})]
    if not options.json:
        lines = [f"{name:35} {value:.6g}" for name, value in truth.values.items()]
        lines += [f"{camera + '.reference_phase':35} {_rms(one):.3g} rad rms over {len(one)} modes"
                  for camera, one in phases.items()]  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main()
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
