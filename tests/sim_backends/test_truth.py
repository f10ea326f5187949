"""The truth follows its seed alone, and stays with the twins."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.optics.parameters import Parameter, believed
from sim_backends import truth as truth_module
from sim_backends.truth import VARYING, Truth, draw_truth
from tests.conftest import CAMERAS, SMALL_BENCH
from tests.sim_backends.noise_terms import reference_electrons

if TYPE_CHECKING:
    from tests.conftest import OpenTable

# ---- seeds


@pytest.fixture
def full(open_table: "OpenTable") -> Any:
    """Return a function that takes counts under given seeds, everything switched on as shipped."""

    def take(seed: int, truth_seed: int | None = None, overrides: Mapping[str, Any] | None = None) -> np.ndarray:
        table = open_table(overrides, seed=seed, truth_seed=truth_seed)
        table.write("slm_1", 0.5)
        stacks = {"dmd_input": table.stack("dmd_input", np.linspace(0, 1, 44).reshape(2, 22))}
        return table.counts("camera_z1", ["pump", "reference"], stacks)

    return take


def test_equal_seeds_give_equal_counts(full: Any):
    assert np.array_equal(full(1, 2), full(1, 2))


def test_another_seed_is_other_noise(full: Any):
    assert not np.array_equal(full(1, 2), full(3, 2))


def test_another_seed_is_the_same_truth(full: Any):
    still = {"simulation.noise_scale": 0, "simulation.terms.reference_phase_walk": {"value": "0 rad", "source": "off"}}
    assert np.abs(full(1, 2, still) - full(3, 2, still)).max() <= 12  # rounding


def test_another_truth_seed_is_another_truth(full: Any):
    still = {"simulation.noise_scale": 0}
    assert np.abs(full(1, 2, still) - full(1, 3, still)).max() > 100


def test_the_truth_seed_is_the_files_own_by_default(full: Any):
    assert np.array_equal(full(1), full(1, 1))


def test_without_imperfections_all_truths_are_one(full: Any):
    ideal = {"simulation.imperfections": False}
    assert np.array_equal(full(1, 2, ideal), full(1, 3, ideal))


@pytest.mark.parametrize("truth_seed", [1, 2, 3])
def test_the_light_is_that_of_the_printed_truth(
    truth_seed: int, open_table: "OpenTable", capsys: pytest.CaptureFixture[str]
):
    truth_module.main([str(SMALL_BENCH), "--truth-seed", str(truth_seed), "--json"])
    printed = json.loads(capsys.readouterr().out)["values"]["reference.electrons"]
    flat = {name: {"value": 0, "source": "off"} for name in ("pixel_gain", "photo_response", "power_drift")}
    table = open_table({"simulation.terms": flat}, truth_seed=truth_seed)
    assert printed != 2e5
    assert reference_electrons(table, 500).mean() == pytest.approx(printed, rel=3e-4)


# ---- the draw

PARAMETERS = {
    "slm.fringing": Parameter(value=0.6, sd=0.03, source="x"),
    "slm.registration": Parameter(value=0.0, sd=0.5, source="x"),
    "slm.weight_error": Parameter(value=0.0, sd=0.03, source="x"),
    "slm.slit": Parameter(value=2.0, source="x"),
    "cell.depth": Parameter(value=1.0, sd=3.0, source="x"),
}


def test_a_truth_is_its_seed():
    one = draw_truth(PARAMETERS, 4, 1.0)
    assert one.values == draw_truth(PARAMETERS, 4, 1.0).values
    assert one.values != draw_truth(PARAMETERS, 5, 1.0).values
    assert np.array_equal(one.modes("a", (3, 2)), draw_truth(PARAMETERS, 4, 1.0).modes("a", (3, 2)))
    assert not np.array_equal(one.modes("a", (6,)), one.modes("b", (6,)))


def test_a_draw_does_not_move_when_another_is_added():
    fewer = {name: parameter for name, parameter in PARAMETERS.items() if name != "slm.fringing"}
    values = draw_truth(PARAMETERS, 4, 1.0).values
    assert {name: values[name] for name in fewer} == draw_truth(fewer, 4, 1.0).values


def test_draws_have_the_stated_spread():
    drawn = [draw_truth(PARAMETERS, seed, 1.0).values for seed in range(1000)]
    for name in ("slm.fringing", "slm.registration"):
        values = np.array([one[name] for one in drawn])
        sd = PARAMETERS[name].sd
        assert values.mean() == pytest.approx(PARAMETERS[name].value, abs=4 * sd / math.sqrt(1000))
        assert values.std() == pytest.approx(sd, rel=0.1)
    assert all(one["slm.slit"] == 2.0 for one in drawn)
    assert all(one["slm.weight_error"] == 0.0 for one in drawn)  # drawn per weight, not once
    assert min(one["cell.depth"] for one in drawn) >= 0.05


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_deviations_follow_the_scale(scale: float):
    unscaled = draw_truth(PARAMETERS, 4, 1.0).values["slm.registration"]
    assert draw_truth(PARAMETERS, 4, scale).values["slm.registration"] == pytest.approx(scale * unscaled)
    if scale == 0:
        assert draw_truth(PARAMETERS, 4, scale).values == believed(PARAMETERS)


def test_smooth_draws_have_rms_one():
    truth = Truth(3, {}, 1.0)
    for count in (12, 130, 804):
        profile = truth.smooth_profile("light", count)
        assert np.sqrt(np.mean(profile**2)) == pytest.approx(1)
        assert abs(profile.mean()) < 0.35
        assert np.abs(np.diff(profile)).max() < 60 / count
    surfaces = [truth.aberration(f"panel {k}", (60, 80), (1.0, 1.0)) for k in range(20)]
    assert np.mean([np.sqrt(np.mean(one**2)) for one in surfaces]) == pytest.approx(1, rel=0.05)
    assert all(abs(one.mean()) < 0.1 for one in surfaces)


# ---- who may see it


def scalar_deviations(parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the parameters whose truth is one number and not a draw for every mode or weight."""
    names = [name for name, parameter in parameters.items() if parameter.sd and name.rpartition(".")[2] not in VARYING]
    assert len(names) > 10
    return names


