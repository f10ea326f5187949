"""Plan `evaluate`: the weights of a run are deployed on the bench and tested there."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
from pydantic import Field

from labctl.bench import Bench
from labctl.errors import ConfigError
from labctl.plan import plan
from labctl.recorder import read_weights
from labctl.records import Budget, Changes, Record, Summary
from labctl.training.loop import bench_accuracy, model_accuracy, one_thread, spent
from labctl.training.measure import BACKGROUND_SHOTS, REFERENCE_FRAMES, BenchNetwork
from labctl.training.network import NetworkShape
from labctl.training.settings import DataSettings, bench_seconds, load_samples, photons


class EvaluateSettings(DataSettings):
    """Settings of `evaluate`."""

    run: Path = Field(description="run folder whose weights are deployed")
    optical_depth: float = Field(default=10.0, ge=0, le=200, description="requested optical depth of the cell")


def _budget(bench: Bench, settings: EvaluateSettings) -> Budget:
    """Return what an evaluation will cost."""
    _, test, _ = load_samples(bench.file, settings)
    layers = len(bench.file.stages)
    exposures = {
        "setup": REFERENCE_FRAMES,
        "background": 2 * layers * BACKGROUND_SHOTS,
        "evaluation": 2 * layers * len(test),
    }
    return Budget(
        exposures=exposures,
        photons=photons(bench.file, exposures),
        mask_writes=layers,
        bench_seconds=bench_seconds(bench, exposures, layers, settings.optical_depth),
    )


@plan(EvaluateSettings, budget=_budget)
def evaluate(
    bench: Bench, settings: EvaluateSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Deploy the weights of a run on the bench and measure their test accuracy there."""
    _, test, source = load_samples(bench.file, settings)
    weights = run_weights(bench, settings.run)
    shape = NetworkShape(weights[0].shape[1], tuple(len(weight) for weight in weights[:-1]), len(weights[-1]))
    network = BenchNetwork(bench, shape, settings.optical_depth)
    ideal = model_accuracy(network, weights, test)
    with one_thread():
        network.prepare()
        network.write_masks(weights)
        network.measure_background()
        message = f"weights of {settings.run} on bench {bench.file.name}"
        yield Record("setup", 0, bench.clock.now_s(), {"message": message})
        measured = bench_accuracy(network, test)
        yield Record("epoch", 0, bench.clock.now_s(), {"epoch": 0, "test_accuracy": measured})
    return {
        "data": source,
        "test_accuracy": measured,
        "model_accuracy": ideal,
        **spent(network, bench.clock.now_s()),
        "message": f"{measured:.2%} of {len(test)} test samples right on the bench, {ideal:.2%} in the model",
    }


def run_weights(bench: Bench, run: Path) -> list[np.ndarray]:
    """Return the weights of a run in pump order of this bench.

    Raises:
        ConfigError: The run has no weights for one of the bench's panels.
    """
    named = read_weights(run)
    panels = [f"weights.{stage.multiply.device}" for stage in bench.file.stages]
    missing = [panel for panel in panels if panel not in named]
    if missing:
        raise ConfigError(
            f"run {run}: holds {', '.join(named)}, bench {bench.file.name} needs {', '.join(missing)} too"
        )
    return [named[panel] for panel in panels]
