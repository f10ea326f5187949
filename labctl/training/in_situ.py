"""Plan `train_in_situ`: activations and back-propagated errors are measured on the bench, masks written from them."""

from typing import Literal

import numpy as np
from pydantic import Field

from labctl.bench import Bench
from labctl.plan import Steps, plan
from labctl.records import Record
from labctl.training.loop import Training
from labctl.training.settings import TrainSettings, load_samples, training_budget


class InSituSettings(TrainSettings):
    """Settings of `train_in_situ`."""

    method: Literal["optical", "optical_corrected"] = Field(
        default="optical", description="probe transmission as derivative, or with the exact factor from measurements"
    )


@plan(InSituSettings, budget=training_budget, resumable=True)
def train_in_situ(
    bench: Bench, settings: InSituSettings, rng: np.random.Generator, checkpoint: Record | None = None
) -> Steps:
    """Train a saturable-absorber network on the bench by optical backpropagation."""
    train, test, source = load_samples(bench.file, settings)
    summary = yield from Training(bench, settings, settings.method, train, test, rng).run(checkpoint)
    return {"data": source, "method": settings.method, **summary}
