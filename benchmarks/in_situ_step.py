"""One simulated in-situ step against plain torch on the same network and batch: `python benchmarks/in_situ_step.py`.

784-128-10, batch 64, one thread, recorder on, no agreement check; both are run in turn, medians are printed.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from labctl.bench import Bench, load_bench
from labctl.recorder import Recorder
from labctl.training.in_situ import InSituSettings, train_in_situ
from labctl.training.network import Absorption, forward, half_square_loss
from labctl.training.settings import load_samples

ROUNDS = 12
STEPS_PER_ROUND = 10
BATCH = 64


def plain_torch(inputs: torch.Tensor, targets: torch.Tensor) -> Callable[[], None]:
    """Return one step of autograd and Adam on the same network and batch."""
    weights = [torch.randn(128, 784) * 0.1, torch.randn(10, 128) * 0.1]
    for weight in weights:
        weight.requires_grad_()
    optimiser = torch.optim.Adam(weights, lr=2e-3)
    absorption = Absorption("published", 10.0)

    def step() -> None:
        optimiser.zero_grad()
        _, activations = forward(weights, inputs, absorption)
        half_square_loss(activations[-1], targets).backward()
        optimiser.step()

    return step


def in_situ(bench: Bench, settings: InSituSettings, recorder: Recorder) -> Iterator[None]:
    """Take one step of the plan at each turn, its records written."""
    for record in train_in_situ(bench, settings, np.random.default_rng(0)):
        recorder(record)
        if record.kind == "step":
            yield


def seconds(action: Callable[[], object]) -> float:
    """Return the mean time of one call over a round."""
    start = time.perf_counter()
    for _ in range(STEPS_PER_ROUND):
        action()
    return (time.perf_counter() - start) / STEPS_PER_ROUND


def main() -> None:
    """Print both medians and their ratio."""
    torch.set_num_threads(1)
    settings = InSituSettings(data="sample", epochs=50, agreement_every=10**6)
    samples, _, _ = load_samples(load_bench("vapour_cell"), settings)
    inputs, targets = (torch.from_numpy(part) for part in samples.batch(slice(0, BATCH)))
    peer = plain_torch(inputs, targets)
    with tempfile.TemporaryDirectory() as folder, Bench(load_bench("vapour_cell"), simulate=True) as bench:
        recorder = Recorder(Path(folder), "in_situ_step", {})
        ours = in_situ(bench, settings, recorder)
        next(ours)
        times = [(seconds(lambda: next(ours)), seconds(peer)) for _ in range(ROUNDS // 2)]
        recorder.finish("stopped")
    step, plain = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    sys.stdout.write(f"in-situ step {step:.2f} ms, plain torch {plain:.2f} ms, ratio {step / plain:.2f} (bar 5)\n")


if __name__ == "__main__":
    main()
