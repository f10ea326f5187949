"""The report of a run is one page that needs nothing else, whatever the run came to."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.errors import LabError
from labctl.recorder import Keep, Recorder
from labctl.records import Record
from labctl.report.page import make_page, write_report
from labctl.report.readings import MOST_MESSAGES, MOST_POINTS, Series, read_readings

HEADER = {
    "bench": "small_cell",
    "simulated": ["slm_1", "cell"],
    "bench_file": {"devices": {"slm_1": {}, "cell": {}}},
    "seed": 7,
    "truth_seed": 8,
    "settings": {"epochs": 2, "learning_rate": 5e-4, "hidden": [6], "nested": {"depth": 3}},
}
SUMMARY = {
    "test_accuracy": 0.875,
    "exposures": 1234,
    "exposures_by_heading": {"training": 1200, "setup": 34},
    "photons": 1.5e9,
    "mask_writes": 20,
    "bench_seconds": 300.0,
}
SCORES = {"test_accuracy": 0.8, "confusion": np.diag(range(10)).tolist()}
Begin = Callable[..., Recorder]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Return a function that begins a run; what a test left unfinished is closed at its end."""
    begun: list[Recorder] = []

    def one(plan: str, keep: Keep = "all", **more: Any) -> Recorder:
        begun.append(Recorder(tmp_path, plan, {**HEADER, **more}, keep))
        return begun[-1]

    yield one
    for recorder in begun:
        with suppress(LabError):
            recorder.finish("stopped")


@pytest.fixture
def recorder(begin: Begin) -> Recorder:
    return begin("train_in_situ")


def step(index: int, **values: Any) -> Record:
    read = {"epoch": 1, "loss": 0.5 / (index + 1), "accuracy": 0.5, "exposures": 10 * index, "reference_rad": 0.1}
    return Record("step", index, 2.0 * index, {**read, **values})


def agreement(index: int) -> Record:
    readings = {"cosine": 0.98, "cosine_exact": 0.96, "norm_ratio": 1.0, "noise_floor": 0.99}
    layers = [{"layer": n, **readings} for n in (1, 2)]
    places = {"inputs": 784, "sums": 6, "activations_1": 6, "errors_1": 6, "outputs": 10, "gradient_1": 3}
    arrays = {name: np.linspace(-1, index, 4 * count).reshape(4, count) for name, count in places.items()}
    return Record("agreement", index, 0.0, {"epoch": 1, "layers": layers}, arrays)


def train(recorder: Recorder, steps: int = 30) -> None:
    """Record a short training up to its weights, without finishing it."""
    recorder(Record("setup", 0, 0.0, {"message": "cell at 70 degC"}))
    recorder(agreement(0))
    for index in range(steps):
        recorder(step(index))
    recorder(Record("warning", 0, 9.0, {"message": "light <b>low</b>"}))
    recorder(Record("epoch", 0, 60.0, {"epoch": 1, "loss": 0.1, **SCORES}))
    recorder(Record("weights", 0, 60.0, {}, weights()))


def weights() -> Mapping[str, np.ndarray]:
    rng = np.random.default_rng(1)
    draws = {"weights.slm_1": (6, 784), "weights.slm_2": (10, 6)}
    drawn = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in draws.items()}
    return {**drawn, "mask.slm_1": np.arange(8 * 786, dtype=np.uint16).reshape(8, 786)}


def pictures(page: str) -> list[str]:
    return re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,iVBOR', page)


def test_a_training_is_told_whole(recorder: Recorder):
    train(recorder)
    recorder.finish("completed", SUMMARY)
    path = write_report(recorder.folder)
    page = path.read_text(encoding="utf-8")
    assert path == recorder.folder / "report.html"
    for text in ("train_in_situ on small_cell", "87.50%", "simulated (all 2 devices)", "1,234", "1.5e+09", "5.0 min"):
        assert text in page
    for text in ("nested.depth", "0.0005", "cell at 70 degC", "truth seed", "numpy"):
        assert text in page
    assert [name.split()[0] for name in pictures(page)] == [
        "loss,", "gradient", "reference", "confusion", "inputs,", "weights", "weights", "mask", "exposures,",
    ]  # fmt: skip
    assert "Left out" not in page


def test_without_a_summary_the_last_checkpoint_says_what_was_spent(recorder: Recorder):
    train(recorder)
    tally = {"exposures": {"training": 75, "setup": 25}, "photons": 2e9, "mask_writes": 7}
    recorder(Record("checkpoint", 0, 60.0, {"network": {"tally": tally}}, dict(weights())))
    recorder.finish("stopped")
    page = make_page(read_readings(recorder.folder))
    assert "2e+09" in page
    assert "that of the last checkpoint" in page
    assert pictures(page)[-1] == "exposures, photons and bench time by heading"


