"""A device that fails, or a sequence that asks for what cannot be, is never a completed sequence."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import useq

from labctl.adapters.mmcore import BenchCore, run_mda, unicore
from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError, DeviceError, LimitError, RunStopped
from tests.adapters.mmcore.conftest import FOURIER, PRESETS, SEQUENCE, Noted, small

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"device": "camera", "fault": "exception", "at": 40}, r"camera: failed in .*injected exception"),
    ({"device": "camera", "fault": "disconnect", "at": 40}, r"camera: failed in .*injected disconnect"),
    ({"device": "camera", "fault": "dropped", "at": 7}, r"camera: 0 frames came where 1 were expected"),
    ({"device": "camera", "fault": "hang", "at": 60}, r"camera: gave no answer"),
    ({"device": "stage", "fault": "disconnect", "at": 60}, r"stage: failed in .*injected disconnect"),
    ({"device": "beam", "fault": "exception", "at": 30}, r"beam: failed in .*injected exception"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
@pytest.mark.parametrize("run", [run_mda, lambda core, sequence: core.mda.run(sequence)], ids=["run_mda", "mda.run"])
def test_a_device_that_fails_ends_the_sequence_as_failed(
    fault: dict[str, Any], said: str, run: Callable[[BenchCore, useq.MDASequence], Any]
):
    with ExitStack() as stack:
        if fault["fault"] == "disconnect":  # a device that is gone cannot be made safe either, and the bench says so
            stack.enter_context(pytest.raises(ExceptionGroup, match="did not close cleanly"))
        bench = stack.enter_context(small(**{"simulation.faults": [fault]}))
        core = stack.enter_context(unicore(bench, PRESETS))
        noted = Noted(core)
        with pytest.raises(DeviceError, match=said):
            run(core, SEQUENCE)
        assert core.mda.status.finish_reason == "errored"
        assert 0 < len(noted.frames) < 24
        assert not bench.beam("beam").is_on


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sequence_in_a_thread_of_its_own_ends_as_failed_too():
    with small(**{"simulation.faults": [FAULTS[0][0]]}) as bench, unicore(bench, PRESETS) as core:
        thread: Any = core.run_mda(SEQUENCE)
        thread.join()
        assert core.mda.status.finish_reason == "errored"
        with pytest.raises(DeviceError, match="injected exception"):
            core.raise_fault()


def test_a_panel_that_fails_ends_the_sequence_as_failed():
    with small(**{"simulation.faults": [{"device": "slm", "fault": "exception", "at": 3}]}) as bench:
        event: Any = useq.MDAEvent(slm_image=useq.SLMImage(data=0))
        with unicore(bench) as core, pytest.raises(DeviceError, match="slm: failed in 'show blocks'"):
            run_mda(core, [event] * 5)


def test_a_stage_that_stands_still_ends_the_sequence(core: BenchCore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(core.bench.stage("stage"), "_do_move", lambda target_m: None)
    with pytest.raises(DeviceError, match="stage: a move ended"):
        run_mda(core, SEQUENCE)


def test_a_stage_that_drifts_off_ends_the_sequence(core: BenchCore, monkeypatch: pytest.MonkeyPatch):
    stage = core.bench.stage("stage")
    monkeypatch.setattr(stage, "move_to", lambda **target_m: None)  # says it is there
    with pytest.raises(DeviceError, match=r"stage: is at .*from where it was sent"):
        run_mda(core, SEQUENCE)


def test_a_failed_sequence_leaves_the_next_one_alone():
    with small(**{"simulation.faults": [FAULTS[0][0]]}) as bench, unicore(bench, PRESETS) as core:
        with pytest.raises(DeviceError):
            run_mda(core, SEQUENCE)
        assert run_mda(core, SEQUENCE) == 24


def test_a_sequence_still_under_way_ends_before_the_core_does():
    long = SEQUENCE.replace(time_plan={"interval": 0.01, "loops": 5000})
    with small() as bench:
        with unicore(bench, PRESETS) as core:
            taken = threading.Event()
            core.mda.events.frameReady.connect(taken.set)
            thread: Any = core.run_mda(long)
            assert taken.wait(10)
        assert not thread.is_alive()
        assert core.mda.status.finish_reason == "canceled"
        assert core.fault is None
        assert not bench.beam("beam").is_on


def test_a_cancelled_sequence_is_no_completed_one(core: BenchCore):
    def cancel(*_: Any) -> None:
        core.mda.cancel()

    core.mda.events.frameReady.connect(cancel)
    with pytest.raises(RunStopped, match="after 1 frames"):
        run_mda(core, SEQUENCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_live_view_of_a_camera_that_fails_leaves_its_fault_behind():
    fault = {"device": "camera", "fault": "exception", "at": 40}
    with small(**{"simulation.faults": [fault]}) as bench, unicore(bench) as core:
        core.startContinuousSequenceAcquisition()
        while core.isSequenceRunning():
            pass
        with pytest.raises(DeviceError, match="camera: failed in"):
            core.raise_fault()


@pytest.mark.parametrize(
    ("event", "kind", "said"),
    [
        (useq.MDAEvent(x_pos=500), LimitError, "stage: position of x 0.0005 m"),
        (useq.MDAEvent(exposure=60_000), LimitError, "camera: exposure 60 s"),
        (useq.MDAEvent(channel="dapi"), Exception, "dapi"),  # pyright: ignore[reportArgumentType]
        (useq.MDAEvent(slm_image=useq.SLMImage(data=300)), ConfigError, "levels from 0 to 255"),
        (useq.MDAEvent(slm_image=useq.SLMImage(data=0, device="dmd")), ConfigError, "no panel 'dmd'"),
        (useq.MDAEvent(slm_image=useq.SLMImage(data=np.zeros((3, 4), int))), ConfigError, "the panel has"),
        (useq.MDAEvent(slm_image=useq.SLMImage(data=0, exposure=3)), LimitError, "until the next"),
        (useq.MDAEvent(properties=[("beam", "Power_mW", 99)]), Exception, "Power_mW"),  # pyright: ignore
        (useq.MDAEvent(roi=(0, 0, 8, 8)), ConfigError, "roi is not supported"),  # pyright: ignore
        (useq.MDAEvent(action=useq.HardwareAutofocus()), ConfigError, "hardware_autofocus' is not supported"),
    ],
)
def test_what_an_event_may_not_ask_for_ends_the_sequence(core: BenchCore, event: Any, kind: Any, said: str):
    with pytest.raises(kind, match=said):
        run_mda(core, [event])
    assert core.mda.status.finish_reason == "errored"


def test_a_position_the_bench_has_no_stage_for_is_refused():
    said = pytest.raises(ConfigError, match="along z is asked for, small_fourier has no such stage")
    with Bench(load_bench(FOURIER), True) as bench, unicore(bench) as core, said:
        run_mda(core, [useq.MDAEvent(z_pos=1)])


def test_presets_that_cannot_be_are_refused_before_the_core_is_there():
    with small() as bench:
        with pytest.raises(ConfigError, match="did you mean 'beam'"), unicore(bench, {"a": {"bean": "1 mW"}}):
            pass
        with pytest.raises(LimitError, match="beam: preset a: power 1 W"), unicore(bench, {"a": {"beam": "1 W"}}):
            pass
        with pytest.raises(ConfigError, match="levels from 0 to 255"), unicore(bench, {"a": {"slm": 300}}):
            pass
        with pytest.raises(ConfigError, match="camera 'eye' is not on bench"), unicore(bench, camera="eye"):
            pass
