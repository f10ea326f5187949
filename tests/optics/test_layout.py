"""The light path as written in a bench file: its stages, its parameters, and chains that are refused."""

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from labctl.documents import read_bench_document
from labctl.optics.layout import Layout, LightEntry
from labctl.optics.multiplier.elements import Encode, Multiply, Read, Regenerate, Tap, centred_origin

Light = list[dict[str, Any]]
ENCODE, MULTIPLY, REGENERATE, TAP_BACK, CELL, TAP_FORTH, MULTIPLY_2, READ = range(8)


def optical_part() -> dict[str, Any]:
    """Return the optical content of the shipped vapour-cell bench as plain data."""
    return {key: value for key, value in read_bench_document("vapour_cell").data.items() if key in _KEYS}


_KEYS = {field.alias or name for name, field in Layout.model_fields.items()}


def layout(change: Callable[[Light], object] | None = None, **parts: Any) -> Layout:
    data = {**optical_part(), **parts}
    if change:
        change(data["light"])
    return Layout.model_validate(data)


@pytest.mark.parametrize(
    ("shape", "block", "blocks", "origin"),
    [
        ((1080, 1920), (1080, 2), (1, 960), (0, 0)),
        ((1080, 1920), (1020, 2), (1, 804), (30, 156)),
        ((2464, 4160), (16, 5), (130, 804), (192, 70)),
        ((10, 10), (3, 3), (1, 1), (3, 3)),
    ],
)
def test_a_grid_of_blocks_is_centred_on_its_panel(
    shape: tuple[int, int], block: tuple[int, int], blocks: tuple[int, int], origin: tuple[int, int]
):
    assert centred_origin(shape, block, blocks) == origin
    for axis in (0, 1):
        before = origin[axis]
        after = shape[axis] - before - block[axis] * blocks[axis]
        assert after - before in (0, 1)


def test_a_grid_that_is_too_large_begins_before_the_panel():
    assert centred_origin((10, 10), (4, 4), (3, 2)) == (-1, 1)


def test_photons_at_780_nm_carry_what_the_power_budget_counts():
    assert 1e-6 / layout().laser.photon_energy_j == pytest.approx(3.93e12, rel=1e-3)


def test_the_vapour_cell_bench_is_two_stages_with_the_cell_in_the_second():
    first, second = layout().stages
    assert isinstance(first.source, Encode)
    assert isinstance(first.end, Regenerate)
    assert second.source is first.end
    assert isinstance(second.end, Read)
    assert first.absorb is None
    assert second.absorb is not None
    assert (first.multiply.device, second.multiply.device) == ("slm_1", "slm_2")
    assert set(first.cameras) == {"camera_z1"}
    assert set(second.cameras) == {"camera_hidden_1", "camera_error_1", "camera_output"}


def test_every_plane_carries_its_pilots_behind_the_data():
    first, second = layout().stages
    assert (first.columns, first.rows) == (784 + 20, 128 + 3)
    assert (second.columns, second.rows) == (128 + 3, 10 + 2)


def test_a_bench_without_a_cell_is_a_chain_too():
    linear = layout(lambda light: light.__setitem__(slice(REGENERATE, MULTIPLY_2 + 1), []))
    (stage,) = linear.stages
    assert (stage.absorb, stage.activation_tap, stage.error_tap) == (None, None, None)
    assert set(stage.cameras) == {"camera_output"}
    assert linear.unit_power_w == 1e-6


WAY_BACK: dict[str, Any] = {
    "camera": "camera_error_1",
    "device": "dmd_back",
    "beam": "probe",
    "block": [1080, 14],
    "carrier": 8,
    "efficiency": {"value": 0.04, "source": "test"},
}


def repeat(light: Light) -> None:
    """Put a second hidden layer between the first one and the output."""
    light[READ:READ] = deepcopy(light[REGENERATE : MULTIPLY_2 + 1])
    light[READ]["regenerate"]["backward"] = deepcopy(WAY_BACK)


def test_a_second_hidden_layer_is_a_third_stage():
    stages = layout(repeat).stages
    assert [type(stage.source) for stage in stages] == [Encode, Regenerate, Regenerate]
    assert [stage.absorb is not None for stage in stages] == [False, True, True]
    assert all(before.end is after.source for before, after in pairwise(stages))
    assert [stage.injector and stage.injector.device for stage in stages] == [None, "dmd_back", "dmd_error"]


