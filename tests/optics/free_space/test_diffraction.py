"""Plates in free space: the hand-written gradients against autograd, and what does not fit together."""

import math

import pytest
import torch
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.free_space.diffraction import backpropagate, diffract, diffract_phase, phase_only
from labctl.optics.free_space.propagation import Hop, propagate, transfer_function
from labctl.optics.free_space.threads import sharing
from labctl.optics.grid import Grid

SHAPES = [(16, 16), (12, 20), (15, 9)]


def speckle(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def hops(shape: tuple[int, int], plates: int = 3, dtype: torch.dtype = torch.complex128) -> list[Tensor]:
    """Transfer functions of different distances."""
    distances = [1e-4 * (1 + 0.3 * number) for number in range(plates + 1)]
    return [transfer_function(Hop(Grid(shape, 4e-6), z, 532e-9), dtype=dtype) for z in distances]


def plain(field: Tensor, masks: Tensor, transfers: list[Tensor]) -> Tensor:
    """The oracle: one hop and one product after the other, differentiated by autograd."""
    for mask, transfer in zip(masks, transfers[:-1], strict=True):
        field = propagate(field, transfer) * mask
    return propagate(field, transfers[-1])


def relative(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    return float((torch.linalg.norm(found - expected) / torch.linalg.norm(expected)).detach())


def loss(output: Tensor) -> Tensor:
    """A loss of intensities that no symmetry makes simple."""
    weights = torch.linspace(0.2, 1.7, output.numel(), dtype=output.real.dtype).reshape(output.shape)
    return (weights * (output.real**2 + output.imag**2)).sum() + output.real.sum()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("samples", [1, 7])
def test_gradients_are_those_of_autograd(samples: int, shape: tuple[int, int], dtype: torch.dtype):
    transfers = hops(shape, dtype=dtype)
    field, masks = (speckle(count, *shape, dtype=dtype).requires_grad_() for count in (samples, 3))
    twin_field, twin_masks = (tensor.detach().clone().requires_grad_() for tensor in (field, masks))
    output, expected = diffract(field, masks, transfers), plain(twin_field, twin_masks, transfers)
    loss(output).backward()
    loss(expected).backward()
    bar = 1e-12 if dtype == torch.complex128 else 2e-6
    assert relative(output, expected) < bar
    assert relative(field.grad, twin_field.grad) < bar
    assert relative(masks.grad, twin_masks.grad) < bar


@pytest.mark.parametrize("shape", SHAPES)
def test_phase_gradients_are_those_of_autograd(shape: tuple[int, int]):
    transfers, field = hops(shape), speckle(5, *shape)
    phases = torch.linspace(-4, 4, 3 * shape[0] * shape[1], dtype=torch.float64).reshape(3, *shape).requires_grad_()
    twin = phases.detach().clone().requires_grad_()
    loss(diffract_phase(field, phases, transfers)).backward()
    loss(plain(field, phase_only(twin), transfers)).backward()
    assert relative(phases.grad, twin.grad) < 1e-12


def test_gradients_in_double_precision_are_those_of_differences():
    transfers = hops((4, 5), plates=2)
    field, masks = speckle(2, 4, 5).requires_grad_(), speckle(2, 4, 5, seed=1).requires_grad_()
    phases = masks.detach().real.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, m: diffract(f, m, transfers), [field, masks])
    assert torch.autograd.gradcheck(lambda f, p: diffract_phase(f, p, transfers), [field, phases])


def test_the_phase_gradient_is_the_product_of_the_fields_that_meet_at_the_plate():
    """dL/dphi = -2 Im(m u): u behind the plate, m what the output's error field sends back to it, not conjugated."""
    shape = (16, 16)
    first, last = hops(shape, plates=1)
    field, weights = speckle(1, *shape), torch.rand(shape, dtype=torch.float64)
    phases = torch.zeros(1, *shape, dtype=torch.float64).requires_grad_()
    output = diffract_phase(field, phases, [first, last])
    (weights * output.abs() ** 2).sum().backward()
    behind = propagate(field[0], first)
    sent_back = propagate(weights * output[0].detach().conj(), last)
    assert relative(phases.grad, -2 * (sent_back * behind).imag[None]) < 1e-12


def test_field_and_gradient_are_those_of_torchoptics_at_its_default_padding():
    """At N = 200 `benchmarks/diffraction.py accuracy` prints the same comparison."""
    torchoptics = pytest.importorskip("torchoptics")
    size, pitch, wavelength, distance = 32, 0.4e-3, 0.75e-3, 5e-3
    transfers = [transfer_function(Hop(Grid((size, size), pitch), distance, wavelength))] * 4
    start = torch.rand(3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2 * math.pi
    amplitudes = torch.rand(2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    phases = start.float().requires_grad_()
    output = diffract_phase(amplitudes, phases, transfers)
    loss(output).backward()

    plates = [
        torchoptics.elements.PhaseModulator(torch.nn.Parameter(phase), z=distance * (number + 1), spacing=pitch)
        for number, phase in enumerate(start)
    ]
    field = torchoptics.Field(amplitudes.to(torch.complex128), wavelength, z=0, spacing=pitch)
    expected = torchoptics.System(*plates).measure_at_z(field, 4 * distance, propagation_method="ASM").data
    loss(expected).backward()
    assert relative(output.to(torch.complex128), expected) < 2e-6
    assert relative(phases.grad, torch.stack([plate.phase.grad for plate in plates]).float()) < 2e-6


def test_complex_masks_are_trained_by_any_optimiser():
    transfers, field = hops((16, 12)), speckle(3, 16, 12)
    masks = speckle(3, 16, 12, seed=1).requires_grad_()
    optimiser = torch.optim.Adam([masks], lr=1e-2)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        value = diffract(field, masks, transfers).abs().square().sum()
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert losses == sorted(losses, reverse=True)


def test_without_gradient_nothing_is_recorded():
    transfers, field, masks = hops((16, 12)), speckle(3, 16, 12), speckle(3, 16, 12, seed=1).requires_grad_()
    with torch.no_grad():
        assert not diffract(field, masks, transfers).requires_grad


def test_what_enters_leaves_no_trace_on_the_inputs():
    transfers, field, masks = hops((16, 16)), speckle(3, 16, 16), speckle(3, 16, 16, seed=1)
    kept = field.clone(), masks.clone(), [transfer.clone() for transfer in transfers]
    diffract(field, masks.requires_grad_(), transfers).abs().sum().backward()
    assert torch.equal(field, kept[0])
    assert torch.equal(masks.detach(), kept[1])
    assert all(torch.equal(*pair) for pair in zip(transfers, kept[2], strict=True))


def test_real_masks_have_real_gradients_and_are_what_complex_ones_say():
    transfers, field = hops((16, 12)), speckle(3, 16, 12)
    amplitudes = torch.rand(3, 16, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    twin = amplitudes.detach().clone().requires_grad_()
    loss(diffract(field.real, amplitudes, transfers)).backward()
    loss(plain(field.real.to(torch.complex128), twin.to(torch.complex128), transfers)).backward()
    assert relative(amplitudes.grad, twin.grad) < 1e-12


def test_threads_share_the_samples_and_change_nothing():
    transfers, found = hops((64, 64)), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        field, phases = speckle(37, 64, 64).requires_grad_(), speckle(3, 64, 64, seed=1).real.clone().requires_grad_()
        output = diffract_phase(field, phases, transfers)
        loss(output).backward()
        found.append((output, field.grad, phases.grad))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert relative(found[1][2], found[0][2]) < 1e-12


def test_no_plates_are_one_hop():
    transfers, field = hops((16, 12), plates=0), speckle(2, 16, 12)
    assert (
        relative(
            diffract(field, torch.empty(0, 16, 12, dtype=torch.complex128), transfers),
            plain(field, torch.empty(0, 16, 12), transfers),
        )
        < 1e-12
    )


WRONG = {
    "mask of wrong shape": (torch.ones(3, 16, 12), 4, r"masks: shape \(3, 16, 12\) for a field of shape \(2, 16, 16\)"),
    "one mask alone": (torch.ones(16, 16), 2, "give .plates, rows, cols"),
    "hops": (torch.ones(3, 16, 16), 3, "3 hops for 3 masks; give one more hop than masks"),
    "not a number": (torch.full((3, 16, 16), math.nan), 4, "plate 0 holds 256 values that are not finite"),
    "infinite": (torch.tensor(math.inf).expand(3, 16, 16), 4, "plate 0 holds 256 values"),
}


@pytest.mark.parametrize(("masks", "count", "says"), WRONG.values(), ids=WRONG)
def test_masks_that_do_not_fit_are_refused(masks: Tensor, count: int, says: str):
    transfers = (hops((16, 16)) * 2)[:count]
    with pytest.raises(ConfigError, match=says):
        diffract(speckle(2, 16, 16), masks.to(torch.complex128), transfers)
    with pytest.raises(ConfigError, match=says):
        diffract_phase(speckle(2, 16, 16), masks.double(), transfers)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_a_few_samples_at_a_time_has_the_same_gradient(threads: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("labctl.optics.free_space.window.CPU_CHUNK_BYTES", 1)  # one sample a chunk
    with sharing(threads):
        transfers, field = hops((16, 16)), speckle(5, 16, 16)
        phases = torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        twin = phases.detach().clone().requires_grad_()
        weights = torch.linspace(0.5, 1.5, 5, dtype=torch.float64)

        def weighted(output: Tensor, samples: slice) -> Tensor:
            return (weights[samples] * output.abs().square().square().sum(dim=(1, 2))).sum()

        found = backpropagate(field, phase_only(phases), transfers, weighted)
        expected = weighted(plain(field, phase_only(twin), transfers), slice(5))
        expected.backward()
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)
        assert relative(phases.grad, twin.grad) < 1e-12
