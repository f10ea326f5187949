"""Progress shows what an operator must see and no more; signals stop a run, softly first."""

import io
import signal
from typing import TYPE_CHECKING, Any, cast

import pytest
from rich.console import Console

from labctl.cli import show
from labctl.cli.progress import ProgressBar, ProgressLines, progress_on
from labctl.cli.signals import Interruptions
from labctl.records import Record

if TYPE_CHECKING:
    from labctl.runner import Runner


class Watch:
    """Wall time that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def step(index: int, **values: Any) -> Record:
    return Record("step", index, 0.0, {"epoch": 1, "loss": 0.5, "accuracy": 0.75, "exposures": 100 * index, **values})


def test_steps_are_told_at_most_every_ten_seconds() -> None:
    out, watch = io.StringIO(), Watch()
    with ProgressLines(Console(file=out), 100, watch) as progress:
        for index in range(50):
            progress(step(index))
            watch.now += 1.0
    lines = out.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"step {n}/100" for n in (11, 21, 31, 41)]
    assert lines[0] == "step 11/100, epoch 1, loss 0.5, accuracy 75.0%, 100 exposures/s, 1 min 29 s left"


def test_records_that_matter_have_a_line_of_their_own() -> None:
    out = io.StringIO()
    progress = ProgressLines(Console(file=out, markup=False), 0, Watch())
    progress(Record("setup", 0, 0.0, {"message": "cell [bold]warm"}))
    progress(Record("warning", 0, 0.0, {"message": "leak of 3 %"}))
    progress(Record("change", 0, 0.0, {"gain": 2.0, "rate": 1e-3}))
    progress(Record("epoch", 0, 0.0, {"epoch": 1, "loss": 0.25, "test_accuracy": 0.9123, "seconds": 75.0}))
    progress(Record("checkpoint", 0, 0.0, {"epoch": 1}))
    progress(Record("weights", 0, 0.0))
    progress(Record("setup", 1, 0.0))
    progress(Record("epoch", 1, 0.0))
    assert out.getvalue().splitlines() == [
        "cell [bold]warm",
        "warning: leak of 3 %",
        "changed: gain = 2.0, rate = 0.001",
        "epoch 1: loss 0.25, test accuracy 91.23%, 1 min 15 s",
        "epoch 1: ",
    ]


def test_agreement_is_the_mean_over_the_layers_of_the_last_measurement() -> None:
    progress = ProgressLines(Console(file=io.StringIO()), 0, Watch())
    for cosines in ([0.1, 0.2], [0.9, 0.7, None]):
        progress(Record("agreement", 0, 0.0, {"layers": [{"layer": 1, "cosine": cosine} for cosine in cosines]}))
    progress(Record("agreement", 1, 0.0, {"layers": []}))
    assert progress.readings.text() == "agreement 0.800"


def test_rates_count_from_the_first_step_seen() -> None:
    watch = Watch()
    progress = ProgressLines(Console(file=io.StringIO()), 30, watch)
    progress(step(9))  # a resumed run
    assert "exposures/s" not in progress.readings.text()
    watch.now += 5.0
    progress(step(19))
    assert progress.readings.text().endswith("200 exposures/s, 5.0 s left")


def test_readings_that_a_plan_does_not_give_are_left_out() -> None:
    progress = ProgressLines(Console(file=io.StringIO()), 2, Watch())
    progress(Record("frame", 0, 0.0))
    progress(Record("step", 1, 0.0, {"loss": float("nan")}))
    assert progress.readings.text() == "loss nan"


def test_a_bar_shows_readings_and_lets_warnings_scroll_past() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, markup=False, color_system=None)
    with ProgressBar(console, 4, Watch()) as progress:
        progress(step(0))
        progress(Record("warning", 0, 0.0, {"message": "leak"}))
        progress(step(1))
    text = out.getvalue()
    assert "warning: leak\n" in text
    assert "2/4 epoch 1, loss 0.5, accuracy 75.0%" in text


def test_a_bar_of_unknown_length_works() -> None:
    out = io.StringIO()
    with ProgressBar(Console(file=out, force_terminal=True, width=80), 0, Watch()) as progress:
        progress(step(0))
    assert "1/?" in out.getvalue()


def test_the_bar_is_for_terminals_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    kinds = [type(progress_on(Console(file=file, _environ={}), 3)) for file in (io.StringIO(), Terminal())]
    assert kinds == [ProgressLines, ProgressBar]
    assert type(progress_on(Console(file=Terminal(), _environ={"TERM": "dumb"}), 3)) is ProgressLines
    assert type(progress_on(Console(file=io.StringIO(), _environ={"FORCE_COLOR": "1"}), 3)) is ProgressLines


def test_lines_and_bars_fit_every_alphabet(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldConsole(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", OldConsole(raw, encoding="cp1252", errors="strict"))
    show.prepare_streams()
    console = show.console()
    with ProgressBar(console, 2) as progress:
        progress(step(0))
        progress(Record("warning", 0, 0.0, {"message": "σ ≥ 3"}))
    console.print(show.table("planes", ("plane", "σ"), [("cell", "λ")]))
    text = raw.getvalue().decode("cp1252")
    assert "? ? 3" in text
    assert "1/2" in text


# ---- signals


class FakeRunner:
    def __init__(self) -> None:
        self.calls: list[bool] = []

    def stop(self, *, now: bool = False) -> None:
        self.calls.append(now)


def interruptions(runner: FakeRunner | None) -> Interruptions:
    signals = Interruptions()
    signals.runner = cast("Runner | None", runner)
    return signals


def test_ctrl_c_once_stops_and_twice_interrupts() -> None:
    runner = FakeRunner()
    signals = interruptions(runner)
    signals.ask(signal.SIGINT, None)
    assert runner.calls == [False]
    with pytest.raises(KeyboardInterrupt):
        signals.ask(signal.SIGINT, None)
    assert runner.calls == [False]


def test_sigterm_stops_now_however_often_it_comes() -> None:
    runner = FakeRunner()
    signals = interruptions(runner)
    signals.demand(signal.SIGTERM, None)
    signals.demand(signal.SIGTERM, None)
    assert runner.calls == [True, True]


def test_before_there_is_a_runner_every_signal_interrupts() -> None:
    for handler in (interruptions(None).ask, interruptions(None).demand):
        with pytest.raises(KeyboardInterrupt):
            handler(signal.SIGINT, None)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signals = interruptions(FakeRunner())
    with signals.handled():
        assert signal.getsignal(signal.SIGINT) == signals.ask
        assert signal.getsignal(signal.SIGTERM) == signals.demand
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interruptions(FakeRunner()).handled():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
