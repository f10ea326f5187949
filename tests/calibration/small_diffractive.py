"""The small bench of masks in free space, what a plan measures on it, and what its gradients are worth then."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labctl.bench import Bench, load_bench
from labctl.experiments.diffractive.in_situ.fields import BenchFields
from labctl.experiments.diffractive.in_situ.gradient import mask_gradient
from labctl.ledger import Fit
from labctl.optics.parameters import Values
from labctl.plan import Plan, parse_settings
from sim_backends.truth import draw_truth

BENCH = Path(__file__).parents[1] / "benches" / "small_diffractive.yaml"
QUIET = {"simulation.noise_scale": 0}
IDEAL = {**QUIET, "simulation.imperfections": False}


def measured(plan: Plan[Any], changes: Mapping[str, Any], seed: int = 1, **settings: Any) -> dict[str, Any]:
    """Return what a plan measures, and hold its budget to it."""
    with Bench(load_bench(BENCH, changes), True, seed=seed, truth_seed=seed) as bench:
        parsed = parse_settings(plan, settings)
        records = list(plan(bench, parsed, np.random.default_rng(seed)))
        budget = plan.budget(bench, parsed)
        assert sum(1 for record in records if record.kind == "step") == budget.steps
        assert bench.clock.now_s() == pytest.approx(budget.bench_seconds, rel=0.05)
        return {**records[-1].values, **records[-1].arrays}


def truth_of(changes: Mapping[str, Any], seed: int) -> Values:
    """Return what is hidden in the twins."""
    return draw_truth(load_bench(BENCH, changes).parameters(), seed, 1.0).values


def outside(fit: Fit, truth: Values) -> list[str]:
    """Return the parameters whose 95 % interval does not hold the truth."""
    pairs = {name: (one, truth[name]) for name, one in fit.parameters.items()}
    return [name for name, (one, true) in pairs.items() if not one.interval[0] <= true <= one.interval[1]]


def noise_like(images: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return noise in the shape of images."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal(images.shape) + 1j * rng.standard_normal(images.shape)).astype(np.complex64)


def spread(intensity: torch.Tensor) -> torch.Tensor:
    """Return a loss with slopes of both signs: light on the left less light on the right, squared."""
    left, right = intensity[..., :16].sum(dim=(1, 2)), intensity[..., 16:].sum(dim=(1, 2))
    return ((left - 0.5 * right) / (left + right).detach()).square().mean()


def cosines(bench: Bench, believed: Values, largest_phase_rad: float = 3.0) -> list[float]:
    """Return the cosines of each mask's gradient, measured believing some values, to that in the twin's own light."""
    fields, generator = BenchFields(bench, believed), torch.Generator().manual_seed(5)
    fields.write_masks([largest_phase_rad * torch.rand(fields.grid.shape, generator=generator) for _ in fields.phases])
    objects = torch.zeros(4, *fields.grid.shape, dtype=torch.complex64)
    grey = torch.rand(4, 7, 7, generator=generator)
    objects[:, 9:23, 9:23] = 0.2 * grey.repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = mask_gradient(fields, "optical", objects, spread).masks
    light: Any = vars(bench)["_light"]
    phases = [phase.clone().requires_grad_() for phase in fields.phases]
    sent = fields.as_sent(objects) * vars(light)["_profiles"]["dmd_input"]
    masks = [panel.transmission(phase) for panel, phase in zip(light.planes.panels, phases, strict=True)]
    output = light.planes.forward(sent, masks)[-1]
    true = torch.autograd.grad(spread(output.real**2 + output.imag**2), phases)
    return [torch.cosine_similarity(a.ravel(), b.ravel(), 0).item() for a, b in zip(found, true, strict=True)]
