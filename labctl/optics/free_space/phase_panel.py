"""A phase panel as a mask in the light: what it does to a field, and what a field's gradient is in its levels."""

import math

import numpy as np
import torch
from torch import Tensor

from labctl.optics.multiplier.fringing import blur_kernel


class PhasePanel:
    """Pixels that delay light by what they show, imperfectly.

    Reflectivity r, unmodulated share c: t = surface sqrt(r) (sqrt(1 - c) exp(i response blur(phase)) + sqrt(c)).
    The blur is that of the phases that are shown: where they step from 2 pi back to 0, fringing fields pass through
    what lies between, as on a panel.

    Args:
        reflectivity: Power it reflects.
        unmodulated: Share of that power whose phase it does not turn.
        response: Phase that is reached over the phase that is asked for.
        fringing_px: Blur of the phase, Gaussian sigma in pixels.
        surface: Complex factor of every pixel, whatever it shows: wavefront error, dust; shape (rows, cols).
    """

    def __init__(
        self,
        reflectivity: float,
        unmodulated: float,
        response: float = 1.0,
        fringing_px: float = 0.0,
        surface: Tensor | None = None,
    ) -> None:
        self._modulated = math.sqrt(reflectivity * (1 - unmodulated))
        self._rest = math.sqrt(reflectivity * unmodulated)
        self._response = response
        shares = blur_kernel(fringing_px).mean(axis=0)  # of every neighbour in a pixel's mean phase
        self._kernel = torch.from_numpy(shares.astype(np.float32)) if fringing_px else None
        self._surface = surface

    def transmission(self, phase: Tensor) -> Tensor:
        """Return what the panel multiplies a field by when asked for `phase` in rad; both (rows, cols)."""
        field = self._modulation(phase) + self._rest
        return field if self._surface is None else field * self._surface

    def gradient(self, phase: Tensor, product: Tensor) -> Tensor:
        """Return dL/dphase of each pixel, shape (rows, cols).

        For a perfect panel -2 Im(m u) (reference-benches section 8); the share of light that the panel does not turn
        is taken out of u, and what a pixel does to its neighbours is added to it.

        Args:
            phase: Phase that is asked for.
            product: m u just after the mask, summed over samples: u forward, m backward field; complex.
        """
        modulation = self._modulation(phase)
        turned = -2 * (product * (modulation / (modulation + self._rest))).imag
        return self._response * self._blur(turned)

    def _modulation(self, phase: Tensor) -> Tensor:
        reached = self._response * self._blur(phase)
        return self._modulated * torch.complex(torch.cos(reached), torch.sin(reached))

    def _blur(self, values: Tensor) -> Tensor:
        """Return the mean of each pixel and its neighbours; its own transpose, as what lies around the panel is 0."""
        if self._kernel is None:
            return values
        kernel, reach = self._kernel.to(values.dtype), len(self._kernel) // 2
        across = torch.nn.functional.conv2d(values[None, None], kernel[None, None, None], padding=(0, reach))
        return torch.nn.functional.conv2d(across, kernel[None, None, :, None], padding=(reach, 0))[0, 0]
