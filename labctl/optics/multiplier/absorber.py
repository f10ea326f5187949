"""Saturable absorption of a pump and of a weak counter-propagating probe, field transmission and derivatives.

Fields are real or complex amplitudes in units of the saturation field, S = |E|^2 the saturation parameter,
and the optical depth `depth` is for intensity, so that a weak field is transmitted by exp(-depth / 2).

Three laws (Guo et al., Photonics Research 9(3):B71, 2021, eqs. 4 to 6, and its thick-medium corrections):

- `published`: every slice sees the input intensity, t = exp(-(depth/2) / (1 + S)).
- `propagated`: two-level atoms at rest, dS/dz = -alpha S / (1 + S), so S_out = W(S exp(S - depth)), Lambert W.
- `doppler`: Doppler-broadened line, laser on line centre, dS/dz = -alpha S / sqrt(1 + S), so
  2u + ln((u - 1) / (u + 1)) with u = sqrt(1 + S) falls by the depth across the cell.
"""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Law = Literal["published", "propagated", "doppler"]
LAWS: tuple[Law, ...] = get_args(Law)

Profile = Literal["uniform", "gaussian"]
"""Profile of a beam in the cell. `uniform` is the published convention: E^2 = 1 is meant of the mean, power over
pi w0^2, everywhere in the beam. A `gaussian` of the same power has twice that at its centre."""

PROFILE_POINTS = 24
"""Gauss-Legendre points over a Gaussian's profile; 200 change no transmission by more than 4e-4 up to depth 30."""

SMALLEST_S = 1e-20
"""Saturation below which a field counts as weak; keeps logarithms finite at zero field."""

NEWTON_STEPS = 8
"""Both implicit laws are solved in the logarithm of the unknown; 8 steps reach float64 rounding for depth <= 100."""

NATURAL_LINEWIDTH_HZ = 6.07e6
"""Full natural linewidth of the 87Rb D2 line (Steck, Rubidium 87 D Line Data, table 3)."""


MELTING_POINT_C = 39.3
"""Rubidium melts here (Steck, Rubidium 87 D Line Data, table 2)."""


def transmission(saturation: Tensor, depth: float | Tensor, law: Law) -> Tensor:
    """Return the field transmission of a pump whose saturation parameter at the entrance is `saturation`.

    Args:
        saturation: S at the entrance, >= 0, any shape.
        depth: Optical depth for intensity, >= 0; under `published` also a saturable gain, depth = -g0.
        law: Absorber law.
    """
    if law == "published":
        return torch.exp(-0.5 * depth / (1 + saturation))
    entrance = saturation.clamp_min(SMALLEST_S)
    return torch.exp(0.5 * (_log_after(entrance, depth, law) - torch.log(entrance)))


def profile_points(profile: Profile) -> tuple[Tensor, Tensor]:
    """Return where a beam's profile is sampled: local over mean intensity, and weights of sum 1.

    What a Gaussian mode keeps of its own shape behind a transmission t(S(r)) is the mean of t over its power, and with
    v = exp(-2 r^2 / w0^2) that is the integral of t(2 S v) over v from 0 to 1.
    """
    if profile == "uniform":
        return torch.ones(1), torch.ones(1)
    points, weights = np.polynomial.legendre.leggauss(PROFILE_POINTS)
    return torch.from_numpy(points + 1).float(), torch.from_numpy(weights / 2).float()


def saturation_after(saturation: Tensor, depth: float | Tensor, law: Law) -> Tensor:
    """Return the saturation parameter at the exit of the cell; same arguments as `transmission`."""
    if law == "published":
        return saturation * transmission(saturation, depth, law) ** 2
    return torch.exp(_log_after(saturation.clamp_min(SMALLEST_S), depth, law))


def _log_after(entrance: Tensor, depth: float | Tensor, law: Law) -> Tensor:
    """Return ln S at the exit for a local law; logarithms, because exp(-depth) may underflow."""
    if law == "propagated":
        return _solve_propagated(torch.log(entrance) + entrance - depth)
    v = entrance / (1 + torch.sqrt(1 + entrance))  # u - 1 without cancellation
    q = _solve_doppler(2 * v + torch.log(v / (v + 2)) - depth)
    return q + torch.log(torch.exp(q) + 2)


