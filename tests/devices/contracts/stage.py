"""What holds for every stage."""

import re
from typing import ClassVar

import pytest

from labctl.devices import Stage
from labctl.errors import DeviceTimeout, LimitError
from tests.devices.contracts.device import DeviceContract, Uses, beyond, refused


class StageContract(DeviceContract):
    """What holds for every stage."""

    USES: ClassVar[Uses] = {
        "position": lambda stage: stage.position_m,
        "move_to": lambda stage: stage.move_to(**{stage.axes[0]: stage.limits_m[stage.axes[0]][0]}),
    }

    def targets_m(self, stage: Stage, axis: str) -> tuple[float, ...]:
        """Return where an axis is sent: both ends of its travel, then the middle."""
        low, high = stage.limits_m[axis]
        return low, high, (low + high) / 2

    def test_it_has_the_axes_it_declares(self, opened: Stage):
        assert opened.axes == tuple(opened.settings.axes)
        assert set(opened.position_m) == set(opened.limits_m) == set(opened.axes)

    def test_it_arrives_and_settles(self, opened: Stage):
        for axis in opened.axes:
            for target in self.targets_m(opened, axis):
                others = {name: where for name, where in opened.position_m.items() if name != axis}
                start = opened.clock.now_s()
                opened.move_to(**{axis: target})
                assert opened.clock.now_s() - start >= opened.settings.settle_s - 1e-9
                reached = opened.position_m
                assert abs(reached.pop(axis) - target) <= opened.settings.tolerance_m
                assert reached == pytest.approx(others, abs=opened.settings.tolerance_m)

    def test_beyond_its_travel_nothing_moves(self, opened: Stage):
        for axis, (low, high) in opened.limits_m.items():
            for asked in beyond(low, high):
                within = {other: limits[0] for other, limits in opened.limits_m.items() if other != axis}
                with refused(opened, LimitError, axis, asked, low, high, "m"):
                    opened.move_to(**within, **{axis: asked})

    def test_an_unknown_axis_is_refused_and_nothing_moves(self, opened: Stage):
        known = {axis: limits[0] for axis, limits in opened.limits_m.items()}
        with refused(opened, LimitError, "sideways", *opened.axes):
            opened.move_to(**known, sideways=0.0)

    def test_a_move_that_does_not_end_is_stopped(self, opened: Stage, monkeypatch: pytest.MonkeyPatch):
        axis, limits = next(iter(opened.limits_m.items()))
        here = opened.position_m[axis]
        far = max(limits, key=lambda end: abs(end - here))
        stopped: list[bool] = []
        monkeypatch.setattr(opened, "settings", opened.settings.model_copy(update={"timeout_s": 0.1}))
        monkeypatch.setattr(opened, "_do_move", lambda _target: None)
        monkeypatch.setattr(opened, "_do_stop", lambda: stopped.append(True))
        start = opened.clock.now_s()
        with pytest.raises(DeviceTimeout, match=re.escape(opened.name)):
            opened.move_to(**{axis: far})
        assert stopped
        assert opened.clock.now_s() - start == pytest.approx(0.1, abs=0.05 + self.SLACK_S)