def test_the_way_back_past_a_regeneration_has_an_efficiency_of_its_own():
    parameters = layout(repeat).parameters()
    assert parameters["dmd_back.efficiency"].value == 0.04
    assert parameters["dmd_hidden.efficiency"].value == 0.05


def without_way_back(light: Light) -> None:
    repeat(light)
    del light[READ]["regenerate"]["backward"]


def way_back_of_another_camera(light: Light) -> None:
    repeat(light)
    light[READ]["regenerate"]["backward"]["camera"] = "camera_hidden_1"


def way_back_to_no_cell(light: Light) -> None:
    light[REGENERATE]["regenerate"]["backward"] = WAY_BACK


def way_back_of_half_a_carrier(light: Light) -> None:
    repeat(light)
    light[READ]["regenerate"]["backward"]["carrier"] = 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_way_back, "'regenerate' has a 'backward' where a cell stands before it"),
        (way_back_to_no_cell, "'regenerate' has a 'backward' where a cell stands before it"),
        (way_back_of_another_camera, "the next backward tap measures, camera_error_1, not camera_hidden_1"),
        (way_back_of_half_a_carrier, "carrier period is a multiple of 4"),
    ],
)
def test_a_way_back_that_leads_nowhere_is_refused(change: Callable[[Light], object], message: str):
    with pytest.raises(ValidationError, match=message):
        layout(change)


@pytest.mark.parametrize("element", LightEntry.model_fields)
def test_an_entry_without_content_is_refused(element: str):
    with pytest.raises(ValidationError, match="an entry of the light list is one of"):
        layout(lambda light: light.insert(CELL, {element: None}))


def append_a_multiplier(light: Light) -> None:
    light.append(light[MULTIPLY])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda light: light.clear(), "must end with 'read'", id="nothing"),
        pytest.param(lambda light: light.pop(READ), "must end with 'read'", id="no read"),
        pytest.param(append_a_multiplier, "must end with 'read'", id="something behind read"),
        pytest.param(lambda light: light.pop(ENCODE), "a stage begins with", id="no encode"),
        pytest.param(lambda light: light.pop(MULTIPLY), "one 'multiply'", id="no multiplier"),
        pytest.param(lambda light: light.insert(MULTIPLY, light[MULTIPLY]), "one 'multiply'", id="two multipliers"),
        pytest.param(lambda light: light.insert(CELL, light[CELL]), "at most one 'absorb'", id="two cells"),
        pytest.param(lambda light: light.pop(TAP_BACK), "one forward and one backward", id="no error tap"),
        pytest.param(lambda light: light.pop(TAP_FORTH), "one forward and one backward", id="no activation tap"),
        pytest.param(lambda light: light[CELL].clear(), "is one of", id="an empty entry"),
        pytest.param(lambda light: light[CELL].update(light[READ]), "is one of", id="two in one entry"),
        pytest.param(lambda light: light[CELL].update(mirror={}), "Extra inputs", id="an unknown element"),
    ],
)
def test_a_chain_light_cannot_follow_is_refused(change: Callable[[Light], object], message: str):
    with pytest.raises(ValidationError, match=message):
        layout(change)


@pytest.mark.parametrize("directions", [{}, {"forward": "a", "backward": "b"}])
def test_a_tap_looks_one_way(directions: dict[str, str]):
    part = {"fraction": {"value": 0.1, "source": "test"}, "full_scale": 1}
    with pytest.raises(ValidationError, match="exactly one of forward and backward"):
        Tap.model_validate({**directions, **part})


@pytest.mark.parametrize(
    ("entry", "element", "key", "value"),
    [
        (ENCODE, "encode", "modes", 0),
        (ENCODE, "encode", "pilot_columns", 0),
        (MULTIPLY, "multiply", "period", 3),
        (MULTIPLY, "multiply", "weight_range", 0),
        (MULTIPLY, "multiply", "slit", 14.4),
        (MULTIPLY, "multiply", "slit_m", "14.4 um"),
        (REGENERATE, "regenerate", "gain", 20),
        (REGENERATE, "regenerate", "full_scale", -8),
        (CELL, "absorb", "saturation_power", 0.19),
        (READ, "read", "carrier", 2),
    ],
)
def test_a_value_without_sense_or_unit_is_refused(entry: int, element: str, key: str, value: Any):
    with pytest.raises(ValidationError, match=key):
        layout(lambda light: light[entry][element].update({key: value}))


