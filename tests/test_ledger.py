from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError, StaleCalibration
from labctl.ledger import Entry, Estimate, Fit, believe, read_entries, write_entry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEPTH = Estimate(13.0, 0.1)


def entry(made_at: datetime = NOW, parameters: Mapping[str, Estimate] | None = None, made_on: str = "twin-1") -> Entry:
    return Entry(
        id=f"{made_at:%Y%m%dT%H%M%S}_absorber",
        calibration="absorber",
        made_at=made_at,
        bench="small_cell",
        simulated=True,
        made_on={"cell": made_on},
        settings={"repeats": 40},
        valid_for_s=3600.0,
        fit=Fit(parameters or {"cell.depth_at_70c": DEPTH}, {"chi_square_per_point": 1.1}),
    )


def test_an_entry_reads_back_as_it_was_written(tmp_path: Path) -> None:
    phases = Estimate(np.linspace(-0.3, 0.3, 7), np.full(7, 0.01))
    written = entry(parameters={"cell.depth_at_70c": DEPTH, "camera.reference_phase": phases})
    path = write_entry(tmp_path, written)
    (read,) = read_entries(tmp_path, "small_cell", True)
    assert path.parent == tmp_path / "small_cell" / "simulated"
    assert replace(read, fit=written.fit) == written
    assert read.fit.parameters["cell.depth_at_70c"] == DEPTH
    np.testing.assert_array_equal(read.fit.parameters["camera.reference_phase"].value, phases.value)
    np.testing.assert_array_equal(read.fit.parameters["camera.reference_phase"].sd, phases.sd)
    assert not list(path.parent.glob("*.part"))


def test_table_and_twins_have_ledgers_of_their_own(tmp_path: Path) -> None:
    write_entry(tmp_path, entry())
    assert read_entries(tmp_path, "small_cell", False) == []
    assert read_entries(tmp_path, "another", True) == []


def test_the_latest_entry_that_holds_a_parameter_is_believed() -> None:
    old = entry(NOW - timedelta(minutes=50), {"a.b": Estimate(1.0, 0.1), "c.d": Estimate(2.0, 0.1)})
    new = entry(NOW - timedelta(minutes=10), {"a.b": Estimate(3.0, 0.1)})
    belief = believe([old, new], {"cell": "twin-1"}, NOW)
    assert {name: one.value for name, one in belief.estimates.items()} == {"a.b": 3.0, "c.d": 2.0}
    assert {one.id for one in belief.used} == {old.id, new.id}


def test_an_expired_entry_is_reported_and_not_believed() -> None:
    belief = believe([entry(NOW - timedelta(hours=2))], {"cell": "twin-1"}, NOW)
    assert not belief.estimates
    assert not belief.used
    assert "absorber is 2.0 h old, 1.0 h is allowed" in belief.describe()


def test_an_entry_of_another_truth_is_refused_as_foreign() -> None:
    with pytest.raises(StaleCalibration, match=r"foreign, made on cell twin-1, here it is twin-2.*--ledger none"):
        believe([entry()], {"cell": "twin-2"}, NOW)


def test_an_own_entry_is_believed_beside_a_newer_foreign_one() -> None:
    own, foreign = entry(NOW - timedelta(minutes=5)), entry(NOW, made_on="twin-9")
    assert believe([own, foreign], {"cell": "twin-1"}, NOW).used == (own,)


def test_an_interval_holds_95_percent_of_a_normal_distribution() -> None:
    low, high = DEPTH.interval
    draws = np.random.default_rng(0).normal(13.0, 0.1, 100_000)
    assert np.mean((draws > low) & (draws < high)) == pytest.approx(0.95, abs=0.003)


def test_a_damaged_entry_names_its_file(tmp_path: Path) -> None:
    path = write_entry(tmp_path, entry())
    path.write_text(path.read_text(encoding="utf-8").replace("sd:", "spread:"), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{path.name}, line \d+: .*spread"):
        read_entries(tmp_path, "small_cell", True)
    path.unlink()
    path = write_entry(tmp_path, entry(parameters={"camera.reference_phase": Estimate(np.zeros(2), np.ones(2))}))
    path.with_suffix(".safetensors").unlink()
    with pytest.raises(ConfigError, match="calibrate again"):
        read_entries(tmp_path, "small_cell", True)


def test_a_bench_believes_its_ledger_everywhere_and_twins_do_not(small_bench_file: Path, tmp_path: Path) -> None:
    file = load_bench(small_bench_file)
    plain = Bench(file, True)
    found = {"cell.depth_at_70c": Estimate(14.0, 0.1), "cell.saturation_power": Estimate(1.6e-7, 2e-9)}
    write_entry(tmp_path, entry(datetime.now(UTC), found, made_on=plain.identity["cell"]))
    with Bench(file, True, ledger=tmp_path) as bench:
        assert bench.file.parameters()["cell.depth_at_70c"].value == 14.0
        assert bench.file.unit_power_w == 1.6e-7
        assert bench.file.stages[1].absorb == bench.file.elements[4]
        assert bench.as_written == file
        assert bench.file.parameters().keys() == file.parameters().keys()
        with plain:
            for name in ("slm_1", "cell"):
                assert bench[name].state() == plain[name].state()


@pytest.mark.parametrize(("scale", "serial"), [(1, "twin-4"), (3, "twin-4@3"), (0, "twin-4@0")])
def test_twins_of_another_scale_have_another_serial_number(small_bench_file: Path, scale: float, serial: str) -> None:
    file = load_bench(small_bench_file, {"simulation.imperfection_scale": scale})
    with Bench(file, True, truth_seed=4) as bench:
        assert bench.identity["cell"] == serial
        assert bench["slm_1"].state()["serial"] == serial
