"""Plates as files: read back by libraries that know nothing of labctl."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from labctl.errors import ConfigError
from labctl.experiments.diffractive.export import WHITE, Format, Printed, export_plates
from labctl.experiments.diffractive.levels import ideal_response, nearest_levels, read_response
from labctl.experiments.diffractive.plates import Plates, write_plates
from labctl.experiments.diffractive.relief import heights_m, relief
from labctl.experiments.diffractive.trained import read_trained

WAVELENGTH_M, PITCH_M, INDEX = 0.75e-3, 0.4e-3, 1.7227
FULL_MM = 1e3 * WAVELENGTH_M / (INDEX - 1)


def random_plates(rows: int = 7, cols: int = 9) -> Plates:
    phase = np.random.default_rng(0).uniform(-10, 10, (2, rows, cols)).astype(np.float32)
    return Plates(phase, PITCH_M, WAVELENGTH_M)


def expected_mm(plates: Plates) -> np.ndarray:
    """Return the heights the phases stand for, written out once more: lambda phi / (2 pi dn)."""
    return 1e3 * WAVELENGTH_M * np.mod(plates.phase.astype(float), 2 * np.pi) / (2 * np.pi * (INDEX - 1))


def test_one_turn_is_the_published_height():
    assert heights_m(np.array([2 * math.pi * (1 - 1e-12)]), WAVELENGTH_M, INDEX)[0] == pytest.approx(
        1.0378e-3, rel=1e-4
    )


def test_an_stl_is_watertight_and_its_columns_have_the_heights_of_their_phases(tmp_path: Path):
    plates = random_plates()
    files = export_plates(plates, tmp_path, Format.STL, Printed(INDEX, 0.5e-3))
    for path, heights in zip(files, expected_mm(plates), strict=True):
        mesh = trimesh.load_mesh(path)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert np.allclose(mesh.bounds, [[0, 0, 0], [9 * 0.4, 7 * 0.4, 0.5 + heights.max()]], rtol=1e-6)
        assert mesh.volume == pytest.approx(9 * 7 * 0.16 * (0.5 + heights.mean()), rel=0.02)
        assert np.abs(heights_over(mesh, heights.shape) - 0.5 - heights).max() < 3e-7  # float32 at 1.5 mm


def heights_over(mesh: trimesh.Trimesh, shape: tuple[int, int]) -> np.ndarray:
    """Return how high the mesh is in the middle of every neuron, the first row at the largest y."""
    found = np.full(shape, np.nan)
    level = np.abs(mesh.face_normals[:, 2] - 1) < 1e-9
    for x, y, z in mesh.triangles_center[level]:
        found[shape[0] - 1 - int(y / 0.4), int(x / 0.4)] = z
    return found


def test_the_whole_published_plate_is_written_in_seconds(tmp_path: Path):
    phase = np.random.default_rng(0).uniform(0, 6, (1, 200, 200)).astype(np.float32)
    (path,) = export_plates(Plates(phase, PITCH_M, WAVELENGTH_M), tmp_path, Format.STL, Printed())
    triangles = 2 * 399**2 + 3 * 4 * 399
    assert path.stat().st_size == 84 + 50 * triangles


def test_a_csv_holds_thicknesses_in_millimetres(tmp_path: Path):
    plates = random_plates()
    files = export_plates(plates, tmp_path, Format.CSV, Printed(INDEX, 0.5e-3))
    for path, heights in zip(files, expected_mm(plates), strict=True):
        assert np.abs(np.loadtxt(path, delimiter=",") - 0.5 - heights).max() < 1e-6


def test_a_png_holds_heights_in_65535ths_of_one_wavelength_of_phase(tmp_path: Path):
    plates = random_plates()
    files = export_plates(plates, tmp_path, Format.PNG, Printed(INDEX))
    about = json.loads((tmp_path / "plates.json").read_text())
    assert about["index"] == INDEX
    assert about["files"] == [path.name for path in files]
    for path, heights in zip(files, expected_mm(plates), strict=True):
        with Image.open(path) as picture:
            grey = np.asarray(picture)
        assert picture.mode == "I;16"
        found_mm = grey / WHITE * 1e3 * about["height_of_one_wavelength_m"]
        assert np.abs(found_mm - heights).max() <= FULL_MM / WHITE


def test_levels_are_those_of_the_nearest_phase(tmp_path: Path):
    plates = random_plates()
    response = np.sort(np.random.default_rng(1).uniform(0, 7, 300))[::-1]
    files = export_plates(plates, tmp_path, Format.LEVELS, Printed(response=response))
    for path, phase in zip(files, plates.phase, strict=True):
        with Image.open(path) as picture:
            levels = np.asarray(picture)
        reached = distance(response[levels], phase)
        nearest = distance(response, phase[..., None]).min(axis=-1)
        assert np.allclose(reached, nearest, atol=1e-6)


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far apart two phases are around the circle."""
    return np.abs(np.angle(np.exp(1j * (one - other))))


def test_a_linear_panel_shows_equal_steps():
    assert nearest_levels(ideal_response(), ideal_response()).tolist() == list(range(256))
    assert nearest_levels(np.array([2 * math.pi - 1e-4]), ideal_response()).tolist() == [0]
    assert nearest_levels(np.zeros(1), ideal_response()).dtype == np.uint8


def test_a_response_is_read_from_a_text_file(tmp_path: Path):
    (tmp_path / "response.txt").write_text("0\n1.5\n3.2\n4.9\n")
    assert read_response(tmp_path / "response.txt").tolist() == [0, 1.5, 3.2, 4.9]


@pytest.mark.parametrize("text", ["", "0\n", "0 1\n2 3\n", "0\nnan\n", "zero\n"])
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_file_that_is_no_response_is_refused(tmp_path: Path, text: str):
    (tmp_path / "response.txt").write_text(text)
    with pytest.raises(ConfigError, match=r"response.txt: .* give"):
        read_response(tmp_path / "response.txt")


# ---- refused


@pytest.mark.parametrize("index", [1.0, 0.5, math.nan, math.inf])
def test_an_index_that_bends_nothing_is_refused(index: float):
    with pytest.raises(ConfigError, match="give a finite number above 1"):
        heights_m(np.zeros(3), WAVELENGTH_M, index)


@pytest.mark.parametrize("base", [0.0, -1.0, math.nan])
def test_a_plate_without_a_base_is_refused(base: float):
    with pytest.raises(ConfigError, match="give a finite thickness above 0"):
        relief(np.zeros((2, 2)), 0.4, base)


def test_plates_that_change_amplitude_are_refused(tmp_path: Path):
    ones = np.ones((1, 2, 2), np.float32)
    with pytest.raises(ConfigError, match="train plates of phase only"):
        export_plates(Plates(ones, PITCH_M, WAVELENGTH_M, ones), tmp_path, Format.STL, Printed())


def test_a_folder_must_hold_one_file_of_plates(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"holds no plates.safetensors"):
        read_trained(tmp_path)
    for cell in ("mse", "cross_entropy"):
        (tmp_path / cell).mkdir()
        write_plates(random_plates(), tmp_path / cell / "plates.safetensors")
    with pytest.raises(ConfigError, match=r"holds several: cross_entropy, mse; name the folder of one"):
        read_trained(tmp_path)
    assert read_trained(tmp_path / "mse")[1] == tmp_path / "mse"
