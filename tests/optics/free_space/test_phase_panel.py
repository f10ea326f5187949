import pytest
import torch

from labctl.optics.free_space.phase_panel import PhasePanel


def _phase(seed: int = 0) -> torch.Tensor:
    return torch.rand(12, 10, generator=torch.Generator().manual_seed(seed)) * 2 * torch.pi


def test_a_perfect_panel_only_turns_the_phase():
    phase = _phase()
    expected = torch.polar(torch.ones_like(phase), phase)
    torch.testing.assert_close(PhasePanel(1.0, 0.0).transmission(phase), expected, atol=1e-6, rtol=0)


def test_reflected_power_is_the_reflectivity_over_all_phases():
    phase = torch.arange(256).reshape(16, 16) * (2 * torch.pi / 256)
    passed = PhasePanel(0.8, 0.05).transmission(phase)
    assert float(passed.abs().square().mean()) == pytest.approx(0.8, rel=1e-5)


def test_light_that_is_not_modulated_is_there_at_every_phase():
    passed = PhasePanel(1.0, 0.04).transmission(torch.tensor([[0.0, torch.pi]]))
    torch.testing.assert_close(passed.real, torch.tensor([[0.96**0.5 + 0.2, 0.2 - 0.96**0.5]]), atol=1e-6, rtol=0)


def test_fringing_mixes_neighbours_and_keeps_a_uniform_phase():
    panel = PhasePanel(1.0, 0.0, fringing_px=0.3)
    inside = panel.transmission(torch.full((12, 10), 1.0))[3:-3, 3:-3]
    torch.testing.assert_close(inside.angle(), torch.ones_like(inside.real), atol=1e-5, rtol=0)
    step = torch.zeros(12, 10)
    step[:, 5:] = 1.0
    mixed = panel.transmission(step).angle()[6]
    assert 0 < mixed[4] < 0.3 < 0.7 < mixed[5] < 1


@pytest.mark.parametrize("fringing", [0.0, 0.3])
def test_the_gradient_is_that_of_automatic_differentiation(fringing: float):
    generator = torch.Generator().manual_seed(1)
    surface = torch.polar(torch.ones(12, 10), 0.1 * torch.randn(12, 10, generator=generator))
    panel = PhasePanel(0.85, 0.02, 1.03, fringing, surface)
    light, back = (torch.randn(12, 10, dtype=torch.complex64, generator=generator) for _ in range(2))
    phase = _phase(2).requires_grad_()
    field = light * panel.transmission(phase)
    # any loss whose slope in the field is `back`: dL = 2 Re(m dU)
    (2 * (back * field).real.sum()).backward()
    assert phase.grad is not None
    torch.testing.assert_close(panel.gradient(phase.detach(), back * field.detach()), phase.grad, atol=2e-5, rtol=1e-4)
