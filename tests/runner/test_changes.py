"""Live settings change between two records, or not at all."""

from typing import Any

import pytest

from labctl.errors import ConfigError
from labctl.records import Record
from labctl.runner import Outcome
from tests.runner.runs import CountSettings, FakeBench, at_step, make


def test_changes_are_sent_at_the_boundary_and_recorded() -> None:
    bench, records = FakeBench(), []

    def change() -> None:
        runner.change(gain=2)
        runner.change(gain=3.0, loss=0.5)

    runner = make(bench, records.append, at_step(1, change))
    assert runner.run().summary == {"sent": [None, {"gain": 3.0, "loss": 0.5}, None]}
    assert [r.kind for r in records] == ["step", "step", "change", "step"]
    assert records[2] == Record("change", 0, 2.0, {"gain": 3.0, "loss": 0.5})
    assert runner.settings == CountSettings(gain=3.0, loss=0.5)


def test_changes_before_the_start_reach_the_plan_at_its_first_boundary() -> None:
    runner = make(FakeBench())
    runner.change(gain=2.0)
    assert runner.run().summary == {"sent": [{"gain": 2.0}, None, None]}


@pytest.mark.parametrize("changes", [{"steps": 5}, {"gain": -1}, {"gian": 1}, {"gain": 2, "loss": -1}])
def test_a_refused_change_raises_for_the_asker_and_leaves_the_run_alone(changes: dict[str, Any]) -> None:
    refused: list[str] = []

    def change() -> None:
        with pytest.raises(ConfigError):
            runner.change(**changes)
        refused.append(runner.status)

    runner = make(FakeBench(), at_step(0, change))
    assert runner.run() == Outcome("completed", {"sent": [None] * 3}, None, 0.25)
    assert refused == ["running"]
    assert runner.settings == CountSettings()
