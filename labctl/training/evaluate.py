"""Plan `evaluate`: the weights of a run are deployed on the bench and tested there."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
from pydantic import Field

from labctl.bench import Bench
from labctl.errors import ConfigError
from labctl.plan import plan
from labctl.recorder import read_run, read_weights
from labctl.records import Budget, Changes, Record, Summary
from labctl.training.measure import BACKGROUND_SHOTS, BenchNetwork, setup_exposures
from labctl.training.network import NetworkShape
from labctl.training.scoring import bench_confusion, confusion_accuracy, model_confusion
from labctl.training.settings import ReadingSettings, bench_seconds, load_samples, photons
from labctl.training.threads import one_thread


class EvaluateSettings(ReadingSettings):
    """Settings of `evaluate`."""

    run: Path = Field(description="run folder whose weights are deployed")
    optical_depth: float | None = Field(
        default=None, ge=0, le=200, description="requested optical depth of the cell, the run's own by default"
    )


def _budget(bench: Bench, settings: EvaluateSettings) -> Budget:
    """Return what an evaluation will cost."""
    _, test, _ = load_samples(bench.file, settings)
    layers = len(bench.file.stages)
    exposures = {
        "setup": setup_exposures(layers),
        "background": 2 * settings.quadratures * layers * BACKGROUND_SHOTS,
        "evaluation": 2 * settings.quadratures * layers * len(test),
    }
    return Budget(
        exposures=exposures,
        photons=photons(bench.file, exposures),
        mask_writes=layers,
        bench_seconds=bench_seconds(bench, exposures, layers, _depth(settings)),
    )


@plan(EvaluateSettings, budget=_budget)
def evaluate(
    bench: Bench, settings: EvaluateSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Deploy the weights of a run on the bench and measure their test accuracy there."""
    _, test, source = load_samples(bench.file, settings)
    weights = run_weights(bench, settings.run)
    shape = NetworkShape(weights[0].shape[1], tuple(len(weight) for weight in weights[:-1]), len(weights[-1]))
    started_s = bench.clock.now_s()
    network = BenchNetwork(bench, shape, _depth(settings), quadratures=settings.quadratures)
    ideal = confusion_accuracy(model_confusion(network, weights, test))
    with one_thread():
        network.prepare()
        network.write_masks(weights)
        network.measure_background()
        message = f"weights of {settings.run} on bench {bench.file.name}; {bench.belief.describe()}"
        yield Record("setup", 0, bench.clock.now_s(), {"message": message})
        confusion = bench_confusion(network, test)
        measured = confusion_accuracy(confusion)
        for index, warning in enumerate(network.warnings):
            yield Record("warning", index, bench.clock.now_s(), {"message": warning})
        yield Record(
            "epoch", 0, bench.clock.now_s(), {"epoch": 0, "test_accuracy": measured, "confusion": confusion.tolist()}
        )
    return {
        "data": source,
        "test_accuracy": measured,
        "model_accuracy": ideal,
        **network.tally.spent(bench.clock.now_s() - started_s),
        "message": f"{measured:.2%} of {len(test)} test samples right on the bench, {ideal:.2%} in the model",
    }


def _depth(settings: EvaluateSettings) -> float:
    """Return the optical depth asked for, or the one the run was trained at."""
    if settings.optical_depth is not None:
        return settings.optical_depth
    return float(read_run(settings.run).get("settings", {}).get("optical_depth", 10.0))


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
