import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError, RunAborted
from labctl.experiments.deployment import Comparison
from labctl.experiments.diffractive.in_situ.deployment_gap import Settings, compare
from labctl.experiments.diffractive.in_situ.fields import BenchFields
from labctl.experiments.diffractive.in_situ.gradient import mask_gradient
from labctl.experiments.diffractive.in_situ.plan import train_masks
from labctl.experiments.diffractive.in_situ.reduced import reduced_bench
from labctl.plan import parse_settings
from labctl.records import Record

BENCH = Path(__file__).parents[2] / "benches" / "small_diffractive.yaml"
QUIET = {"simulation.noise_scale": 0}
IDEAL = {**QUIET, "simulation.imperfections": False}
TINY = {"data": "sample", "train_samples": 48, "test_samples": 20, "epochs": 2, "agreement_every": 3}


def one_mask() -> dict[str, Any]:
    """Return the overrides that leave one mask of the small bench."""
    light = yaml.safe_load(BENCH.read_text(encoding="utf-8"))["light"]
    return {"light": copy.deepcopy([*light[:3], *light[-2:]])}


def batch(fields: BenchFields, n: int = 4) -> torch.Tensor:
    rows, columns = fields.grid.shape
    objects = torch.zeros(n, rows, columns)
    grey = torch.rand(n, 7, 7, generator=torch.Generator().manual_seed(3))
    objects[:, 9:23, 9:23] = 0.2 * grey.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return torch.complex(objects, torch.zeros_like(objects))


def random_masks(fields: BenchFields) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [3 * torch.rand(fields.grid.shape, generator=generator) for _ in fields.phases]


def spread(intensity: torch.Tensor) -> torch.Tensor:
    """Return a loss with slopes of both signs: light on the left less light on the right, squared."""
    left, right = intensity[..., :16].sum(dim=(1, 2)), intensity[..., 16:].sum(dim=(1, 2))
    return ((left - 0.5 * right) / (left + right).detach()).square().mean()


def true_gradient(bench: Bench, fields: BenchFields, objects: torch.Tensor) -> list[torch.Tensor]:
    """Return the gradient in the twin's own light, by automatic differentiation."""
    light: Any = vars(bench)["_light"]
    phases = [phase.clone().requires_grad_() for phase in fields.phases]
    sent = fields.as_sent(objects) * vars(light)["_profiles"]["dmd_input"]
    masks = [panel.transmission(phase) for panel, phase in zip(light.planes.panels, phases, strict=True)]
    output = light.planes.forward(sent, masks)[-1]
    return list(torch.autograd.grad(spread(output.real**2 + output.imag**2), phases))


def cosines(overrides: Mapping[str, Any], method: Any = "optical") -> list[float]:
    with Bench(load_bench(BENCH, overrides), True) as bench:
        fields = BenchFields(bench)
        fields.write_masks(random_masks(fields))
        objects = batch(fields)
        found = mask_gradient(fields, method, objects, spread)
        true = true_gradient(bench, fields, objects)
        return [torch.cosine_similarity(a.ravel(), b.ravel(), 0).item() for a, b in zip(found.masks, true, strict=True)]


@pytest.mark.parametrize("masks", [1, 3])
@pytest.mark.parametrize("method", ["optical", "physics_aware", "in_silico"])
def test_an_ideal_bench_measures_the_gradient(masks: int, method: str):
    found = cosines({**IDEAL, **(one_mask() if masks == 1 else {})}, method)
    assert len(found) == masks
    assert min(found) > 0.9999


def test_noise_leaves_most_of_the_gradient():
    assert min(cosines({"simulation.imperfections": False})) > 0.95


def test_sums_of_both_fields_are_those_at_the_output():
    with Bench(load_bench(BENCH, IDEAL), True) as bench:
        fields = BenchFields(bench)
        fields.write_masks(random_masks(fields))
        forward = fields.forward(batch(fields))
        power = forward.output.abs().square().sum(dim=(1, 2))
        for m, u in zip(fields.backward(forward.output.conj()), forward.masks, strict=True):
            found = (m * u).sum(dim=(1, 2))
            torch.testing.assert_close(found.real, power, rtol=0.01, atol=0)
            assert float((found.imag.abs() / power).max()) < 0.01