CARRIERS = [(MULTIPLY, "multiply", "period"), (REGENERATE, "regenerate", "carrier"), (READ, "read", "carrier")]


@pytest.mark.parametrize(("entry", "element", "key"), CARRIERS)
@pytest.mark.parametrize(("rows", "period"), [(24, 6), (20, 10), (16, 12), (40, 16), (16, 32), (19, 8)])
def test_a_block_that_holds_no_whole_carrier_is_refused_where_it_is_written(
    entry: int, element: str, key: str, rows: int, period: int
):
    message = f"a multiple of 4 that divides the block's {rows} rows, got {period}"
    with pytest.raises(ValidationError, match=message) as refused:
        layout(lambda light: light[entry][element].update({key: period, "block": [rows, 8]}))
    assert [error["loc"] for error in refused.value.errors()] == [("light", entry, element)]


@pytest.mark.parametrize(("entry", "element", "key"), CARRIERS)
@pytest.mark.parametrize(("rows", "period"), [(4, 4), (24, 12), (40, 20), (64, 64)])
def test_any_quartered_period_that_divides_the_block_is_taken(
    entry: int, element: str, key: str, rows: int, period: int
):
    taken = layout(lambda light: light[entry][element].update({key: period, "block": [rows, 8]}))
    assert getattr(taken.elements[entry], key) == period


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("entry", [MULTIPLY, MULTIPLY_2])
def test_a_panel_block_too_narrow_for_fringing_is_refused(entry: int, columns: int):
    with pytest.raises(ValidationError, match="4 columns or more"):
        layout(lambda light: light[entry]["multiply"].update(block=[16, columns]))


def test_the_narrowest_panel_block_has_four_columns():
    assert layout(lambda light: light[MULTIPLY]["multiply"].update(block=[16, 4])).stages[0].multiply.block == (16, 4)


def test_every_parameter_has_a_name_of_its_own_a_source_and_si_units():
    parameters = layout().parameters()
    assert len(parameters) == 26
    assert all(parameter.source for parameter in parameters.values())
    assert parameters["cell.saturation_power"].value == pytest.approx(0.19e-6)
    assert parameters["cell.saturation_power"].sd == pytest.approx(0.019e-6)
    assert parameters["slm_2.fringing"].sd == pytest.approx(0.03)
    assert parameters["dmd_hidden.fraction"].value == pytest.approx(0.00465)  # regeneration: named by its DMD
    assert parameters["camera_error_1.fraction"].value == pytest.approx(0.151)  # taps and reads: by their camera
    assert parameters["camera_output.efficiency"].value == pytest.approx(0.05)
    assert parameters["reference.phase"].sd == pytest.approx(0.1)


@pytest.mark.parametrize("panel", ["slm_1", "slm_2"])
def test_weights_of_the_bench_are_uncertain_by_three_percent(panel: str):
    error = layout().parameters()[f"{panel}.weight_error"]
    assert (error.value, error.sd) == (0, pytest.approx(0.03))


def test_a_percentage_of_no_weight_error_is_refused():
    nothing = {"weight_error": {"value": 0, "sd": "3 %", "source": "test"}}
    with pytest.raises(ValidationError, match="write it as a quantity"):
        layout(lambda light: light[MULTIPLY]["multiply"].update(nothing))


def test_fields_are_in_units_of_the_believed_saturation_power():
    assert layout().unit_power_w == pytest.approx(0.19e-6)


def test_a_layout_cannot_be_changed_once_read():
    multiply = layout().stages[0].multiply
    assert isinstance(multiply, Multiply)
    with pytest.raises(ValidationError, match="frozen"):
        multiply.period = 4


def test_the_absorber_law_is_published_unless_another_known_one_is_named():
    without = optical_part()
    without.pop("absorber_law")
    assert Layout.model_validate(without).absorber_law == "published"
    assert layout(absorber_law="doppler").absorber_law == "doppler"
    with pytest.raises(ValidationError, match="absorber_law"):
        layout(absorber_law="lorentz")
