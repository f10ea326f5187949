"""Parts of diffractive networks: objects, detectors, losses, plates, imperfections, evaluation, bars."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labctl.errors import ConfigError
from labctl.experiments.diffractive.bars import RAYLEIGH_DIP, bars, dip, random_bars
from labctl.experiments.diffractive.detectors import (
    PUBLISHED,
    DetectorLayout,
    detector_masks,
    detector_powers,
    detector_squares,
)
from labctl.experiments.diffractive.evaluation import evaluate
from labctl.experiments.diffractive.geometry import CLASSIFIER
from labctl.experiments.diffractive.imager import resolved_width
from labctl.experiments.diffractive.imperfections import absorbing, displaced, stepped
from labctl.experiments.diffractive.losses import (
    log_plane_error,
    normalised_cross_entropy,
    plane_error,
    wanted_plane,
)
from labctl.experiments.diffractive.network import Transmission
from labctl.experiments.diffractive.objects import object_fields
from labctl.experiments.diffractive.plates import Plates, read_plates, write_plates

SMALL = CLASSIFIER.reduced(32)


def random_plates(plates: int = 3, side: int = 16) -> Transmission:
    generator = torch.Generator().manual_seed(0)
    return Transmission(2 * math.pi * torch.rand((plates, side, side), generator=generator), None)


# ---- objects


def test_an_amplitude_object_is_its_image_in_the_middle_of_a_dark_plane():
    images = torch.rand((2, 28, 28), generator=torch.Generator().manual_seed(0))
    fields = object_fields(images, 28, (40, 44))
    assert fields.dtype == torch.complex64
    assert torch.equal(fields[:, 6:34, 8:36].real, images)
    assert float(fields.abs().sum()) == pytest.approx(float(images.sum()), rel=1e-5)


def test_a_digit_is_enlarged_to_80_of_200_pixels():
    fields = object_fields(torch.ones((1, 28, 28)), 80, (200, 200))
    lit = fields[0].real > 0.5
    assert lit.any(dim=1).nonzero().ravel().tolist() == list(range(60, 140))
    assert lit.any(dim=0).nonzero().ravel().tolist() == list(range(60, 140))


def test_a_phase_object_is_bright_inside_and_carries_grey_values_in_turns():
    grey = torch.full((1, 8, 8), 0.25)
    fields = object_fields(grey, 8, (16, 16), "phase")
    assert torch.allclose(fields[0, 4:12, 4:12], torch.tensor(1j), atol=1e-6)
    assert float(fields.abs().sum()) == pytest.approx(64)


def test_an_object_larger_than_the_plane_is_refused():
    with pytest.raises(ConfigError, match=r"object of 33 x 33 pixels: the plane has 32 x 40; give 1 to 32"):
        object_fields(torch.ones((1, 28, 28)), 33, (32, 40))


# ---- detectors


def test_the_published_layout_has_squares_of_12_pixels_in_rows_of_3_4_3():
    squares = detector_squares(PUBLISHED, CLASSIFIER)
    assert [square.top for square in squares] == [64] * 3 + [94] * 4 + [124] * 3
    assert all(square.bottom - square.top == square.right - square.left == 12 for square in squares)
    assert [square.left for square in squares[:3]] == [64, 94, 124]
    gaps = [right.left - left.right for left, right in pairwise(squares[3:7])]
    assert all(12 <= gap <= 13 for gap in gaps)  # 6.67 wavelengths are 12.5 pixels


def test_the_layout_is_centred_and_shrinks_with_the_plate():
    masks = detector_masks(detector_squares(PUBLISHED, SMALL), (32, 32))
    assert torch.equal(masks.sum(0), masks.sum(0).flip(0))
    assert masks.sum(dim=(1, 2)).tolist() == [4.0] * 10
    assert float(masks.sum(0).max()) == 1


def test_each_detector_reads_its_own_power():
    squares = detector_squares(PUBLISHED, SMALL)
    masks = detector_masks(squares, (32, 32))
    assert torch.equal(detector_powers(masks, masks), 4 * torch.eye(10))


@pytest.mark.parametrize(
    ("layout", "pixels", "message"),
    [
        (DetectorLayout(square=40), 200, "larger than the plane"),
        (PUBLISHED, 8, "smaller than a pixel"),
        (DetectorLayout(gap_of_four=-1), 200, "squares overlap"),
        (DetectorLayout(gap_of_rows=-1), 200, "squares overlap"),
    ],
)
def test_detectors_that_do_not_fit_are_refused(layout: DetectorLayout, pixels: int, message: str):
    with pytest.raises(ConfigError, match=message):
        detector_squares(layout, CLASSIFIER.reduced(pixels))


@pytest.mark.parametrize("plates", [0, 11])
def test_a_network_has_one_to_ten_plates(plates: int):
    with pytest.raises(ConfigError, match=rf"{plates} plates: give 1 to 10"):
        CLASSIFIER.with_plates(plates)


# ---- losses and evaluation


def test_cross_entropy_does_not_depend_on_brightness():
    powers = torch.rand((4, 10), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(4)
    expected = torch.nn.functional.cross_entropy(10 * powers / powers.amax(1, keepdim=True), labels)
    assert float(normalised_cross_entropy(1e6 * powers, labels)) == pytest.approx(float(expected), rel=1e-5)


def test_the_wanted_plane_has_the_same_share_of_every_objects_light_on_its_detector():
    masks = detector_masks(detector_squares(PUBLISHED, SMALL), (32, 32))
    energy = torch.tensor([1.0, 5.0])
    wanted = wanted_plane(torch.tensor([3, 7]), masks, energy)
    shares = wanted.sum(dim=(1, 2)) / energy
    assert float(shares[0]) == pytest.approx(float(shares[1]))
    assert torch.equal(wanted[0] > 0, masks[3] > 0)
    assert float(plane_error(wanted, wanted)) == 0
    assert float(plane_error(torch.zeros_like(wanted), wanted)) == 1


def test_the_logarithmic_error_asks_for_no_brightness():
    masks = detector_masks(detector_squares(PUBLISHED, SMALL), (32, 32))
    labels = torch.tensor([3, 7])
    plane = masks[labels] + 0.1 * torch.rand((2, 32, 32), generator=torch.manual_seed(0))
    best = (plane * masks[labels]).sum((1, 2)) / masks[labels].square().sum((1, 2))
    wanted = best[:, None, None] * masks[labels]
    errors = [float(plane_error(plane[k : k + 1], wanted[k : k + 1])) for k in range(2)]
    found = float(log_plane_error(plane, masks[labels]))
    assert found == pytest.approx(float(np.mean(np.log1p(errors))), rel=1e-4)
    assert float(log_plane_error(1e3 * plane, masks[labels])) == pytest.approx(found, rel=1e-4)
    assert float(log_plane_error(5 * masks[labels], masks[labels])) == pytest.approx(0, abs=1e-5)


def test_confusion_and_energy_have_true_classes_in_rows():
    powers = np.array([[3.0, 1.0], [1.0, 3.0], [1.0, 1.0 + 1e-9], [0.0, 2.0]])
    found = evaluate(powers, np.array([0, 0, 1, 1]))
    assert found.confusion.tolist() == [[1, 1], [0, 2]]
    assert found.accuracy == 75
    assert np.allclose(found.energy, [[50, 50], [25, 75]])
    assert found.own_energy == pytest.approx(62.5)


# ---- plates


def plates_with(**changes: Any) -> Plates:
    values: dict[str, Any] = {"phase": np.zeros((2, 4, 5), np.float32), "pitch_m": 4e-4, "wavelength_m": 7.5e-4}
    return Plates(**(values | changes))


def test_plates_come_back_from_their_file(tmp_path: Path):
    rng = np.random.default_rng(0)
    phase, amplitude = rng.random((2, 2, 4, 5), np.float32)
    write_plates(plates_with(phase=phase, amplitude=amplitude), tmp_path / "plates.safetensors")
    again = read_plates(tmp_path / "plates.safetensors")
    assert np.array_equal(again.phase, phase)
    assert again.amplitude is not None
    assert np.array_equal(again.amplitude, amplitude)
    assert (again.pitch_m, again.wavelength_m) == (4e-4, 7.5e-4)
    assert len(again.peeled(1)) == 1


NAN = np.zeros((2, 4, 5), np.float32)
NAN[1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase": np.zeros((4, 5), np.float32)}, r"shape \(4, 5\): plates are \(plates, rows, cols\)"),
        ({"phase": np.zeros((11, 4, 5), np.float32)}, "with 1 to 10 plates"),
        ({"phase": NAN}, "phase of plate 2 holds NaN or infinity .*: take the last checkpoint"),
        ({"amplitude": NAN}, "amplitude of plate 2 holds NaN"),
        ({"amplitude": np.zeros((2, 4, 4), np.float32)}, "give both the same shape"),
        ({"amplitude": np.full((2, 4, 5), 1.5, np.float32)}, "transmits 0 to 1"),
        ({"pitch_m": 0.0}, "must be above 0"),
    ],
)
def test_what_cannot_be_plates_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        plates_with(**changes)


def test_files_that_hold_no_plates_are_refused_by_name(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere: cannot be read"):
        read_plates(tmp_path / "nowhere")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ConfigError, match=r"text: cannot be read as safetensors"):
        read_plates(tmp_path / "text")


# ---- imperfections


def test_plates_that_are_not_moved_stay_as_they_are():
    plates = random_plates()
    same = displaced(plates, torch.zeros(3, 2), torch.zeros(3))
    assert torch.allclose(same.masks(), plates.masks(), atol=1e-5)


def test_a_shift_by_whole_neurons_moves_rows_and_columns():
    plates = random_plates()
    moved = displaced(plates, torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 0.0]]), torch.zeros(3)).masks()
    masks = plates.masks()
    assert torch.allclose(moved[0, 2:], masks[0, :-2], atol=1e-5)
    assert torch.allclose(moved[1, :, 3:], masks[1, :, :-3], atol=1e-5)
    assert float(moved[0, :2].abs().max()) < 1e-5  # opaque beyond the edge


def test_half_a_neuron_of_shift_mixes_neighbours_evenly():
    masks = random_plates(1).masks()
    moved = displaced(random_plates(1), torch.tensor([[0.0, 0.5]]), torch.zeros(1)).masks()
    assert torch.allclose(moved[:, :, 1:], (masks[:, :, 1:] + masks[:, :, :-1]) / 2, atol=1e-5)


def test_a_quarter_turn_is_that_of_the_picture():
    plates = random_plates(1)
    moved = displaced(plates, torch.zeros(1, 2), torch.tensor([math.pi / 2])).masks()
    assert torch.allclose(moved, torch.rot90(plates.masks(), 1, (1, 2)), atol=1e-4)


def test_few_steps_of_height_leave_few_phases():
    phases = stepped(random_plates(), 4).phase
    assert torch.allclose(phases.unique(), torch.arange(4) * math.pi / 2)
    far = (random_plates().phase - phases).abs()
    assert float(torch.minimum(far, 2 * math.pi - far).max()) <= math.pi / 4 + 1e-5


def test_thick_places_absorb_most():
    plates = Transmission(torch.tensor([[[0.0, math.pi, 2 * math.pi + 1]]]), None)
    amplitude = absorbing(plates, 0.1).amplitude
    assert amplitude is not None
    assert torch.allclose(amplitude, torch.exp(-0.1 * torch.tensor([[[0.0, math.pi, 1.0]]])))


# ---- bars


def test_bars_and_gaps_are_equally_wide():
    image = bars(41, 3)
    assert "".join("#" if value else "." for value in image[20]).strip(".") == "###...###...###"
    assert int((image[:, 20] > 0).sum()) == 15
    assert np.array_equal(bars(41, 3, math.pi / 2), image.T)


def test_sharp_bars_are_resolved_and_blurred_ones_are_not():
    image = bars(41, 4).astype(float)
    assert dip(image, 4) == 0
    blurred = np.apply_along_axis(lambda line: np.convolve(line, np.ones(9) / 9, "same"), 1, image)
    assert dip(blurred, 4) > RAYLEIGH_DIP


def test_random_bars_differ_and_repeat_with_their_seed():
    first, again = (random_bars(3, 30, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(first, again)
    assert len({image.tobytes() for image in first}) == 3


@pytest.mark.parametrize(
    ("dips", "finest"),
    [([0.9, 0.8, 0.1, 0.1], 3), ([0.1, 0.9, 0.1, 0.1], 3), ([0.1] * 4, 1), ([0.1, 0.1, 0.1, 0.9], None)],
)
def test_a_width_is_resolved_where_all_wider_ones_are(dips: list[float], finest: int | None):
    assert resolved_width([1, 2, 3, 4], dips) == finest