def test_taps_that_are_not_registered_are_found_out():
    aside = {f"light.{k}.mask.backward.shift_y": {"value": 6, "sd": 0, "source": "wrong"} for k in (2, 4, 6)}
    with Bench(load_bench(BENCH, {**IDEAL, **aside}), True) as bench:
        fields = BenchFields(bench)
        fields.write_masks(random_masks(fields))
        vars(bench)["_light"].truth.values.update({f"camera_backward_{k}.shift_y": 0.0 for k in (1, 2, 3)})
        with pytest.raises(RunAborted, match="tap_registration"):
            mask_gradient(fields, "optical", batch(fields), spread)


def run(settings: Mapping[str, Any], checkpoint: Record | None = None, noise: float = 1.0) -> tuple[list[Record], Any]:
    parsed = parse_settings(train_masks, {**TINY, **settings})
    with Bench(load_bench(BENCH, {"simulation.imperfections": False, "simulation.noise_scale": noise}), True) as bench:
        steps = train_masks(bench, parsed, np.random.default_rng(0), checkpoint)
        records = []
        while True:
            try:
                records.append(next(steps))
            except StopIteration as end:
                summary, budget = end.value, train_masks.budget(bench, parsed)
                break
        assert summary["exposures"] == budget.total_exposures
        return records, summary


def test_a_training_falls_and_keeps_its_budget():
    records, summary = run({"train_samples": 160}, noise=0.3)
    losses = [record.values["loss"] for record in records if record.kind == "epoch"]
    assert losses[-1] < losses[0]
    assert min(row["cosine"] for row in summary["gradient_agreement"]) > 0.8
    kinds = [record.kind for record in records]
    assert kinds[0] == "setup"
    assert kinds[-1] == "weights"


def test_the_model_trains_without_light():
    records, summary = run({"method": "in_silico"})
    assert summary["exposures"] == 0
    assert [record.kind for record in records].count("epoch") == 2


def test_a_training_goes_on_where_a_checkpoint_was_made():
    records, whole = run({"checkpoint_every": 2})
    checkpoint = next(record for record in records if record.kind == "checkpoint")
    rest, summary = run({"checkpoint_every": 2}, checkpoint)
    assert summary["test_accuracies"] == whole["test_accuracies"]
    for name, mask in records[-1].arrays.items():
        np.testing.assert_array_equal(rest[-1].arrays[name], mask)


def test_a_bench_of_slit_multipliers_has_no_masks():
    with (
        Bench(load_bench("vapour_cell"), True) as bench,
        pytest.raises(ConfigError, match=r"free space.*diffractive"),
    ):
        BenchFields(bench)


@pytest.mark.parametrize(("mask", "said"), [(np.zeros((8, 8)), "32, 32"), (np.full((32, 32), np.nan), "finite")])
def test_masks_that_do_not_fit_are_refused_before_anything_is_opened(
    mask: np.ndarray, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    named = {f"phase.slm_{k}": mask for k in (1, 2, 3)}
    monkeypatch.setattr("labctl.experiments.diffractive.in_situ.settings.read_weights", lambda _: named)
    settings = parse_settings(train_masks, {"data": "sample", "start": str(tmp_path)})
    with pytest.raises(ConfigError, match=said):
        train_masks.budget(Bench(load_bench(BENCH), True), settings)


def test_a_reduced_bench_is_as_connected_and_as_bright():
    whole, small = load_bench("diffractive"), load_bench("diffractive", reduced_bench("diffractive", 64))
    assert small.path.samples == (64, 64)
    assert small.path.hops[0].distance.value == pytest.approx(whole.path.hops[0].distance.value / 4)
    beam = whole.path.source.beam
    assert small.settings(beam).power_w == pytest.approx(whole.settings(beam).power_w / 16)
    with pytest.raises(ConfigError, match="give 1 to 256"):
        reduced_bench("diffractive", 300)


def test_masks_from_the_model_are_tested_on_the_bench_and_trained_further_there(tmp_path: Path):
    small = {"data": "sample", "train_samples": 48, "test_samples": 20, "side": 32, "bench": str(BENCH)}
    found = compare(Comparison(Settings(**small), 1.0, 1, 0), tmp_path)
    assert set(found) == {"ideal", "deployed", "in_situ", "further"}
    runs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*/*/run.yaml")]
    assert sum("tap_registration" in str(run.get("calibrations")) for run in runs) >= 2
