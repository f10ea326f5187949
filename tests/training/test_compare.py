"""Methods compared: same weights, same data, one table, and a cost that was known beforehand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError
from labctl.plan import parse_settings
from labctl.records import Record
from labctl.training.compare import CompareSettings, compare_methods, steps_by_method

EVERY = ("optical", "optical_corrected", "physics_aware", "finite_difference", "in_silico")
SETTINGS: dict[str, Any] = {
    "data": "sample",
    "hidden": [8],
    "train_samples": 192,
    "test_samples": 60,
    "epochs": 1,
    "agreement_every": 2,
    "initial_sd": 0.5,
    "optical_depth": 4,
    "learning_rate": 0.03,
    "directions": 2,
}
STEADY = {"simulation.terms": {"reference_phase_walk": {"value": "0 rad", "source": "off in this test"}}}


def compare(
    bench: Path, overrides: Mapping[str, Any] | None = None, **settings: Any
) -> tuple[list[Record], Mapping[str, Any]]:
    with Bench(load_bench(bench, overrides or STEADY), True) as table:
        asked = parse_settings(compare_methods, {**SETTINGS, **settings})
        plan, records = compare_methods(table, asked, np.random.default_rng(0)), []
        while True:
            try:
                records.append(next(plan))
            except StopIteration as end:
                return records, end.value


def test_there_is_one_row_for_each_method_and_its_cost_was_known(small_bench_file: Path):
    with Bench(load_bench(small_bench_file, STEADY), True) as table:
        expected = compare_methods.budget(table, parse_settings(compare_methods, SETTINGS))
    records, summary = compare(small_bench_file)
    rows = {row["method"]: row for row in summary["comparison"]}
    assert tuple(rows) == EVERY
    for method, row in rows.items():
        counted = sum(number for name, number in expected.exposures.items() if name.startswith(f"{method} "))
        assert row["exposures"] == counted
        assert row["steps"] == 3
        assert len(row["cosine"]) == (0 if method == "in_silico" else 2)
        assert row["accuracy_per_exposure"] == pytest.approx(row["test_accuracy"] / counted)
    assert sum(row["mask_writes"] for row in rows.values()) == expected.mask_writes
    # the cells are warmed up once, before the first method's clock starts
    assert records[-1].bench_time_s == pytest.approx(expected.bench_seconds, rel=0.05)
    assert rows["optical"]["bench_seconds"] < 60
    assert sum(record.kind == "step" for record in records) == expected.steps
    assert [len(row) for row in summary["table"]["rows"]] == [len(summary["table"]["columns"])] * len(EVERY)


def test_every_method_starts_from_the_same_weights_and_data(small_bench_file: Path):
    ideal = {"simulation.noise_scale": 0, "simulation.imperfections": False}
    records, _ = compare(small_bench_file, ideal, difference=1e-3)
    first = {}
    for record in records:
        if record.kind == "step":
            first.setdefault(record.values["method"], record.values["loss"])
    assert set(first) == set(EVERY)
    for method in ("optical_corrected", "physics_aware", "finite_difference"):
        assert first[method] == pytest.approx(first["optical"], rel=0.02)


def test_records_are_numbered_over_all_methods_and_name_theirs(small_bench_file: Path):
    records, _ = compare(small_bench_file, methods=["physics_aware", "in_silico"])
    for kind in ("step", "epoch", "comparison"):
        assert [one.index for one in records if one.kind == kind] == list(range(sum(r.kind == kind for r in records)))
    assert {record.values["method"] for record in records if record.kind == "epoch"} == {"physics_aware", "in_silico"}


def test_with_an_exposure_budget_cheaper_methods_make_more_steps():
    settings = CompareSettings(hidden=(8,), batch_size=64, exposures=64 * 6 * 10, directions=4)
    steps = steps_by_method(settings, 1000)
    assert steps["optical"] == 10  # 4 forward and 2 backward exposures a sample
    assert steps["physics_aware"] == 15
    assert steps["finite_difference"] == 1  # 32 a sample: one step is the least
    assert steps["in_silico"] == 15


def test_a_method_is_compared_once():
    with pytest.raises(ConfigError, match="each method is compared once"):
        parse_settings(compare_methods, {"methods": ["optical", "optical"]})
