"""Plan `train_in_situ`: activations and back-propagated errors are measured on the bench, masks written from them."""

from collections.abc import Generator

import numpy as np

from labctl.bench import Bench
from labctl.plan import plan
from labctl.records import Changes, Record, Summary
from labctl.training.loop import Training
from labctl.training.settings import InSituSettings, load_samples, training_budget


@plan(InSituSettings, budget=training_budget)
def train_in_situ(
    bench: Bench, settings: InSituSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Train a saturable-absorber network on the bench, by default by optical backpropagation."""
    train, test, source = load_samples(bench.file, settings)
    summary = yield from Training(bench, settings, settings.method, train, test, rng).run()
    return {"data": source, "method": settings.method, **summary}
