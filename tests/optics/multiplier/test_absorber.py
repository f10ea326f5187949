"""Absorber laws: published numbers, closed forms, and the differential equations they are the solutions of."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.optics.multiplier import absorber
from labctl.optics.multiplier.absorber import LAWS, NATURAL_LINEWIDTH_HZ, Law

LOCAL_LAWS: tuple[Law, ...] = ("propagated", "doppler")
DEPTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
DEPTH_AT_70C = 12.5

# Local absorption over its weak-field value: what defines the two local laws.
SATURATES: dict[Law, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "propagated": lambda s: 1 / (1 + s),
    "doppler": lambda s: 1 / np.sqrt(1 + s),
}

every_law = pytest.mark.parametrize("law", LAWS)
local_law = pytest.mark.parametrize("law", LOCAL_LAWS)
any_depth = pytest.mark.parametrize("depth", DEPTHS)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def wide_fields(dtype: torch.dtype = torch.float64) -> Tensor:
    """Fields of both signs from a millionth to a thousand saturation fields, and zero."""
    magnitude = torch.logspace(-6, 3, 181, dtype=dtype)
    return torch.cat([-magnitude, torch.zeros(1, dtype=dtype), magnitude])


def saturations() -> Tensor:
    return torch.logspace(-12, 6, 181, dtype=torch.float64)


def propagate(
    law: Law, entrance: NDArray[np.float64], depth: float, kappa: float = 0.0, slices: int = 1000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integrate dS/dz = -alpha(S) S by Runge-Kutta; then send a weak probe back from the exit.

    Returns:
        S at the exit, and the probe's field transmission.
    """
    alpha, step = SATURATES[law], depth / (2 * slices)

    def slope(log_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return -alpha(np.exp(log_s))

    inside = [np.log(entrance)]
    for _ in range(2 * slices):
        q = inside[-1]
        a = slope(q)
        b = slope(q + step / 2 * a)
        c = slope(q + step / 2 * b)
        d = slope(q + step * c)
        inside.append(q + step / 6 * (a + 2 * b + 2 * c + d))
    s = np.exp(np.array(inside[::-1]))  # as the probe meets it
    probe_slope = -alpha(s) * (1 - kappa * s / (1 + s))
    log_power = step / 3 * (probe_slope[0] + probe_slope[-1])
    log_power += step / 3 * (4 * probe_slope[1:-1:2].sum(axis=0) + 2 * probe_slope[2:-1:2].sum(axis=0))
    return s[0], np.exp(0.5 * log_power)


# ---- the pump


@pytest.mark.parametrize(
    ("law", "published"),
    [
        ("published", (0.082, 0.368, 0.607, 0.825, 0.952)),
        ("propagated", (0.011, 0.050, 0.350, 0.787, 0.949)),
        ("doppler", (0.008, 0.014, 0.028, 0.122, 0.505)),
    ],
)
def test_field_transmission_at_depth_10_is_the_tabulated_one(law: Law, published: tuple[float, ...]):
    fields = double(1, 2, 3, 5, 10)
    assert absorber.transmission(fields**2, 10.0, law).tolist() == pytest.approx(published, abs=6e-4)


@any_depth
def test_the_published_law_is_equations_4_to_6(depth: float):
    field = wide_fields()
    s = field**2
    probe = torch.exp(-(depth / 2) / (1 + s))
    torch.testing.assert_close(absorber.forward(field, depth, "published"), probe * field)
    torch.testing.assert_close(absorber.probe_transmission(s, depth, "published"), probe)
    bracket = 1 + depth * s / (1 + s) ** 2
    torch.testing.assert_close(absorber.derivative(field, depth, "published"), bracket * probe)


@local_law
@pytest.mark.parametrize("depth", [0.1, 1.0, 10.0, 30.0])
def test_a_local_law_is_the_integral_of_its_local_absorption(law: Law, depth: float):
    entrance = np.logspace(-4, 4, 33)
    after, _ = propagate(law, entrance, depth)
    solved = absorber.saturation_after(torch.from_numpy(entrance), depth, law).numpy()
    np.testing.assert_allclose(solved, after, rtol=1e-6)


@any_depth
def test_the_local_laws_solve_their_implicit_equations(depth: float):
    s = saturations()
    after = absorber.saturation_after(s, depth, "propagated")
    torch.testing.assert_close(torch.log(after) + after, torch.log(s) + s - depth, rtol=1e-12, atol=1e-12)

    def climb(s: Tensor) -> Tensor:
        beyond_one = s / (torch.sqrt(1 + s) + 1)  # u - 1 without cancellation
        return 2 * beyond_one + torch.log(beyond_one / (beyond_one + 2))

    after = absorber.saturation_after(s, depth, "doppler")
    torch.testing.assert_close(climb(after), climb(s) - depth, rtol=1e-12, atol=1e-12)


@every_law
@any_depth
def test_light_is_only_ever_absorbed_and_less_so_the_stronger_it_is(law: Law, depth: float):
    s = saturations()
    after = absorber.saturation_after(s, depth, law)
    assert bool((after > 0).all())
    assert bool((after <= s).all())
    transmission = absorber.transmission(s, depth, law)
    assert bool((transmission.diff() >= -1e-14).all())
    torch.testing.assert_close(after, s * transmission**2, rtol=1e-10, atol=0.0)


@every_law
@any_depth
def test_weak_light_is_attenuated_by_half_the_depth_in_field(law: Law, depth: float):
    weak = absorber.transmission(double(0.0, 1e-14), depth, law)
    torch.testing.assert_close(weak, torch.full_like(weak, math.exp(-depth / 2)), rtol=1e-9, atol=0.0)


@every_law
def test_an_empty_cell_changes_nothing(law: Law):
    field = wide_fields()
    torch.testing.assert_close(absorber.forward(field, 0.0, law), field)
    torch.testing.assert_close(absorber.derivative(field, 0.0, law), torch.ones_like(field))


@every_law
def test_two_cells_in_a_row_are_one_of_their_summed_depth_only_for_local_laws(law: Law):
    s = torch.logspace(-3, 3, 61, dtype=torch.float64)
    twice = absorber.saturation_after(absorber.saturation_after(s, 4.0, law), 6.0, law)
    once = absorber.saturation_after(s, 10.0, law)
    assert torch.allclose(twice, once, rtol=1e-9, atol=0.0) == (law in LOCAL_LAWS)


@every_law
def test_the_phase_of_a_complex_field_passes_unchanged(law: Law):
    magnitude = torch.logspace(-3, 2, 31, dtype=torch.float64)
    turned = torch.polar(magnitude, torch.linspace(-3, 3, 31, dtype=torch.float64))
    through = absorber.forward(turned, 10.0, law)
    torch.testing.assert_close(through.abs(), absorber.forward(magnitude, 10.0, law))
    torch.testing.assert_close(through.angle(), turned.angle())


@every_law
@any_depth
def test_single_precision_agrees_with_double(law: Law, depth: float):
    field = wide_fields(torch.float32)
    single = absorber.transmission(field**2, depth, law)
    torch.testing.assert_close(
        single.double(), absorber.transmission(field.double() ** 2, depth, law), rtol=0, atol=5e-6
    )


# ---- derivatives


@every_law
@any_depth
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_derivative_is_that_of_forward(law: Law, depth: float, dtype: torch.dtype, tolerance: float):
    field = wide_fields(dtype).requires_grad_()
    (slope,) = torch.autograd.grad(absorber.forward(field, depth, law).sum(), field)
    exact = absorber.derivative(field.detach(), depth, law)
    torch.testing.assert_close(slope, exact, rtol=tolerance, atol=tolerance)


@every_law
def test_gradients_of_field_and_depth_pass_finite_differences(law: Law):
    field = double(-30, -2, -0.3, 0.01, 0.5, 1, 4, 100).requires_grad_()
    depth = double(0.5, 1, 3, 5, 10, 10, 30, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda e, d: absorber.forward(e, d, law), (field, depth))
    turned = torch.polar(double(0.3, 1, 4), double(0.5, -2, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: absorber.forward(e, 3.0, law), (turned,))


@local_law
@any_depth
def test_the_exact_factor_of_a_local_law_is_the_ratio_of_local_absorptions(law: Law, depth: float):
    s = saturations()
    after = absorber.saturation_after(s, depth, law)
    factor = absorber.exact_factor(s, after, depth, law).numpy()
    alpha = SATURATES[law]
    np.testing.assert_allclose(factor, alpha(after.numpy()) / alpha(s.numpy()), rtol=1e-12)
    assert (factor >= 1).all()  # light leaves the cell weaker than it came, so it is absorbed more there


@pytest.mark.parametrize("depth", [1.0, 10.0, 30.0])
def test_the_published_exact_factor_peaks_at_field_1_with_a_quarter_of_the_depth(depth: float):
    field = torch.linspace(0.1, 10, 1000, dtype=torch.float64)
    factor = absorber.exact_factor(field**2, field**2, depth, "published")
    assert float(field[factor.argmax()]) == pytest.approx(1, abs=0.01)
    assert float(factor.max()) == pytest.approx(1 + depth / 4, rel=1e-4)


@pytest.mark.parametrize(("depth", "edge", "steepest"), [(1.0, 1.95, 1.05), (10.0, 3.50, 1.16), (30.0, 5.67, 1.19)])
def test_the_region_edge_is_where_the_published_law_is_steepest(depth: float, edge: float, steepest: float):
    field = torch.linspace(0.01, 10, 100_001, dtype=torch.float64)
    slope = absorber.derivative(field, depth, "published")
    assert absorber.region_edge(depth) == pytest.approx(float(field[slope.argmax()]), abs=1e-3)
    assert absorber.region_edge(depth) == pytest.approx(edge, abs=0.006)
    assert float(slope.max()) == pytest.approx(steepest, abs=0.006)


@pytest.mark.parametrize(
    ("law", "published"),
    [
        ("published", (0.004, 0.041, 0.069, 0.094)),
        ("propagated", (0.005, 0.093, 0.203, 0.371)),
        ("doppler", (0.003, 0.027, 0.068, 0.176)),
    ],
)
def test_the_probe_misses_the_derivative_by_the_tabulated_error(law: Law, published: tuple[float, ...]):
    errors = [absorber.derivative_error(depth, law, absorber.region_edge(depth)) for depth in (1.0, 5.0, 10.0, 30.0)]
    assert errors == pytest.approx(published, abs=0.003)


def test_the_published_error_saturates_near_ten_percent():
    depths = (1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0)
    errors = [absorber.derivative_error(depth, "published", absorber.region_edge(depth)) for depth in depths]
    assert errors == pytest.approx((0.004, 0.022, 0.041, 0.069, 0.088, 0.094, 0.100, 0.104), abs=6e-4)


# ---- the probe


@local_law
@pytest.mark.parametrize("kappa", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("depth", [1.0, 10.0, 30.0])
def test_a_weak_probe_from_the_exit_integrates_the_pumped_absorption(law: Law, depth: float, kappa: float):
    entrance = np.logspace(-3, 3, 25)
    _, probe = propagate(law, entrance, depth, kappa)
    solved = absorber.probe_transmission(torch.from_numpy(entrance), depth, law, kappa)
    np.testing.assert_allclose(solved.numpy(), probe, rtol=1e-6)


@every_law
@any_depth
def test_without_a_grating_the_probe_sees_the_pumps_transmission(law: Law, depth: float):
    s = saturations()
    assert torch.equal(absorber.probe_transmission(s, depth, law), absorber.transmission(s, depth, law))


@pytest.mark.parametrize("kappa", [0.1, 0.5, 1.0])
def test_in_the_published_law_a_grating_thins_the_medium_for_the_probe(kappa: float):
    s = saturations()
    thinned = torch.exp(-5.0 / (1 + s) * (1 - kappa * s / (1 + s)))
    torch.testing.assert_close(absorber.probe_transmission(s, 10.0, "published", kappa), thinned)


@every_law
@any_depth
def test_a_deeper_grating_never_absorbs_more_and_never_amplifies(law: Law, depth: float):
    s = saturations()
    by_kappa = torch.stack([absorber.probe_transmission(s, depth, law, kappa) for kappa in (0.0, 0.1, 0.5, 1.0)])
    assert bool((by_kappa.diff(dim=0) >= -1e-14).all())
    assert bool((by_kappa <= 1 + 1e-12).all())


# ---- detuning


@every_law
def test_on_line_centre_detuning_changes_nothing(law: Law):
    s = saturations()
    same, depth, overlap = absorber.detuned(s, 10.0, 0.0, law)
    assert torch.equal(same, s)
    assert float(depth) == 10
    assert bool((torch.as_tensor(overlap) == 1).all())
    probe = absorber.probe_transmission(same, depth, law, 0.1, overlap)
    torch.testing.assert_close(probe, absorber.probe_transmission(s, 10.0, law, 0.1))


@pytest.mark.parametrize("law", ["published", "propagated"])
def test_atoms_at_rest_absorb_less_off_line_centre(law: Law):
    s = torch.logspace(-3, 3, 31, dtype=torch.float64)
    by_detuning = []
    for linewidths in (0.0, 0.25, 0.5, 1.0, 5.0):
        shifted, depth, overlap = absorber.detuned(s, 10.0, linewidths * NATURAL_LINEWIDTH_HZ, law)
        by_detuning.append(absorber.transmission(shifted, depth, law))
        torch.testing.assert_close(absorber.probe_transmission(shifted, depth, law, 0.0, overlap), by_detuning[-1])
    assert bool((torch.stack(by_detuning).diff(dim=0) > 0).all())


@pytest.mark.parametrize("law", ["published", "propagated"])
def test_half_a_linewidth_off_halves_depth_and_saturation_of_atoms_at_rest(law: Law):
    s, depth, _ = absorber.detuned(double(2.0), 10.0, 0.5 * NATURAL_LINEWIDTH_HZ, law)
    assert float(s) == pytest.approx(1)
    assert float(depth) == pytest.approx(5)


def test_off_line_centre_a_doppler_broadened_cell_hurts_only_the_probe():
    s = torch.logspace(-1, 3, 31, dtype=torch.float64)
    pump = absorber.transmission(s, 10.0, "doppler")
    by_detuning = []
    for detuning_hz in (0.0, 1e6, 5e6, 20e6, 10e9):
        shifted, depth, overlap = absorber.detuned(s, 10.0, detuning_hz, "doppler")
        torch.testing.assert_close(absorber.transmission(shifted, depth, "doppler"), pump)
        by_detuning.append(absorber.probe_transmission(shifted, depth, "doppler", 0.0, overlap))
    assert bool((torch.stack(by_detuning).diff(dim=0) < 0).all())
    unpumped = torch.full_like(pump, math.exp(-5))  # pump and probe address different atoms
    torch.testing.assert_close(by_detuning[-1], unpumped, rtol=0.01, atol=0.0)


def test_the_burnt_hole_is_as_wide_as_the_power_broadened_line():
    s = double(0.0, 3.0, 99.0)
    half_width_hz = 0.5 * NATURAL_LINEWIDTH_HZ * torch.sqrt(1 + s)
    _, _, overlap = absorber.detuned(s, 10.0, half_width_hz, "doppler")
    torch.testing.assert_close(overlap, torch.full_like(s, 0.5))


def test_detuning_may_differ_from_sample_to_sample():
    s = torch.ones(3, 4, dtype=torch.float64)
    detuning_hz = torch.tensor([[0.0], [1e6], [1e7]], dtype=torch.float64)
    for law in LAWS:
        shifted, depth, overlap = absorber.detuned(s, 10.0, detuning_hz, law)
        together = absorber.probe_transmission(shifted, depth, law, 0.1, overlap)
        for row in range(3):
            alone = absorber.detuned(s[row], 10.0, float(detuning_hz[row]), law)
            one = absorber.probe_transmission(alone[0], alone[1], law, 0.1, alone[2])
            torch.testing.assert_close(together[row], one)


# ---- temperature


def pressure_torr(temperature_c: float) -> float:
    kelvin = temperature_c + 273.15
    return absorber.vapour_density(temperature_c) * 1.380649e-23 * kelvin / 133.322


def test_the_vapour_pressure_at_25_c_is_that_over_the_solid():
    assert pressure_torr(25.0) == pytest.approx(3.92e-7, rel=0.05)  # Steck, Rubidium 87 D Line Data: 3.92(20)e-7


def test_the_vapour_pressure_follows_the_phase():
    melting = absorber.MELTING_POINT_C
    kelvin = melting + 273.15
    assert pressure_torr(melting - 1e-9) == pytest.approx(10 ** (2.881 + 4.857 - 4215 / kelvin))
    assert pressure_torr(melting) == pytest.approx(10 ** (2.881 + 4.312 - 4040 / kelvin))
    assert pressure_torr(melting - 1e-9) == pytest.approx(pressure_torr(melting), rel=0.04)


def test_warmer_vapour_is_denser_through_the_melting_point():
    densities = [absorber.vapour_density(temperature_c) for temperature_c in np.arange(20, 90, 0.1)]
    assert (np.diff(densities) > 0).all()


@pytest.mark.parametrize(("temperature_c", "depth"), [(60, 5.8), (70, 12.5), (80, 25.9), (90, 51)])
def test_depth_follows_the_vapour_as_tabulated(temperature_c: float, depth: float):
    assert absorber.depth_at(temperature_c, DEPTH_AT_70C) == pytest.approx(depth, rel=0.01)


def test_depth_rises_by_7_6_percent_per_kelvin_at_depth_10():
    low, high = (absorber.depth_at(temperature_c, DEPTH_AT_70C) for temperature_c in (66.95, 67.05))
    assert math.log(high / low) / 0.1 == pytest.approx(0.076, abs=0.001)


@pytest.mark.parametrize(("depth", "temperature_c"), [(10, 67), (30, 82)])
def test_the_temperature_for_a_depth_is_the_tabulated_one(depth: float, temperature_c: float):
    assert absorber.temperature_for(depth, DEPTH_AT_70C, 20, 90) == pytest.approx(temperature_c, abs=0.5)


@pytest.mark.parametrize("temperature_c", [20, 25, 43.21, 67, 82.1, 90])
def test_temperature_for_inverts_depth_at(temperature_c: float):
    depth = absorber.depth_at(temperature_c, DEPTH_AT_70C)
    assert absorber.temperature_for(depth, DEPTH_AT_70C, 20, 90) == pytest.approx(temperature_c, abs=1e-9)


@pytest.mark.parametrize("depth", [-1.0, 0.0, 0.01, 60.0, 1e6])
def test_there_is_no_temperature_for_a_depth_out_of_reach(depth: float):
    assert absorber.temperature_for(depth, DEPTH_AT_70C, 20, 90) is None
