"""Homodyne detection: electrons, counts and their noise, and fields back from counts."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from labctl.optics.imaging.sensor import electrons_per_unit, homodyne_electrons, homodyne_field, read_out

REFERENCE, SIGNAL = 2e5, 2e4
"""Electrons of reference and full-scale signal on the vapour-cell bench."""

STEP = 30_000 / 4096
"""Electrons per count of its 12-bit camera."""

SCMOS: dict[str, Any] = {
    "noise_scale": 1.0,
    "read_noise": 1.6,
    "row_noise": 0.3,
    "step": STEP,
    "pixels": 15,
    "top": 15 * 4095,
}
QUIET = {**SCMOS, "noise_scale": 0.0, "read_noise": 0.0, "row_noise": 0.0}
SAMPLES = 100_000


def read(electrons: float | Tensor, seed: int = 0, **changes: Any) -> NDArray[np.uint32]:
    if not isinstance(electrons, Tensor):
        electrons = torch.full((SAMPLES,), electrons)
    return read_out(electrons, np.random.default_rng(seed), **{**SCMOS, **changes})


def expose(field: Tensor, phases: NDArray[np.float64], seed: int, **changes: Any) -> NDArray[np.uint32]:
    """Return counts (n, steps, modes) of fields (n, modes) against a reference at each phase."""
    against = torch.from_numpy(np.exp(-1j * phases).astype(np.complex64))
    quadrature = (field[:, None, :] * against[None, :, None]).real
    seen = (field.abs() ** 2)[:, None, :].expand_as(quadrature)
    electrons = homodyne_electrons(quadrature, seen, SIGNAL, torch.tensor(REFERENCE))
    return read(electrons, seed, **changes)


def test_electrons_per_unit_is_the_notes_photon_budget():
    """3.9 nW, a 10 % tap, quantum efficiency 0.45 and 20 us: 1.4e4 electrons."""
    photon_energy_j = 1e-6 / 3.93e12
    assert electrons_per_unit(3.9e-9, 0.1, 0.45, 20e-6, photon_energy_j) == pytest.approx(1.4e4, rel=0.02)


@given(
    modulus=st.floats(0, 2),
    phase_rad=st.floats(-math.pi, math.pi),
    reference=st.floats(1, 1e6),
    per_unit=st.floats(1, 1e6),
)
def test_mean_electrons_are_the_interference_of_signal_and_reference(
    modulus: float, phase_rad: float, reference: float, per_unit: float
):
    field = torch.tensor([[modulus * complex(math.cos(phase_rad), math.sin(phase_rad))]], dtype=torch.complex128)
    given_reference = torch.tensor(reference, dtype=torch.float64)
    electrons = homodyne_electrons(field.real, field.abs() ** 2, per_unit, given_reference)
    beat = abs(math.sqrt(reference) + math.sqrt(per_unit) * complex(field[0, 0])) ** 2
    assert float(electrons) == pytest.approx(beat, rel=1e-9, abs=1e-6)


# ---- noise


@pytest.mark.parametrize("electrons", [0.0, 1e3, 1e4, 2e5])
@pytest.mark.parametrize("noise_scale", [0.5, 1.0, 2.0])
def test_counts_have_the_mean_and_variance_of_shot_read_row_and_rounding_noise(electrons: float, noise_scale: float):
    offset = 1e3  # far enough from zero not to be cut off
    counts = read(electrons + offset, noise_scale=noise_scale) * STEP
    variance = noise_scale**2 * (electrons + offset)
    variance += 15 * (noise_scale**2 * 1.6**2 + STEP**2 / 12) + (15 * 0.3) ** 2
    assert counts.mean() == pytest.approx(electrons + offset, abs=5 * math.sqrt(variance / SAMPLES))
    # the last rounding is one more; five standard deviations of a sample variance
    assert counts.var() == pytest.approx(variance + STEP**2 / 12, rel=5 * math.sqrt(2 / SAMPLES))


def test_noise_is_gaussian_to_four_standard_deviations():
    counts = read(2e5).astype(float)
    standard = (counts - counts.mean()) / counts.std()
    for sigmas, beyond in [(1, 0.31731), (2, 0.04550), (3, 0.0026998), (4, 6.334e-5)]:
        found = int((np.abs(standard) > sigmas).sum())
        assert found == pytest.approx(beyond * SAMPLES, abs=5 * math.sqrt(beyond * SAMPLES) + 300 * beyond)
    assert abs((standard**3).mean()) < 5 * math.sqrt(6 / SAMPLES)
    assert abs((standard**4).mean() - 3) < 5 * math.sqrt(24 / SAMPLES)


def test_noise_of_modes_and_frames_is_independent():
    counts = read(torch.full((2000, 8), 2e5)).astype(float)
    correlation = np.corrcoef(counts.T) - np.eye(8)
    assert np.abs(correlation).max() < 5 / math.sqrt(2000)
    lag = np.corrcoef(counts[1:].ravel(), counts[:-1].ravel())[0, 1]
    assert abs(lag) < 5 / math.sqrt(counts.size)


def test_equal_generators_give_equal_counts():
    assert (read(2e5, seed=3) == read(2e5, seed=3)).all()
    assert (read(2e5, seed=3) != read(2e5, seed=4)).any()


def test_without_noise_only_one_rounding_of_the_sum_is_left():
    electrons = torch.linspace(0, 4e5, SAMPLES)
    error = read(electrons, **QUIET) * STEP - electrons.numpy()
    assert np.abs(error).max() <= STEP / 2 * 1.01
    assert error.std() == pytest.approx(STEP / math.sqrt(12), rel=0.02)
    assert abs(error.mean()) < 0.1
    assert (read(electrons, seed=1, **QUIET) == read(electrons, seed=2, **QUIET)).all()


def test_counts_stop_at_the_top_and_at_zero():
    electrons = torch.tensor([-1e6, -1.0, 0.0, 15 * 30_000.0, 1e7])
    counts = read(electrons, **QUIET)
    assert counts.dtype == np.uint32
    assert counts.max() == counts[-1] == 15 * 4095
    assert counts[0] == 0
    assert (read(torch.full((1000,), 0.0)) < 100).all()


# ---- fields back from counts

TWO_STEPS = np.array([0, math.pi])
FOUR_STEPS = np.array([0, math.pi, 0, math.pi])


@pytest.mark.parametrize("phases", [TWO_STEPS, FOUR_STEPS], ids=["two steps", "four steps"])
@pytest.mark.parametrize("electrons_per_count", [0.01, 1.0])
def test_what_was_encoded_is_decoded_to_the_rounding(phases: NDArray[np.float64], electrons_per_count: float):
    generator = torch.Generator().manual_seed(0)
    field = torch.polar(torch.rand(20, 7, generator=generator), 6.28 * torch.rand(20, 7, generator=generator))
    counts = expose(field, phases, 1, **{**QUIET, "pixels": 1, "step": electrons_per_count, "top": 2**31})
    signs = np.cos(phases).round().astype(np.float32)
    decoded = homodyne_field(counts, signs, electrons_per_count, np.full(7, REFERENCE), SIGNAL)
    assert decoded.shape == (20, 7)
    assert decoded.dtype == np.float32
    rounding = len(phases) * electrons_per_count / 2
    per_count = 2 * len(phases) * math.sqrt(REFERENCE * SIGNAL)
    np.testing.assert_allclose(decoded, field.real.numpy(), atol=rounding / per_count + 5e-6)


def test_a_quarter_turn_of_the_reference_reads_the_other_quadrature():
    field = torch.tensor([[0.3 - 0.8j, -1 + 0.1j]], dtype=torch.complex64)
    counts = expose(field, TWO_STEPS + math.pi / 2, 0, **{**QUIET, "step": 0.01, "pixels": 1, "top": 2**31})
    signs = np.array([1, -1], np.float32)
    decoded = homodyne_field(counts, signs, 0.01, np.full(2, REFERENCE), SIGNAL)
    np.testing.assert_allclose(decoded, field.imag.numpy(), atol=1e-5)


def test_each_mode_is_decoded_with_its_own_reference():
    reference = np.array([1e4, 1e5, 1e6], np.float32)
    field = torch.tensor([[0.5, -0.5, 0.25]])
    steps = [homodyne_electrons(sign * field, field**2, SIGNAL, torch.from_numpy(reference)) for sign in (1, -1)]
    counts = np.rint(torch.stack(steps, dim=1).numpy()).astype(np.uint32)
    decoded = homodyne_field(counts, np.array([1, -1], np.float32), 1.0, reference, SIGNAL)
    np.testing.assert_allclose(decoded, field.numpy(), atol=1e-4)


@pytest.mark.parametrize("dark_counts", [0, 1000])
def test_a_common_background_cancels(dark_counts: int):
    field = torch.tensor([[0.5, -0.5]])
    counts = expose(field.to(torch.complex64), TWO_STEPS, 0, **QUIET) + np.uint32(dark_counts)
    decoded = homodyne_field(counts, np.array([1, -1], np.float32), STEP, np.full(2, REFERENCE), SIGNAL)
    np.testing.assert_allclose(decoded, field.numpy(), atol=1e-3)


def test_two_steps_at_the_bench_budget_read_to_0_26_percent_of_full_scale():
    field = torch.full((SAMPLES, 1), 1.0, dtype=torch.complex64)
    decoded = homodyne_field(
        expose(field, TWO_STEPS, 5), np.array([1, -1], np.float32), STEP, np.array([REFERENCE]), 2e4
    )
    assert float(decoded.std()) == pytest.approx(0.0026, abs=5e-5)
    assert float(decoded.mean()) == pytest.approx(1, abs=1e-4)


def test_four_steps_halve_the_variance_of_two():
    field = torch.full((SAMPLES, 1), 0.2, dtype=torch.complex64)
    deviations = []
    for phases in (TWO_STEPS, FOUR_STEPS):
        signs = np.cos(phases).round().astype(np.float32)
        decoded = homodyne_field(expose(field, phases, 6), signs, STEP, np.array([REFERENCE]), SIGNAL)
        deviations.append(float(decoded.std()))
    assert deviations[1] == pytest.approx(deviations[0] / math.sqrt(2), rel=0.02)
