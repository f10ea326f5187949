"""The power table says what light there is at every plane, and a bench that asks for more is refused."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from labctl.bench import PowerRow, load_bench, power_table, require_able
from labctl.bench.power import HEADROOM
from labctl.documents import shipped_benches
from labctl.errors import ConfigError
from labctl.optics.multiplier.elements import Absorb
from tests.conftest import CAMERAS, SMALL_BENCH

BENCHES = {"small_cell": SMALL_BENCH, **shipped_benches()}


@cache
def table_of(bench: str) -> list[PowerRow]:
    """Return the power table of a bench as it stands."""
    return power_table(load_bench(BENCHES[bench]))


def row(table: list[PowerRow], plane: str, what: str) -> PowerRow:
    return next(one for one in table if one.plane == plane and what in one.what)


@pytest.mark.parametrize("bench", BENCHES)
def test_the_table_begins_with_the_laser_and_names_every_plane(bench: str):
    file = load_bench(BENCHES[bench])
    table = table_of(bench)
    assert table[0].plane.startswith(f"laser {file.laser.wavelength_m * 1e9:.2f} nm")
    planes = {one.plane for one in table}
    if file.in_free_space:
        assert {*file.path.devices, *file.path.views} <= planes
    else:
        for stage in file.stages:
            assert {stage.source.device, stage.multiply.device, *stage.cameras} <= planes
    assert all(one.able for one in table)
    require_able(file)


def test_a_fourier_bench_tells_what_its_camera_sees_and_what_fills_it():
    """Bins of 13.9 x 8.7 um on pixels of 3.45 um; 1080 x 1440 of them; a tenth of the light in the brightest one."""
    table = table_of("fourier")
    assert row(table, "lens", "far-field bin").available == "4 x 2.5 camera pixels"
    seen = row(table, "camera", "field of view")
    assert (seen.required, seen.available) == ("<= 16.62 mm", "3.726 mm x 4.968 mm")
    assert row(table, "camera", "flat panel's spot in 40 us").available.startswith("57%")


FOURIER_TOO_FAR = {
    "a camera larger than the reach": ({"light.2.lens.focal_length.value": "50 mm"}, "camera: field of view"),
    "a filter that passes too much": ({"light.3.detect.view.fraction.value": 2e-6}, "camera: a flat panel's spot"),
}


@pytest.mark.parametrize("case", FOURIER_TOO_FAR)
def test_a_fourier_bench_whose_camera_cannot_work_is_refused(case: str):
    changes, fault = FOURIER_TOO_FAR[case]
    with pytest.raises(ConfigError, match=fault):
        require_able(load_bench("fourier", changes))


def test_all_beams_together_are_held_against_the_laser():
    laser = table_of("small_cell")[0]
    assert laser.required == "8.13 mW"  # 5 + 3 mW, 110 + 20 uW
    assert laser.available == "20 mW"


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_small_bench_has_the_electrons_of_the_large_one(camera: str):
    text = row(table_of("small_cell"), camera, "full scale").available
    found = re.search(r"([\d.e+]+) e- and ([\d.e+]+) e- reference, homodyne noise ([\d.]+)%", text)
    assert found, text
    signal, reference, noise = map(float, found.groups())
    assert signal == pytest.approx(2e4, rel=0.1)
    assert reference == pytest.approx(2e5, rel=0.01)
    assert noise == pytest.approx(0.25, abs=0.02)  # sqrt(2 N_R) / (4 sqrt(N_R n)), read noise aside


UNTAGGED = {"devices.dmd_input.settings.tag_block": None, "devices.camera_z1.settings.tags": []}
"""Without its tag a device has room for nothing but modes."""

TOO_MUCH = {
    # what is asked too much: (overrides, plane, what the row is about)
    "laser": ({"laser.power": "8 mW"}, "laser", "all beams"),
    "gain": ({"light.regenerate.gain": "17 dB"}, "dmd_hidden", "gain"),
    "weights": ({"light.1.multiply.weight_range": 1.2}, "dmd_hidden", "gain"),
    "light in the first layer": ({"devices.pump.settings.power": "50 uW"}, "dmd_hidden", "gain"),
    "light in the second layer": ({"devices.pump_hidden.settings.power": "2 mW"}, "dmd_hidden", "re-sent"),
    "inputs for the DMD": ({"light.encode.modes": 100, **UNTAGGED}, "dmd_input", "pixels"),
    "inputs for the panel": ({"light.encode.modes": 19}, "slm_1", "pixels"),
    "hidden neurons for the panel": ({"light.regenerate.modes": 9}, "slm_1", "pixels"),
    "hidden neurons for the DMD": ({"light.regenerate.modes": 11}, "dmd_hidden", "pixels"),
    "hidden neurons for the camera": ({"light.regenerate.modes": 63}, "camera_hidden_1", "pixels"),
    "hidden neurons for the cell": ({"light.absorb.beam_pitch": "3 mm"}, "cell", "aperture"),
    "outputs for the DMD": ({"light.read.modes": 11}, "dmd_error", "pixels"),
    "pixels per mode": ({"devices.camera_output.settings.roi_per_mode": [1, 65]}, "camera_output", "pixels"),
    "power through a narrow slit": ({"light.1.multiply.slit": "400 um"}, "slm_1", "slit"),
    "a short lens for the slit": ({"light.1.multiply.focal_length": "300 mm"}, "slm_1", "slit"),
    "slit efficiency": ({"light.6.multiply.slit_efficiency": 0.6}, "slm_2", "slit"),
    "probe": ({"light.read.max_probe_field": 0.03}, "cell", "probe field"),
    "light on the first camera": ({"light.regenerate.fraction": 0.02}, "camera_z1", "full scale"),
    "light on the hidden camera": ({"light.5.tap.fraction": 1e-3}, "camera_hidden_1", "full scale"),
    "light on the error camera": ({"light.3.tap.fraction": 1}, "camera_error_1", "full scale"),
    "light on the output camera": ({"light.read.fraction": 0.01}, "camera_output", "full scale"),
    "reference light": ({"reference.electrons": 4e5}, "camera_output", "full scale"),
    "exposure": ({"devices.camera_output.settings.exposure": "1 ms"}, "camera_output", "full scale"),
}


@pytest.mark.parametrize("asked", TOO_MUCH)
def test_a_bench_that_asks_too_much_is_refused_with_plane_required_and_available(asked: str, small_bench_file: Path):
    overrides, plane, what = TOO_MUCH[asked]
    file = load_bench(small_bench_file, overrides)
    short = [one for one in power_table(file) if not one.able]
    assert any(one.plane.startswith(plane) and what in one.what for one in short), short
    with pytest.raises(ConfigError) as error:
        require_able(file)
    lines = str(error.value).splitlines()
    assert len(lines) == len(short)
    for line, one in zip(lines, short, strict=True):
        assert line.startswith("small_cell: ")
        for part in (one.plane, one.what, f"{one.required} required", f"{one.available} available"):
            assert part in line


def test_headroom_is_left_on_every_camera():
    table = table_of("small_cell")
    for camera in CAMERAS:
        one = row(table, camera, "full scale")
        assert f"{HEADROOM:.0%}" in one.required
        assert float(one.available.partition("%")[0]) <= 100 * HEADROOM


@pytest.mark.parametrize(
    ("bench", "panel", "lit"),
    [("vapour_cell", "slm_1", "15.03 mm"), ("vapour_cell", "slm_2", "14.7 mm"),
     ("small_cell", "slm_1", "411.4 um"), ("small_cell", "slm_2", "411.4 um")],
)  # fmt: skip
def test_every_slit_passes_what_the_file_declares(bench: str, panel: str, lit: str):
    slit = row(table_of(bench), panel, "slit")
    assert slit.required.startswith("50.0%")
    assert lit in slit.available
    assert float(slit.available.partition("%")[0]) == pytest.approx(50, abs=1.5)
    assert slit.able


@pytest.mark.parametrize(("declared", "able"), [(0.44, True), (0.43, False), (0.58, True), (0.59, False)])
def test_a_slit_efficiency_is_believed_within_15_percent(declared: float, able: bool, small_bench_file: Path):
    file = load_bench(small_bench_file, {"light.1.multiply.slit_efficiency": declared})
    assert row(power_table(file), "slm_1", "slit").able == able


def test_fewer_modes_lose_less_light():
    bounds = {}
    for bench in ("small_cell", "vapour_cell"):
        text = row(table_of(bench), "slm_1", "passivity").what
        bounds[bench] = float(text.rpartition("<= ")[2])
    # sqrt(efficiency / (N_in N_out)): 22 x 11 modes against 804 x 131; the slit takes 1 % more of the outermost of 804
    assert bounds["small_cell"] / bounds["vapour_cell"] == pytest.approx((804 * 131 / 242) ** 0.5, rel=1.5e-2)


NO_CARRIER: dict[str, dict[str, Any]] = {
    "quarters do not divide it": {"light.1.multiply.period": 6},
    "it does not divide its block": {"light.1.multiply.block": [18, 5]},
    "quarters do not divide it on the mirrors": {"light.regenerate.carrier": 6},
}


@pytest.mark.parametrize("case", NO_CARRIER)
def test_a_carrier_that_cannot_be_shifted_is_refused(case: str, small_bench_file: Path):
    with pytest.raises(ConfigError):
        require_able(load_bench(small_bench_file, NO_CARRIER[case]))


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "a camera without reference": {"reference.cameras": ["camera_z1"]},
    "no reference light": {"reference.electrons": {"value": 0, "source": "none"}},
    "no light for a camera": {"light.read.fraction": {"value": 0, "source": "none"}},
    "no pump": {"devices.pump.settings.power": "0 W"},
    "no probe": {"devices.probe.settings.power": "0 W"},
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_bench_that_can_do_nothing_is_refused_and_not_a_crash(case: str, small_bench_file: Path):
    with pytest.raises(ConfigError):
        require_able(load_bench(small_bench_file, IMPOSSIBLE[case]))


def test_a_bench_is_judged_by_what_is_believed_and_not_by_a_truth(small_bench_file: Path):
    other = load_bench(small_bench_file, {"simulation.truth_seed": 7, "simulation.imperfection_scale": 5})
    assert power_table(other) == table_of("small_cell")


def test_a_smaller_cell_needs_its_beams_closer(small_bench_file: Path):
    file = load_bench(small_bench_file)
    cell = next(element for element in file.elements if isinstance(element, Absorb))
    aperture = row(table_of("small_cell"), "cell", "aperture")
    assert aperture.available == "25 mm"
    assert float(aperture.required.split()[0]) == pytest.approx(11 * cell.beam_pitch_m * 1e3)
