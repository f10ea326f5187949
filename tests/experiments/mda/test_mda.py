"""Plan `mda` on the twins of a small Fourier bench with a stage: as planned, as lit, and on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import useq
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.bench import Bench, load_bench
from labctl.experiments.mda.frames import make_job
from labctl.experiments.mda.plan import mda
from labctl.experiments.mda.sequence import parse_sequence
from labctl.experiments.mda.settings import MdaSettings
from labctl.experiments.mda.survey import survey
from labctl.plan import parse_settings
from labctl.records import Record
from labctl.runner import Runner
from tests.drivers.test_mmcore import CAMERA, TESTER, noted
from tests.experiments.mda.small import FOURIER, PRESETS, SEQUENCE, TRAVEL, frames_of, images, run, small


def test_frames_and_positions_are_those_useq_plans(tmp_path: Path):
    outcome, folder, records = run(tmp_path, SEQUENCE)
    assert outcome.status == "completed", outcome.error
    planned = list(useq.MDASequence.model_validate(SEQUENCE))
    taken = frames_of(records)
    assert len(planned) == len(taken) == 36
    for event, record in zip(planned, taken, strict=True):
        values = record.values
        assert values["index"] == {str(axis): k for axis, k in event.index.items()}
        assert values["position_um"] == pytest.approx({"x": event.x_pos, "y": event.y_pos, "z": event.z_pos})
        assert event.channel is not None
        assert (values["channel"], values["exposure_s"] * 1e3) == (event.channel.config, event.exposure)
        assert event.min_start_time is not None
        assert values["time_s"] - taken[0].values["time_s"] >= event.min_start_time - 1e-9
    stored = images(folder)
    assert list(stored) == ["left", "right"]
    for record in taken:
        frame = stored[record.values["image"]]["0"][tuple(record.values["place"])]
        assert np.array_equal(frame, record.arrays["counts"])


def test_pixels_planes_and_times_have_their_sizes(tmp_path: Path):
    bench = small(**{"light.3.detect.view.magnification.value": 2})
    _, folder, _ = run(tmp_path, SEQUENCE, bench=bench)
    for name, image in images(folder).items():
        (multiscale,) = image.attrs["ome"]["multiscales"]
        scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
        assert scale["scale"] == pytest.approx([2.0, 1.0, 2.0, 50.0, 50.0])  # 100 um pixels, magnified twice
        assert translation["translation"] == pytest.approx([0, 0, {"left": 48, "right": 58}[name], 0, 0])
        units = {axis["name"]: axis.get("unit") for axis in multiscale["axes"]}
        assert units == {"t": "second", "c": None, **dict.fromkeys("zyx", "micrometer")}
        assert [one["label"] for one in image.attrs["ome"]["omero"]["channels"]] == ["weak", "strong"]
        assert image["0"].shape == (3, 2, 3, 60, 80)
        assert image["0"].chunks == (1, 1, 1, 60, 80)


def test_the_dry_run_is_right_about_exposures_writes_and_seconds(tmp_path: Path):
    grating = {"beam": "on", "slm": 90}
    presets = {"weak": {**PRESETS["weak"], "slm": 0}, "strong": grating}
    sequence = {**SEQUENCE, "metadata": {"labctl": {"presets": presets}}, "keep_shutter_open_across": "z"}
    with Bench(small(), True) as bench:
        chosen = parse_settings(mda, {"sequence": sequence})
        budget = mda.budget(bench, chosen)
        start_s = bench.clock.now_s()
        runner = Runner(mda, bench, chosen, np.random.default_rng(0), [seen := Seen()])
        assert runner.run().status == "completed"
        busy_s = seen.last_s - start_s
    assert budget.exposures == {"mda": 36}
    assert budget.mask_writes == 12  # weak and strong, at each of 3 x 2
    assert budget.bench_seconds == pytest.approx(busy_s)
    assert 36 * 60 * 80 * 2 < budget.disk_bytes < 36 * (60 * 80 * 2 + 1000)


class Seen:
    """A listener that notes the bench time of the last record."""

    last_s = 0.0

    def __call__(self, record: Record) -> None:
        self.last_s = record.bench_time_s


def test_the_camera_sees_beams_and_panel_as_the_channels_say(tmp_path: Path):
    blaze = (np.arange(64) * 32 % 256).astype(np.uint8) * np.ones((48, 1), np.uint8)
    np.save(tmp_path / "blaze.npy", blaze)
    presets = {
        "dark": {"slm": 0},
        "weak": {"beam": "2 mW", "slm": 0},
        "strong": {"beam": "8 mW", "slm": 0},
        "blaze": {"beam": "8 mW", "slm": "blaze.npy"},
    }
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"channels": list(presets), "metadata": {"labctl": {"presets": presets}}}))
    quiet = {"simulation.noise_scale": 0, "simulation.imperfections": False}
    outcome, _, records = run(tmp_path, str(plan), bench=small(**quiet))  # type: ignore[arg-type]
    assert outcome.status == "completed", outcome.error
    dark, weak, strong, blazed = (frame.arrays["counts"].astype(float) for frame in frames_of(records))
    assert dark.sum() == 0
    assert strong.sum() / weak.sum() == pytest.approx(4, rel=0.05)
    far_m = 532e-9 * 250e-3 / (8 * 8e-6)  # a period of 8 pixels
    moved = np.array(np.unravel_index(blazed.argmax(), blazed.shape)) - np.unravel_index(strong.argmax(), strong.shape)
    assert np.hypot(*moved) == pytest.approx(far_m / 100e-6, abs=1)
    (setup,) = [record for record in records if record.kind == "setup"]
    assert np.array_equal(setup.arrays["slm.3"], blaze)


def test_the_light_is_off_but_for_the_frames(tmp_path: Path):
    with Bench(small(), True) as bench:
        lit: list[bool] = []
        bench.clock.on_wait.append(lambda: lit.append(bench.beam("beam").is_on))
        chosen = parse_settings(mda, {"sequence": SEQUENCE})
        steps = mda(bench, chosen, np.random.default_rng(0))
        for record in steps:
            assert record.kind != "frame" or not bench.beam("beam").is_on
    assert True in lit


@pytest.mark.parametrize(
    ("plan", "scale"),
    [
        ({"interval": 0, "loops": 5}, {"unit": None, "scale": 1.0}),
        ([{"interval": 0.1, "loops": 5}, {"interval": 1, "loops": 5}], {"unit": None, "scale": 1.0}),
        ({"interval": 0.25, "loops": 9}, {"unit": "second", "scale": 0.25}),
    ],
    ids=["one after another", "phases", "regular"],
)
def test_times_have_a_scale_where_they_have_an_interval(tmp_path: Path, plan: Any, scale: dict[str, Any]):
    """Else it is 1.0, which NGFF 0.5 (multiscales) asks for where none is applicable, and no unit says it is a time."""
    _, folder, _ = run(tmp_path, {"time_plan": plan, "channels": ["weak"]}, presets=PRESETS)
    (image,) = images(folder).values()
    (multiscale,) = image.attrs["ome"]["multiscales"]
    stored = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"][0]
    assert {"unit": multiscale["axes"][0].get("unit"), "scale": stored} == scale


def test_planes_taken_downwards_are_stored_upwards(tmp_path: Path):
    sequence = {"z_plan": {"top": 30, "bottom": 10, "step": 5, "go_up": False}}
    _, folder, records = run(tmp_path, sequence, beams=["beam"])
    assert [record.values["position_um"]["z"] for record in frames_of(records)] == pytest.approx([30, 25, 20, 15, 10])
    assert [record.values["place"][2] for record in frames_of(records)] == [4, 3, 2, 1, 0]
    (image,) = images(folder).values()
    scale, translation = image.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"][2] == 5
    assert translation["translation"][2] == pytest.approx(10)


def test_channels_that_leave_planes_out_leave_places_empty(tmp_path: Path):
    channels = ["weak", {"config": "strong", "do_stack": False}]
    outcome, folder, records = run(tmp_path, {**SEQUENCE, "channels": channels})
    planned = list(useq.MDASequence.model_validate({**SEQUENCE, "channels": channels}))
    assert outcome.status == "completed"
    assert len(frames_of(records)) == len(planned) == 3 * 2 * 4
    for image in images(folder).values():
        assert not image["0"][:, 1, [0, 2]].any()
        assert image["0"][:, 1, 1].any()


def test_a_grid_is_as_wide_as_the_camera_sees(tmp_path: Path):
    sequence = {"grid_plan": {"rows": 2, "columns": 1}, "channels": ["strong"]}
    chosen = MdaSettings(sequence=sequence, presets=PRESETS, magnification=1000.0)
    tops = [frame.target_m["y"] for frame in make_job(small(), chosen).frames()]
    assert abs(tops[1] - tops[0]) == pytest.approx(60 * 100e-6 / 1000)


ODD: dict[str, dict[str, Any]] = {
    "grid of one position": {
        "stage_positions": [{"z": 20}, {"x": 9, "y": 1, "z": 30, "sequence": {"grid_plan": {"rows": 2, "columns": 1}}}],
        "z_plan": {"range": 4, "step": 2},
        "channels": ["weak", "strong"],
    },
    "planes of one position": {
        "stage_positions": [{"z": 20}, {"z": 30, "sequence": {"z_plan": {"relative": [0, 1, 5]}}}],
        "time_plan": {"interval": 1, "loops": 2},
    },
    "channels of some positions": {
        "stage_positions": [
            {"z": 20},
            {"z": 30, "sequence": {"channels": ["weak"]}},
            {"z": 40, "sequence": {"channels": ["strong", "weak"]}},
        ]
    },
    "every second time": {
        "time_plan": {"interval": 1, "loops": 5},
        "channels": ["weak", {"config": "strong", "acquire_every": 2}],
    },
    "phases": {"time_plan": [{"interval": 1, "loops": 3}, {"interval": 10, "loops": 2}], "channels": ["weak"]},
    "edges": {"grid_plan": {"top": 60, "left": -60, "bottom": -60, "right": 60, "fov_width": 50, "fov_height": 50}},
    "offset": {"z_plan": {"absolute": [10, 20]}, "channels": ["weak", {"config": "strong", "z_offset": 3}]},
    "open": {"z_plan": {"absolute": [1, 2]}, "channels": ["weak", "strong"], "keep_shutter_open_across": "z"},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_sequences_are_taken_as_useq_says(name: str, tmp_path: Path):
    chosen = parse_settings(mda, {"sequence": ODD[name], "presets": PRESETS, "beams": ["beam"], "magnification": 1000})
    job, planned = make_job(small(), chosen), parse_sequence(ODD[name])
    for part in (planned, *(position.sequence for position in planned.stage_positions)):
        grid: Any = part.grid_plan if part else None
        if grid and not grid.fov_width:
            grid.fov_height, grid.fov_width = 6.0, 8.0
    outcome, folder, records = run(tmp_path, ODD[name], presets=PRESETS, beams=["beam"], magnification=1000)
    assert outcome.status == "completed", outcome.error
    last: dict[str, float | None] = {"x": None, "y": None, "z": None}
    for event, record in zip(planned, frames_of(records), strict=True):
        asked = {"x": event.x_pos, "y": event.y_pos, "z": event.z_pos}
        last |= {axis: um for axis, um in asked.items() if um is not None}
        assert record.values["position_um"] == pytest.approx({axis: um for axis, um in last.items() if um is not None})
        assert record.values["channel"] == (event.channel.config if event.channel else None)
        assert record.values["mean_counts"] > 0
    places = [(record.values["image"], *record.values["place"]) for record in frames_of(records)]
    assert len(set(places)) == len(places)
    assert mda.budget(Bench(job.file, True), chosen).exposures == {"mda": len(places)}
    stored = images(folder)
    for record in frames_of(records):
        image, (t, c, z) = stored[record.values["image"]], record.values["place"]
        assert np.array_equal(image["0"][t, c, z], record.arrays["counts"])
        if record.values["channel"]:
            assert image.attrs["ome"]["omero"]["channels"][c]["label"] == record.values["channel"]


def test_after_a_pause_frames_are_not_hurried():
    sequence = {"time_plan": {"interval": 2, "loops": 6}}
    with Bench(small(), True) as bench:
        times_s = []
        for record in mda(bench, parse_settings(mda, {"sequence": sequence}), np.random.default_rng(0)):
            if record.kind == "frame":
                times_s.append(record.values["time_s"])
                bench.clock.wait(60.0 if record.index == 2 else 0.0)
    assert np.diff(times_s) == pytest.approx([2, 2, 62, 2, 2])


def test_frames_of_a_real_core_were_taken_under_what_was_planned(tmp_path: Path):
    """SequenceTester's camera writes into every image what the core had set when it was taken."""
    config = tmp_path / "tester.cfg"
    config.write_text(TESTER)
    eye = {**CAMERA, "shape": [384, 384], "bit_depth": 8, "period": "2 s"}  # a busy machine is no lost frame
    table = {"axes": dict.fromkeys("xyz", TRAVEL), "settle": "1 ms", "tolerance": "50 nm", "timeout": "2 s"}
    shared: dict[str, Any] = {"connection": "tester"}
    changes = {
        "connections": {"tester": {"driver": "drivers.mmcore.MMCore", "hardware": {"config": str(config)}}},
        "devices.eye": {**shared, "kind": "camera", "driver": "drivers.mmcore_camera.MMCoreCamera",
                        "hardware": {"label": "TCamera"}, "settings": eye},
        "devices.table": {**shared, "kind": "stage", "driver": "drivers.mmcore_stage.MMCoreStage",
                          "hardware": {"xy": "TXY", "axes": {"z": "TZ"}}, "settings": table},
    }  # fmt: skip
    file = load_bench(FOURIER, changes)
    channels = [{"config": "weak", "exposure": 3}, {"config": "strong", "exposure": 12}]
    sequence = {"z_plan": {"absolute": [-7, 2, 11]}, "channels": channels}
    chosen = parse_settings(mda, {"sequence": sequence, "presets": PRESETS, "camera": "eye"})
    with Bench(file, set(file.devices) - {"eye", "table"}) as bench:
        taken = frames_of(list(mda(bench, chosen, np.random.default_rng(0))))
    planned = list(useq.MDASequence.model_validate(sequence))
    assert len(taken) == 6
    for event, record in zip(planned, taken, strict=True):
        assert noted(record.arrays["counts"], "ZPositionUm") == pytest.approx(event.z_pos)
        assert noted(record.arrays["counts"], "Exposure") == pytest.approx(event.exposure)


