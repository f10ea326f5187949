"""Plan `train_in_silico`: the same training in the calibrated model, without light."""

from collections.abc import Generator

import numpy as np

from labctl.bench import Bench
from labctl.plan import plan
from labctl.records import Changes, Record, Summary
from labctl.training.loop import Training
from labctl.training.settings import TrainSettings, load_samples, model_budget


@plan(TrainSettings, budget=model_budget)
def train_in_silico(
    bench: Bench, settings: TrainSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Train the network in the calibrated model of the bench; no light is used."""
    train, test, source = load_samples(bench.file, settings)
    summary = yield from Training(bench, settings, "in_silico", train, test, rng).run()
    return {"data": source, "method": "in_silico", **summary}
