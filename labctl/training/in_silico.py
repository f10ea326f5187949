"""Plan `train_in_silico`: the same training in the calibrated model, without light."""

import numpy as np

from labctl.bench import Bench
from labctl.plan import Steps, plan
from labctl.records import Record
from labctl.training.loop import Training
from labctl.training.settings import TrainSettings, load_samples, model_budget


@plan(TrainSettings, budget=model_budget, resumable=True)
def train_in_silico(
    bench: Bench, settings: TrainSettings, rng: np.random.Generator, checkpoint: Record | None = None
) -> Steps:
    """Train the network in the calibrated model of the bench; no light is used."""
    train, test, source = load_samples(bench.file, settings)
    summary = yield from Training(bench, settings, "in_silico", train, test, rng).run(checkpoint)
    return {"data": source, "method": "in_silico", **summary}
