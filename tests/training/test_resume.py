"""A training goes on from any of its checkpoints as if nothing had happened, and on a table only if it is the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError, RunAborted
from labctl.experiments.snap import snap
from labctl.plan import Plan, parse_settings
from labctl.records import Record
from labctl.runner import Runner
from labctl.training.in_silico import train_in_silico
from labctl.training.in_situ import train_in_situ

SETTINGS: dict[str, Any] = {
    **{"data": "sample", "hidden": [8], "train_samples": 64, "test_samples": 16, "epochs": 2, "batch_size": 16},
    **{"agreement_every": 3, "initial_sd": 0.5, "optical_depth": 4, "learning_rate": 0.03, "checkpoint_every": 3},
}


def train(
    small: Path,
    checkpoint: Record | None = None,
    *,
    plan: Plan[Any] = train_in_situ,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Record]:
    """Return all records of a training on the small bench, from its beginning or from a checkpoint."""
    file, asked = load_bench(small, overrides or {}), parse_settings(plan, {**SETTINGS, **(settings or {})})
    with Bench(file, True, **options) as bench:
        return list(plan(bench, asked, np.random.default_rng(0), checkpoint))


def checkpoints(records: list[Record]) -> list[int]:
    return [place for place, record in enumerate(records) if record.kind == "checkpoint"]


def told(record: Record) -> tuple[Any, ...]:
    """Return a record as something that can be compared to the last bit."""
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in record.arrays.items()}
    return record.kind, record.index, record.bench_time_s, repr(record.values), arrays


@pytest.mark.parametrize("plan", [train_in_situ, train_in_silico])
def test_from_a_checkpoint_it_goes_on_bit_for_bit(small_bench_file: Path, plan: Plan[Any]):
    whole = train(small_bench_file, plan=plan)
    places = checkpoints(whole)
    steps = [sum(record.kind == "step" for record in whole[:place]) for place in places]
    assert steps == [0, 3, 4, 6, 8]
    for place in (places[0], places[3], places[4]):  # set up, in the middle of an epoch, at the end
        rest = train(small_bench_file, whole[place], plan=plan)
        assert [told(record) for record in rest] == [told(record) for record in whole[place + 1 :]]


def test_a_stopped_training_saves_itself_and_goes_on_as_if_it_had_not_been_stopped(small_bench_file: Path):
    whole, seen = train(small_bench_file), list[Record]()
    with Bench(load_bench(small_bench_file), True) as bench:

        def stop_at_the_first_agreement(record: Record) -> None:
            seen.append(record)
            if record.kind == "agreement":
                runner.stop()

        settings, rng = parse_settings(train_in_situ, SETTINGS), np.random.default_rng(0)
        runner = Runner(train_in_situ, bench, settings, rng, [stop_at_the_first_agreement])
        assert runner.run().status == "stopped"
    *before, last, weights = seen
    assert (before[-1].kind, last.kind, weights.kind) == ("step", "checkpoint", "weights")
    assert weights.arrays.keys() == whole[-1].arrays.keys()
    rest = [*before, *train(small_bench_file, last)]
    history = [told(record) for record in whole if record.kind != "checkpoint"]
    assert [told(record) for record in rest if record.kind != "checkpoint"] == history


def test_a_change_is_saved_at_once_and_kept(small_bench_file: Path):
    settings = parse_settings(train_in_situ, {**SETTINGS, "checkpoint_every": 1000})
    seen: list[Record] = []
    with Bench(load_bench(small_bench_file), True) as bench:

        def change_after_the_first_step(record: Record) -> None:
            seen.append(record)
            if record.kind == "step" and record.index == 0:
                runner.change(learning_rate=0.3)

        runner = Runner(train_in_situ, bench, settings, np.random.default_rng(0), [change_after_the_first_step])
        assert runner.run().status == "completed"
    place = checkpoints(seen)[1]
    assert [record.kind for record in seen[place - 2 : place]] == ["step", "change"]
    rest = train(small_bench_file, seen[place], settings={"checkpoint_every": 1000, "learning_rate": 0.3})
    assert [told(record) for record in rest] == [told(record) for record in seen[place + 1 :]]


def test_other_samples_are_refused(small_bench_file: Path):
    whole = train(small_bench_file)
    with pytest.raises(RunAborted, match=r"samples are not those.*LABCTL_DATA"):
        train(small_bench_file, whole[checkpoints(whole)[2]], settings={"train_samples": 63})


def test_a_plan_without_checkpoints_cannot_be_resumed():
    settings, rng = parse_settings(snap, {"camera": "camera_output"}), np.random.default_rng(0)
    with pytest.raises(ConfigError, match="snap: this plan keeps no checkpoints and cannot be resumed"):
        snap(None, settings, rng, Record("checkpoint", 0, 0.0))


# ---- a table: nothing of the bench is restored, so that it must be recognised


def on_a_table(checkpoint: Record) -> Record:
    """Return what the checkpoint would be, had the bench been real."""
    arrays = {name: array for name, array in checkpoint.arrays.items() if not name.startswith("bench/")}
    return Record("checkpoint", checkpoint.index, checkpoint.bench_time_s, {**checkpoint.values, "bench": {}}, arrays)


@pytest.fixture(scope="module")
def saved() -> Record:
    """Return a checkpoint in the middle of the first epoch, of truth 1."""
    whole = train(Path(__file__).parents[1] / "benches" / "small_cell.yaml")
    return on_a_table(whole[checkpoints(whole)[1]])


@pytest.mark.parametrize("seed", range(3))
def test_a_table_that_is_the_same_is_recognised(small_bench_file: Path, saved: Record, seed: int):
    rest = train(small_bench_file, saved, seed=seed)
    assert [record.index for record in rest if record.kind == "step"] == list(range(3, 8))


@pytest.mark.parametrize("truth_seed", [2, 3, 4])
def test_another_table_is_refused(small_bench_file: Path, saved: Record, truth_seed: int):
    with pytest.raises(RunAborted, match=r"camera_\w+: the fields of a fixed batch have changed by .*start a new run"):
        train(small_bench_file, saved, truth_seed=truth_seed)


def test_another_power_is_refused(small_bench_file: Path, saved: Record):
    power = {"devices.pump.settings.power": "106 uW"}
    with pytest.raises(RunAborted, match=r"meter_pump: reads .*W, at the checkpoint it was .*bring the power back"):
        train(small_bench_file, saved, overrides=power)


def test_a_reference_that_jumped_is_found_again_and_one_that_runs_away_is_refused(
    small_bench_file: Path, saved: Record
):
    def drift(rate: str) -> dict[str, Any]:
        return {"simulation.terms": {"reference_phase_drift": {"value": rate, "source": "this test"}}}

    common = {**saved.values["network"]["reference"], "common_rad": 2.0}
    network = {**saved.values["network"], "reference": common}
    turned = Record("checkpoint", saved.index, saved.bench_time_s, {**saved.values, "network": network}, saved.arrays)
    assert train(small_bench_file, turned)[-1].kind == "weights"
    with pytest.raises(RunAborted, match="reference phase moved"):
        train(small_bench_file, saved, overrides=drift("3000 rad"))
