"""Plan `train_in_situ`: activations and back-propagated errors are measured on the bench, masks written from them."""

import numpy as np

from labctl.bench import Bench
from labctl.plan import Steps, plan
from labctl.records import Record
from labctl.training.loop import Training
from labctl.training.settings import InSituSettings, load_samples, training_budget


@plan(InSituSettings, budget=training_budget, resumable=True)
def train_in_situ(
    bench: Bench, settings: InSituSettings, rng: np.random.Generator, checkpoint: Record | None = None
) -> Steps:
    """Train a saturable-absorber network on the bench, by default by optical backpropagation."""
    train, test, source = load_samples(bench.file, settings)
    summary = yield from Training(bench, settings, settings.method, train, test, rng).run(checkpoint)
    return {"data": source, "method": settings.method, **summary}
