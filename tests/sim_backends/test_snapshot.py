"""A simulated bench goes on from its state as if it had never been closed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.clock import WallClock
from labctl.devices import Pattern, identity_codebook
from labctl.errors import ConfigError


def use(bench: Bench) -> None:
    """Leave every kind of device in a state of its own."""
    levels = np.zeros(bench.slm("slm_1").shape, np.uint16)
    levels[::2] = 100
    bench.slm("slm_1").show(Pattern(levels, identity_codebook(bench.slm("slm_1").bit_depth)))
    bench.dmd("dmd_input").show(Pattern(np.ones(bench.dmd("dmd_input").shape, np.uint16), identity_codebook(1)))
    bench.beam("pump").on()
    bench.beam("reference").on()
    bench.beam("reference").set_phase(1.0)
    bench.camera("camera_z1").set_exposure(150e-6)
    bench.cell("cell").set_temperature(60)
    for stage in (device for device in bench.devices.values() if device.kind == "stage"):
        bench.stage(stage.name).move_to(x=2e-6)
    bench.camera("camera_z1").acquire(3)


def seen(bench: Bench) -> list[Any]:
    """Return what cameras, meter and devices report, twice, and the time that is then."""
    frames = [bench.camera(name).acquire(2) for name in ("camera_z1", "camera_output") for _ in range(2)]
    counts = [(frame.counts.tolist(), frame.ids.tolist(), frame.times_s.tolist()) for frame in frames]
    return [counts, bench.power_meter("meter_pump").read_power(), bench.state(), bench.clock.now_s()]


def test_restored_it_measures_to_the_last_bit_what_it_would_have(small_bench_file: Path):
    file = load_bench(small_bench_file)
    with Bench(file, True, seed=3) as bench:
        use(bench)
        state = bench.simulation_state()
        expected = seen(bench)
        assert seen(bench) != expected
    with Bench(file, True, seed=3) as other:
        assert seen(other) != expected
        other.restore_simulation(state)
        assert seen(other) == expected


def test_only_a_whole_simulation_has_a_state(small_bench_file: Path):
    file = load_bench(small_bench_file)
    with Bench(file, True, clock=WallClock()) as bench:
        assert bench.simulation_state() == {}
        with pytest.raises(ConfigError, match="only a simulation can be restored"):
            bench.restore_simulation({})
