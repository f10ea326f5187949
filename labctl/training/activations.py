"""Nonlinearities beside the absorber's own: rectifiers, and an absorber whose derivative is drawn at random."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from labctl.optics.multiplier.absorber import derivative, region_edge, shape_error
from labctl.training.network import Absorption, Rule

TABLE_STEPS = 4096
"""Steps of the table that stands for a random derivative; linear between them."""


@dataclass(frozen=True)
class Rectifier:
    """The rectified linear unit of electronic networks."""

    def activate(self, sums: Tensor) -> Tensor:
        """Return max(0, z)."""
        return sums.clamp_min(0)

    def slope(self, sums: Tensor, activations: Tensor, rule: Rule) -> Tensor:
        """Return 1 where z > 0, else 0, whatever the rule."""
        return (sums > 0).to(sums.dtype)


@dataclass(frozen=True)
class RandomDerivative:
    """An absorber whose error is sent back through an arbitrary even function f(z) in place of its derivative.

    f goes through `samples` at even distances from z = 0 to `reach`, mirrored to negative z, monotone between them
    (PCHIP, as in Guo et al. 2021, appendix B); beyond `reach` it is constant.

    Args:
        absorption: The absorber, published law.
        samples: Values of f, two or more, >= 0.
        reach: Field of the last sample, in units of the saturation field.
    """

    absorption: Absorption
    samples: tuple[float, ...]
    reach: float

    def activate(self, sums: Tensor) -> Tensor:
        """Return the activations of the absorber."""
        return self.absorption.activate(sums)

    def slope(self, sums: Tensor, activations: Tensor, rule: Rule) -> Tensor:
        """Return f(z), whatever the rule."""
        place = sums.abs().clamp_max(self.reach) * (TABLE_STEPS / self.reach)
        below = place.long().clamp_max(TABLE_STEPS - 1)
        return torch.lerp(self._table[below], self._table[below + 1], place - below)

    @cached_property
    def _table(self) -> Tensor:
        knots = np.linspace(0, self.reach, len(self.samples))
        mirrored = np.concatenate([-knots[:0:-1], knots])
        f = PchipInterpolator(mirrored, np.concatenate([self.samples[:0:-1], self.samples]))
        return torch.from_numpy(f(np.linspace(0, self.reach, TABLE_STEPS + 1)).astype(np.float32))

    @property
    def error(self) -> float:
        """1 - S of eq. B2 against the absorber's exact derivative; the weight's width is the edge of region (i)."""
        width = region_edge(self.absorption.depth)
        field = torch.linspace(-8 * width, 8 * width, 4001)
        exact = derivative(field, self.absorption.depth, self.absorption.law)
        return shape_error(self.slope(field, field, "exact"), exact, torch.exp(-0.5 * (field / width) ** 2))


def random_derivative(absorption: Absorption, samples: int, rng: np.random.Generator) -> RandomDerivative:
    """Return an absorber with uniform random samples of f, from 0 to 3 widths of the weight of eq. B2.

    Args:
        absorption: The absorber.
        samples: Samples of f, mirrored ones not counted.
        rng: Draws them, uniform in 0 to 1; a common factor is without effect under Adam.
    """
    drawn = tuple(float(value) for value in rng.uniform(0, 1, samples))
    return RandomDerivative(absorption, drawn, 3 * region_edge(absorption.depth))