def _solve_propagated(target: Tensor) -> Tensor:
    """Return ln s with s + ln s = target, by Newton steps.

    Only the last step is seen by autograd: it alone carries the exact implicit derivative.
    """
    with torch.no_grad():
        q = torch.where(target > 1, torch.log(target.clamp_min(1.0)), target)
        for _ in range(NEWTON_STEPS):
            s = torch.exp(q)
            q = q - (s + q - target) / (s + 1)
        s = torch.exp(q)
    return q - (s + q - target) / (s + 1)


def _solve_doppler(target: Tensor) -> Tensor:
    """Return ln v with 2 v + ln(v / (v + 2)) = target, by Newton steps; autograd as above."""
    with torch.no_grad():
        q = torch.where(target > 2, torch.log(target.clamp_min(2.0) / 2), target.clamp_max(1.0))
        for _ in range(NEWTON_STEPS):
            v = torch.exp(q)
            q = q - (2 * v + q - torch.log(v + 2) - target) / (2 * v + 2 / (v + 2))
        v = torch.exp(q)
    return q - (2 * v + q - torch.log(v + 2) - target) / (2 * v + 2 / (v + 2))


def forward(field: Tensor, depth: float | Tensor, law: Law) -> Tensor:
    """Return the pump field after the cell, g(E) = t(|E|^2) E; real or complex `field`, any shape."""
    saturation = field.real**2 + field.imag**2 if field.is_complex() else field**2
    return transmission(saturation, depth, law) * field


def probe_transmission(
    saturation: Tensor, depth: float | Tensor, law: Law, kappa: float = 0.0, overlap: Tensor | float = 1.0
) -> Tensor:
    """Return the field transmission of a weak probe sent backwards through the pumped cell.

    For any local law a weak incoherent probe sees the pump's own transmission, from either side. A standing
    wave of pump and probe lowers the probe's absorption to alpha(S) (1 - kappa S / (1 + S)); for the local laws
    that integrates to the factor ((1 + S_in) / (1 + S_out))^(kappa / 2).

    Args:
        saturation: Pump's S at its own entrance, any shape.
        depth: Optical depth for intensity.
        law: Absorber law.
        kappa: Depth of the population grating, 0 to 1.
        overlap: How far pump and probe address the same velocity class, 1 on line centre, 0 far from it.
    """
    if law == "published":
        pump = transmission(saturation, depth * (1 - kappa * saturation / (1 + saturation)) if kappa else depth, law)
    else:
        pump = transmission(saturation, depth, law)
        if kappa:
            after = saturation_after(saturation, depth, law)
            pump = pump * ((1 + saturation) / (1 + after)) ** (0.5 * kappa)
    if isinstance(overlap, float) and overlap == 1.0:
        return pump
    unsaturated = torch.exp(-0.5 * torch.as_tensor(depth, dtype=pump.dtype))
    return pump**overlap * unsaturated ** (1 - overlap)


def exact_factor(saturation_in: Tensor, saturation_out: Tensor, depth: float | Tensor, law: Law) -> Tensor:
    """Return g'(E) / t: what turns the probe's transmission into the exact derivative.

    Both saturations are measured activations, so this correction costs no light. `published` is not a local law:
    its factor is the bracket of eq. 6, 1 + depth S / (1 + S)^2. For a local law it is alpha(S_out) / alpha(S_in).
    """
    if law == "published":
        return 1 + depth * saturation_in / (1 + saturation_in) ** 2
    ratio = (1 + saturation_in) / (1 + saturation_out)
    return ratio if law == "propagated" else torch.sqrt(ratio)


def derivative(field: Tensor, depth: float | Tensor, law: Law) -> Tensor:
    """Return the exact derivative g'(E) for a real `field`."""
    saturation = field**2
    after = saturation_after(saturation, depth, law)
    return transmission(saturation, depth, law) * exact_factor(saturation, after, depth, law)