def test_sequences_of_a_vapour_cell_bench_are_taken(small_bench_file: Path, tmp_path: Path):
    sequence = {"time_plan": {"interval": 1, "loops": 2}, "channels": ["pump", "reference"]}
    outcome, folder, _ = run(tmp_path, sequence, bench=load_bench(small_bench_file), camera="camera_z1")
    assert outcome.status == "completed", outcome.error
    (image,) = images(folder).values()
    assert image["0"].shape[:3] == (2, 2, 1)


# ---- whatever the sequence


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations("tpcz").map("".join),
    loops=st.integers(1, 4),
    interval=st.floats(0.1, 5),
    places=st.lists(st.tuples(st.floats(-90, 90), st.floats(20, 80)), max_size=3),
    planes=st.integers(0, 4),
    channels=st.sampled_from([[], ["weak"], ["strong", "weak"]]),
    open_across=st.sampled_from(["", "z", "cz", "tpcz"]),
)
def test_any_sequence_is_counted_and_placed(
    order: str,
    loops: int,
    interval: float,
    places: list[tuple[float, float]],
    planes: int,
    channels: list[str],
    open_across: str,
):
    data: dict[str, Any] = {"axis_order": order, "time_plan": {"interval": interval, "loops": loops}}
    data["stage_positions"] = [{"x": x, "z": z} for x, z in places]
    data |= {"channels": channels, "keep_shutter_open_across": open_across}
    if planes:
        data["z_plan"] = {"relative": [2.0 * k for k in range(planes)]} if places else {"absolute": [*range(planes)]}
    job = make_job(small(), parse_settings(mda, {"sequence": data, "presets": PRESETS}))
    planned = list(useq.MDASequence.model_validate(data))
    found = survey(job)
    taken = [(frame.image, tuple(found.place(frame))) for frame in job.frames()]
    assert found.frames == len(planned) == len(set(taken))
    for frame, event in zip(job.frames(), planned, strict=True):
        asked = {"x": event.x_pos, "z": event.z_pos}
        assert frame.target_m == pytest.approx({axis: um * 1e-6 for axis, um in asked.items() if um is not None})
        t, c, z = found.place(frame)
        shape = found.images[frame.image].shape
        assert all(0 <= k < n for k, n in zip((t, c, z), shape, strict=True))
    exposing = sum(max(0.03, frame.exposure_s) for frame in job.frames())
    assert found.seconds >= max(exposing, interval * (loops - 1)) - 1e-9


def test_what_yaml_says_is_what_useq_reads(tmp_path: Path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(SEQUENCE))
    assert parse_sequence(MdaSettings(sequence=plan).sequence) == useq.MDASequence.from_file(plan)  # type: ignore[arg-type]