def test_a_page_needs_nothing_else_and_is_small(recorder: Recorder):
    train(recorder)
    recorder.finish("completed", SUMMARY)
    page = write_report(recorder.folder).read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|https?://|src=\"(?!data:)", page)
    assert len(page) < 10e6


def test_text_of_a_run_is_never_markup(recorder: Recorder):
    train(recorder, 2)
    recorder.finish("failed", error="<script>alert(1)</script>")
    page = make_page(read_readings(recorder.folder))
    assert "<script" not in page
    assert "<b>low" not in page
    assert "light &lt;b&gt;low" in page


def test_a_killed_run_is_told_as_far_as_it_came(recorder: Recorder):
    for index in range(3):
        recorder(step(index))
    with (recorder.folder / "steps.jsonl").open("ab") as file:
        file.write(b'{"kind":"st')
    page = make_page(read_readings(recorder.folder))
    assert "not finished" in page
    assert "<td>20</td>" in page  # exposures of the last step
    assert pictures(page) == ["loss, accuracy and gradient agreement over steps", "reference phase over bench time"]
    assert all(
        text in page for text in ("Left out", "masks:", "exposures, photons and", "confusion of", "gradient agreement:")
    )


def test_a_run_that_failed_before_its_first_record_has_a_page(recorder: Recorder):
    recorder.finish("failed", error="no light")
    page = make_page(read_readings(recorder.folder))
    assert "no light" in page
    assert not pictures(page)


def test_a_stopped_run_shows_the_masks_of_its_checkpoint(recorder: Recorder):
    recorder(step(0))
    recorder(Record("checkpoint", 0, 1.0, {"epoch": 1}, {**weights(), "adam.step.weights.slm_1": np.ones(())}))
    recorder.finish("stopped")
    page = make_page(read_readings(recorder.folder))
    assert "Weights at the last checkpoint" in page
    assert pictures(page)[-3:] == ["weights of slm_1", "weights of slm_2", "mask of slm_1 as sent"]


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 0.0])
def test_a_diverged_loss_leaves_a_gap(recorder: Recorder, loss: float):
    for index in range(30):
        recorder(step(index, loss=loss if index > 10 else 1.0))
    assert len(pictures(make_page(read_readings(recorder.folder)))) == 2


@pytest.mark.parametrize("shape", [(20, 30), (1, 130), (130,), (2, 20, 30)])
def test_stored_frames_are_shown(recorder: Recorder, shape: tuple[int, ...]):
    for index in range(9):
        recorder(Record("frame", index, 0.1 * index, {"id": index}, {"counts": np.full(shape, index, np.uint16)}))
    recorder.finish("completed", {"frames": 9})
    read = read_readings(recorder.folder)
    assert [int(frame.flat[0]) for _, frame in read.frames] == [0, 2, 3, 5, 6, 8]
    assert "stored frames" in pictures(make_page(read))


def test_frames_that_were_not_stored_are_said_to_be_left_out(begin: Begin):
    recorder = begin("snap", "summary")
    recorder(Record("frame", 0, 0.1, {"id": 0}, {"counts": np.ones((4, 4))}))
    assert "frames: they were not stored" in make_page(read_readings(recorder.folder))


def test_an_evaluation_has_its_accuracy(begin: Begin):
    recorder = begin("evaluate")
    recorder(Record("epoch", 0, 5.0, {"epoch": 0, "test_accuracy": 0.9}))
    recorder.finish("completed", SUMMARY)
    page = make_page(read_readings(recorder.folder))
    assert "87.50%" in page
    assert pictures(page) == ["exposures, photons and bench time by heading"]


@pytest.mark.parametrize(
    ("simulated", "text"), [([], "<td>real</td>"), (["cell"], "partly simulated: cell"), (None, "not recorded")]
)
def test_real_and_simulated_are_told_apart(begin: Begin, simulated: list[str] | None, text: str):
    recorder = begin("snap", simulated=simulated)
    assert text in make_page(read_readings(recorder.folder))


def test_a_series_keeps_few_points_evenly_and_the_last():
    series = Series()
    for number in range(100_000):
        series.add({"x": number, "text": "no number"})
    x = series.column("x")
    assert MOST_POINTS / 2 <= len(x) <= MOST_POINTS
    assert (x[0], x[-1]) == (0, 99_999)
    assert set(np.diff(x[:-1])) == {series.every}


def test_a_series_of_few_keeps_all():
    series = Series()
    for number in range(5):
        series.add({"x": number})
    assert series.column("x").tolist() == [0, 1, 2, 3, 4]
    assert not Series().has("x")


def test_messages_beyond_the_most_are_counted(recorder: Recorder):
    for index in range(MOST_MESSAGES + 3):
        recorder(Record("warning", index, 0.0, {"message": "again"}))
    read = read_readings(recorder.folder)
    assert (len(read.messages), read.unshown_messages) == (MOST_MESSAGES, 3)
    assert "3 more" in make_page(read)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(LabError, match=r"run\.yaml"):
        write_report(tmp_path)