def derivative_error(depth: float, law: Law, width: float) -> float:
    """Return 1 - S of eq. B2: how far the probe's transmission is from the exact derivative in shape.

    The integrals are sums over 4001 points on +-8 widths.

    Args:
        depth: Optical depth for intensity.
        law: Absorber law.
        width: Standard deviation of the Gaussian weight p(E) (eq. B1).
    """
    field = torch.linspace(-8 * width, 8 * width, 4001, dtype=torch.float64)
    weight = torch.exp(-0.5 * (field / width) ** 2)
    return shape_error(transmission(field**2, depth, law), derivative(field, depth, law), weight)


def shape_error(one: Tensor, other: Tensor, weight: Tensor) -> float:
    """Return 1 - S of eq. B2 of Guo et al. 2021: 0 where one function is a multiple of the other, 1 where orthogonal.

    Args:
        one: Samples at even distances, any shape.
        other: Samples at the same places.
        weight: Weight p there.
    """
    overlap = (one * other * weight).sum() ** 2
    return float(1 - overlap / ((one**2 * weight).sum() * (other**2 * weight).sum()))


def region_edge(depth: float) -> float:
    """Return E*, the field of the steepest slope of the published law, in units of the saturation field."""
    return float(((2 + depth + ((2 + depth) ** 2 + 12) ** 0.5) / 2) ** 0.5)


def detuned(
    saturation: Tensor, depth: float, detuning_hz: Tensor | float, law: Law
) -> tuple[Tensor, Tensor, Tensor | float]:
    """Return saturation, depth and pump-probe overlap of a laser `detuning_hz` off line centre.

    Atoms at rest: the Lorentzian divides both S and the depth by 1 + D, D = (2 detuning / linewidth)^2.
    A Doppler-broadened line absorbs the pump as before, but pump and probe, counter-propagating, address opposite
    velocity classes: their holes overlap as a Lorentzian of the power-broadened width sqrt(1 + S).

    Args:
        saturation: Pump's S on line centre, any shape.
        depth: Optical depth on line centre.
        detuning_hz: Scalar, or broadcastable against `saturation`.
        law: Absorber law.
    """
    offset = torch.as_tensor((2 * detuning_hz / NATURAL_LINEWIDTH_HZ) ** 2, dtype=saturation.dtype)
    depth_ = torch.as_tensor(depth, dtype=saturation.dtype)
    if law == "doppler":
        return saturation, depth_, 1 / (1 + offset / (1 + saturation))
    return saturation / (1 + offset), depth_ / (1 + offset), 1.0


def vapour_density(temperature_c: float) -> float:
    """Return the number density of rubidium vapour in 1/m^3 (Steck, Rubidium 87 D Line Data, eq. 1).

    Over the solid below the melting point, over the liquid from there on; the two fits differ by 4 % where they meet.
    """
    kelvin = temperature_c + 273.15
    solid = temperature_c < MELTING_POINT_C
    log_torr = 2.881 + 4.857 - 4215 / kelvin if solid else 2.881 + 4.312 - 4040 / kelvin
    return 133.322 * 10**log_torr / (1.380649e-23 * kelvin)


def depth_at(temperature_c: float, depth_at_70c: float) -> float:
    """Return the optical depth at a reservoir temperature, scaled from its value at 70 degrees Celsius.

    The depth goes with density over Doppler width, n(T) / sqrt(T).
    """
    ratio = vapour_density(temperature_c) / vapour_density(70.0)
    return depth_at_70c * ratio * (343.15 / (temperature_c + 273.15)) ** 0.5


def temperature_for(depth: float, depth_at_70c: float, low_c: float, high_c: float) -> float | None:
    """Return the reservoir temperature that gives `depth`, or None when it lies outside `low_c` to `high_c`."""
    if not depth_at(low_c, depth_at_70c) <= depth <= depth_at(high_c, depth_at_70c):
        return None
    for _ in range(60):
        middle = 0.5 * (low_c + high_c)
        low_c, high_c = (middle, high_c) if depth_at(middle, depth_at_70c) < depth else (low_c, middle)
    return 0.5 * (low_c + high_c)
