"""A tiny plan for the tests of the command line."""

import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Literal

import numpy as np

from labctl.bench import Bench
from labctl.errors import DeviceError, LimitError
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.units import Seconds


class CountSettings(Settings):
    steps: int = 3
    exposure_s: Seconds = 0.02
    hidden: tuple[int, ...] = (4,)
    event: Literal[
        "none", "refused", "broken", "ctrl-c", "ctrl-c twice", "sigterm", "warning", "limit at first", "limit"
    ] = "none"
    keep: str = "summary"


def refuse() -> None:
    raise DeviceError("camera", "no frame came")


def exceed() -> None:
    raise LimitError("camera", "too long")


def break_down() -> None:
    raise ZeroDivisionError("by zero")


def interrupt(*names: str) -> None:
    for name in names:
        signal.raise_signal(getattr(signal, name))


EVENTS: dict[str, Callable[[], None]] = {
    "refused": refuse,
    "broken": break_down,
    "limit": exceed,
    "ctrl-c": lambda: interrupt("SIGINT"),
    "ctrl-c twice": lambda: interrupt("SIGINT", "SIGINT"),
    "sigterm": lambda: interrupt("SIGTERM"),
}


def count_budget(bench: Bench, settings: CountSettings) -> Budget:
    assert not bench.devices, "a budget must not need an open bench"
    return Budget(
        exposures={"training": settings.steps * 400, "setup": 30},
        photons=1.5e9,
        mask_writes=12,
        bench_seconds=3725.0,
        steps=settings.steps,
        disk_bytes=1_300_000,
    )


@plan(CountSettings, budget=count_budget)
def count(
    bench: Bench, settings: CountSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Count steps on the bench."""
    if settings.event == "limit at first":
        exceed()
    yield Record("setup", 0, 0.0, {"message": "all is well"})
    for index in range(settings.steps):
        if index == 1:
            EVENTS.get(settings.event, lambda: None)()
            bench.clock.wait(0.01)
        yield Record("step", index, bench.clock.now_s(), {"epoch": 1, "loss": 0.5, "exposures": 400 * index})
    if settings.event == "warning":
        yield Record("warning", 0, 0.0, {"message": "phase noise σ is high"})
    yield Record("epoch", 0, bench.clock.now_s(), {"epoch": 1, "test_accuracy": 0.9, "loss": 0.5})
    here = {"steps": settings.steps, "hidden": list(settings.hidden), "folder": Path().resolve().name}
    return {**here, "draw": float(rng.random()), "lost": float("nan"), "message": "counted to the end"}


@plan(CountSettings, budget=count_budget)
def tabulate(
    bench: Bench, settings: CountSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Answer with a table."""
    yield Record("setup", 0, 0.0, {"message": "all is well"})
    table = {"title": "two rows", "columns": ["method", "right"], "rows": [["optical", "97 %"], ["[red]", "9 %"]]}
    return {"table": table, "message": "tabulated"}


not_a_plan = 3
