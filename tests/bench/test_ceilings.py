"""No beam is lit, or set, beyond what all beams together may send onto a cell, a panel or a camera."""

from typing import Any

import pytest

from labctl.bench import Bench, load_bench, power_table
from labctl.errors import LimitError
from tests.conftest import SMALL_BENCH

DIFFRACTIVE = SMALL_BENCH.with_name("small_diffractive.yaml")


def limited(**ceilings: str) -> dict[str, Any]:
    return {f"devices.{device}.settings.max_light": ceiling for device, ceiling in ceilings.items()}


def test_beams_that_meet_in_a_cell_are_summed():
    # 3 mW of pump_hidden pump the cell, the probe comes from behind with 20 uW
    with Bench(load_bench(SMALL_BENCH, limited(cell="3.01 mW")), simulate=True) as bench:
        bench.beam("pump_hidden").on()
        with pytest.raises(
            LimitError, match=r"cell: 3.02 mW of probe and pump_hidden would reach it, its max_light is"
        ):
            bench.beam("probe").on()
        assert not bench.beam("probe").is_on
        bench.beam("pump_hidden").off()
        bench.beam("probe").on()


def test_a_lit_beam_is_not_set_to_more_than_its_camera_may_see():
    with Bench(load_bench(SMALL_BENCH, limited(camera_z1="6 mW")), simulate=True) as bench:
        reference = bench.beam("reference")
        reference.on()
        with pytest.raises(LimitError, match="camera_z1"):
            reference.set_power(7e-3)
        assert reference.power_w == pytest.approx(5e-3)


def test_beams_that_never_meet_are_not_summed():
    # the layer before a re-sent field has its own light: no beam passes a camera and a DMD
    with Bench(load_bench(SMALL_BENCH, limited(slm_1="0.2 mW", dmd_input="0.2 mW")), simulate=True) as bench:
        for beam in bench.beams:
            beam.on()


def test_in_free_space_every_beam_of_the_path_counts():
    with Bench(load_bench(DIFFRACTIVE, limited(slm_1="20.2 mW")), simulate=True) as bench:
        bench.beam("signal").on()
        with pytest.raises(LimitError, match="slm_1"):
            bench.beam("error_beam").on()


@pytest.mark.parametrize(("ceiling", "able"), [("3.1 mW", True), ("3.01 mW", False)])
def test_check_compares_the_powers_of_the_file_with_its_ceilings(ceiling: str, able: bool):
    rows = power_table(load_bench(SMALL_BENCH, limited(cell=ceiling)))
    (row,) = [row for row in rows if row.plane == "cell" and "light of" in row.what]
    assert row.able is able