def numbers(part: Any) -> Iterator[float]:
    """Yield every number in nested plain data."""
    if isinstance(part, Mapping):
        part = list(part.values())
    if isinstance(part, list | tuple | set | frozenset):
        for one in part:
            yield from numbers(one)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield float(part)


def test_what_trainers_see_holds_no_number_of_the_truth(small_bench_file: Path):
    file = load_bench(small_bench_file)
    with Bench(file, True, truth_seed=11) as bench:
        bench.cell("cell").set_temperature(70)
        seen = set(numbers([file.model_dump(), bench.file.model_dump(), bench.state()]))
        seen |= set(numbers([believed(bench.file.parameters()), [vars(p) for p in file.parameters().values()]]))
    hidden = draw_truth(file.parameters(), 11, 1.0).values
    deviating = {name: value for name, value in hidden.items() if value != file.parameters()[name].value}
    assert set(deviating) == set(scalar_deviations(file.parameters()))
    assert not {name for name, value in deviating.items() if value in seen}


def test_no_public_name_of_an_open_bench_leads_to_its_light_path(small_bench_file: Path):
    def reachable(part: Any, depth: int) -> Iterator[Any]:
        yield part
        if depth and hasattr(part, "__dict__"):
            for name, value in vars(part).items():
                if not name.startswith("_"):
                    yield from reachable(value, depth - 1)
        elif depth and isinstance(part, Mapping):
            for value in part.values():
                yield from reachable(value, depth - 1)

    with Bench(load_bench(small_bench_file), True) as bench:
        modules = {type(one).__module__ for one in reachable(bench, 6)}
    assert "sim_backends.twins" in modules
    assert not modules & {"sim_backends.light_path", "sim_backends.truth", "sim_backends.disturbance"}


# ---- the command


@pytest.mark.parametrize("bench", ["vapour_cell", str(SMALL_BENCH)])
def test_the_command_prints_the_truth_as_json(bench: str, capsys: pytest.CaptureFixture[str]):
    truth_module.main([bench, "--truth-seed", "7", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["bench"], printed["truth_seed"]) == (bench, 7)
    parameters = load_bench(bench).parameters()
    assert printed["values"] == dict(draw_truth(parameters, 7, 1.0).values)
    for name in scalar_deviations(parameters):
        assert printed["values"][name] != parameters[name].value


def test_the_command_takes_the_benchs_own_truth_by_default(capsys: pytest.CaptureFixture[str]):
    outputs = []
    for options in ([], ["--truth-seed", "1"], ["--truth-seed", "2"]):
        truth_module.main([str(SMALL_BENCH), "--json", *options])
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1] != outputs[2]


def test_the_command_prints_lines_for_people(capsys: pytest.CaptureFixture[str]):
    truth_module.main([str(SMALL_BENCH)])
    lines = capsys.readouterr().out.splitlines()
    parameters = load_bench(SMALL_BENCH).parameters()
    assert [line.split()[0] for line in lines[: len(parameters)]] == list(parameters)
    assert {line.split()[0] for line in lines[len(parameters) :]} == {f"{name}.reference_phase" for name in CAMERAS}
    assert all(math.isfinite(float(line.split()[1])) for line in lines)


def test_a_bench_without_imperfections_has_no_hidden_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "ideal.yaml"
    text = SMALL_BENCH.read_text(encoding="utf-8").replace("imperfections: true", "imperfections: false")
    path.write_text(text, encoding="utf-8")
    truth_module.main([str(path), "--json"])
    assert json.loads(capsys.readouterr().out)["values"] == believed(load_bench(path).parameters())
