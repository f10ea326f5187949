from pathlib import Path

import pytest
import torch

from labctl.bench import load_bench
from labctl.optics.free_space.diffraction import diffract
from labctl.optics.free_space.planes import Planes, levels_of, phase_of, plane_grid
from labctl.optics.free_space.propagation import Hop, transfer_function
from labctl.optics.free_space.shift import displaced
from labctl.optics.parameters import believed

BENCH = Path(__file__).parents[2] / "benches" / "small_diffractive.yaml"


def _fields(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 32, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def planes() -> Planes:
    file = load_bench(BENCH)
    shifts = {"hop_2.shift_y": 0.4, "hop_3.shift_x": -0.3}
    values = {**believed(file.parameters()), **shifts}
    return Planes(file.path, plane_grid(file.path, file.all_settings), file.laser.wavelength_m, values)


@pytest.fixture(scope="module")
def masks(planes: Planes) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [panel.transmission(6 * torch.rand(32, 32, generator=generator)) for panel in planes.panels]


def test_light_without_shifts_is_that_of_the_engine():
    file = load_bench(BENCH)
    grid = plane_grid(file.path, file.all_settings)
    planes = Planes(file.path, grid, file.laser.wavelength_m, believed(file.parameters()))
    generator = torch.Generator().manual_seed(2)
    masks = [panel.transmission(torch.rand(32, 32, generator=generator)) for panel in planes.panels]
    hop = transfer_function(Hop(grid, file.path.hops[0].distance.value, file.laser.wavelength_m, padding=8))
    expected = diffract(_fields(), torch.stack(masks), [hop] * 4)
    torch.testing.assert_close(planes.forward(_fields(), masks)[-1], expected, atol=1e-5, rtol=1e-4)


def test_light_that_returns_meets_the_same_planes(planes: Planes, masks: list[torch.Tensor]):
    """Reciprocity: sum(s U) at the output is sum(m u) at every mask."""
    sent, back = _fields(), _fields().flip(1)
    *ahead, output = planes.forward(sent, masks)
    due = (back * output).sum()
    for m, u in zip(planes.backward(back, masks), ahead, strict=True):
        torch.testing.assert_close((m * u).sum(), due, atol=1e-3, rtol=1e-4)


def test_a_plane_that_lies_lower_sees_the_light_higher():
    file = load_bench(BENCH)
    grid = plane_grid(file.path, file.all_settings)
    values = believed(file.parameters())
    masks = [torch.ones(32, 32)] * 3
    spot = torch.zeros(1, 32, 32, dtype=torch.complex64)
    spot[0, 12:20, 12:20] = 1

    def light(shift: float) -> torch.Tensor:
        moved = Planes(file.path, grid, file.laser.wavelength_m, {**values, "hop_1.shift_y": shift})
        return moved.forward(spot, masks)[0]

    torch.testing.assert_close(light(2.0)[:, :-2], light(0.0)[:, 2:], atol=2e-3, rtol=0)


def test_an_image_displaced_by_whole_samples_is_the_image_elsewhere():
    image = _fields(1)
    torch.testing.assert_close(displaced(image, (3.0, -2.0))[:, 3:, :-2], image[:, :-3, 2:], atol=1e-5, rtol=0)
    assert displaced(image, (3.0, 0.0))[:, :3].abs().max() < 1e-5


@pytest.mark.parametrize("side", [16, 15])
def test_an_image_as_fine_as_its_samples_comes_back_whole_where_its_surroundings_are_seen(side: int):
    image = torch.randn(1, side, side, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    around = 40
    there = displaced(torch.nn.functional.pad(image, 4 * [around]), (0.5, -0.3))
    back = displaced(there, (-0.5, 0.3))[..., around:-around, around:-around]
    assert float((back - image).norm() / image.norm()) < 0.05
    assert float(there.norm() / image.norm()) == pytest.approx(1, abs=0.005)


def test_levels_are_the_nearest_and_wrap():
    phase = torch.tensor([[0.0, 2 * torch.pi, -torch.pi / 2, 1.0]])
    levels = levels_of(phase, 8)
    assert levels.tolist() == [[0, 0, 192, 41]]
    assert float((phase_of(levels, 8)[0, 3] - 1.0).abs()) < torch.pi / 256
