"""Optical elements as modules: the functions they stand for, and what of them is trained."""

import torch
from torch import nn

from labctl.optics.free_space.aperture import circular
from labctl.optics.free_space.diffraction import diffract
from labctl.optics.free_space.modules import FreeSpace, Mask, PhaseMask
from labctl.optics.free_space.propagation import Hop
from labctl.optics.grid import Grid

HOP = Hop(Grid((24, 16), 4e-6), 1e-4, 532e-9)


def test_a_chain_of_modules_is_light_through_plates():
    space = FreeSpace(HOP, torch.complex128)
    phases = nn.Parameter(torch.linspace(0, 6, 24 * 16, dtype=torch.float64).reshape(24, 16))
    hole = circular(HOP.grid, 50e-6).double()
    chain = nn.Sequential(space, PhaseMask(phases), space, Mask(hole), space)
    field = torch.randn(2, 24, 16, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    masks = torch.stack([torch.complex(torch.cos(phases), torch.sin(phases)), hole.to(torch.complex128)])
    torch.testing.assert_close(chain(field), diffract(field, masks, [space.transfer] * 3))


def test_only_parameters_are_trained_and_no_kernel_is_saved():
    chain = nn.Sequential(
        FreeSpace(HOP), PhaseMask(nn.Parameter(torch.zeros(24, 16))), Mask(torch.ones(24, 16)), FreeSpace(HOP)
    )
    assert [name for name, _ in chain.named_parameters()] == ["1.phases"]
    assert list(chain.state_dict()) == ["1.phases", "2.transmission"]
    chain(torch.ones(24, 16, dtype=torch.complex64)).abs().sum().backward()
    grad = next(chain.parameters()).grad
    assert grad is not None
    assert float(grad.abs().sum()) > 0
