"""The gradient of phase masks from fields: -2 Im(m u), u forward and m backward field just after the mask.

The source that is sent back is (dL/dI) U*, U the measured output (reference-benches section 2). At every plane the sum
of m u is that of (dL/dI) I at the output, and real: this balance gives each batch the phase between both ways'
references and the scale, with the help of one field more that is sent back: U* of the first sample, which is all power.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from labctl.errors import RunAborted
from labctl.experiments.diffractive.in_situ.fields import BenchFields, Forward

MethodName = Literal["optical", "physics_aware", "in_silico"]
"""`optical`: measured on both ways. `physics_aware`: measured forwards, back through the calibrated model. `in_silico`:
the calibrated model on both ways."""

LARGEST_SCALE = 1.5
"""Backward fields may be this much larger or smaller than believed: powers and taps are known to some percent, and what
is not registered seems smaller than it is (on planes of 32 samples, 1.15 times where taps are two samples off)."""

RETAKES = 2
"""How often a batch that is out of balance is measured again."""

NOISE_SIGMAS = 3.0
"""Standard deviations of photon and read noise that a balance may lack beyond `LARGEST_IMBALANCE`."""

Loss = Callable[[Tensor], Tensor]
"""Loss of a batch from its output intensities (n, rows, cols), differentiable."""

LARGEST_IMBALANCE = 0.05
"""Imaginary part of the balance, over the sum of |dL/dI| I, at which a step is refused (reference-benches 2)."""


@dataclass(frozen=True, eq=False)
class MaskGradient:
    """What a batch gave.

    Args:
        loss: Its loss.
        masks: dL/dphase of every mask, (rows, cols).
        intensity: At the output, (n, rows, cols).
        imbalance: Imaginary part of each mask's balance over the sum of |dL/dI| I.
        allowed: Largest imbalance of each that is no sign of a fault.
        scale: What each mask's backward fields were multiplied by to balance; near 1 where all is as believed.
    """

    loss: float
    masks: Sequence[Tensor]
    intensity: Tensor
    imbalance: Sequence[float]
    allowed: Sequence[float]
    scale: Sequence[float]

    @property
    def fault(self) -> str | None:
        """Why forward and backward fields do not fit together, or None when they do."""
        for lacking, most in zip(self.imbalance, self.allowed, strict=True):
            if lacking > most:
                return f"the balance of forward and backward fields lacks {lacking:.1%} (at most {most:.1%})"
        farthest = max(self.scale, key=lambda one: abs(math.log(one)))
        if not 1 / LARGEST_SCALE <= farthest <= LARGEST_SCALE:
            return f"backward fields are {1 / farthest:.2g} of what they should be (within {LARGEST_SCALE:g} times)"
        return None


def mask_gradient(fields: BenchFields, method: MethodName, objects: Tensor, loss: Loss) -> MaskGradient:
    """Return the gradient of a batch's loss in the phases of the masks that are written.

    A measurement whose balance is off is refused and taken again, under its own heading; twice at most.

    Args:
        fields: The bench.
        method: Which fields are measured.
        objects: Fields (n, rows, cols) of amplitude 0..1 to send.
        loss: Loss of the batch.

    Raises:
        RunAborted: The balance of forward and backward fields stays off.
    """
    heading = fields.tally.heading
    found = _measured(fields, method, objects, loss)
    for _ in range(RETAKES):
        if method != "optical" or not found.fault:
            break
        fields.tally.heading = "refused"
        found = _measured(fields, method, objects, loss)
    fields.tally.heading = heading
    if method == "optical" and found.fault:
        raise RunAborted(
            f"{found.fault}; register the taps again (labctl calibrate tap_registration), or look for a drifting "
            "reference, saturated cameras or a blocked beam"
        )
    return found


def _measured(fields: BenchFields, method: MethodName, objects: Tensor, loss: Loss) -> MaskGradient:
    forward = fields.modelled_forward(objects) if method == "in_silico" else fields.forward(objects)
    intensity = _intensity(forward.output).requires_grad_()
    value = loss(intensity)
    (slope,) = torch.autograd.grad(value, intensity)
    errors = slope * forward.output.conj()
    backward = fields.backward if method == "optical" else fields.modelled_backward
    returned, imbalance, scale = _balanced(forward, backward, errors, slope)
    with fields.bench.computing():
        products = [(m * u).sum(dim=0) for m, u in zip(returned, forward.masks, strict=True)]
        pairs = zip(fields.model.panels, fields.phases, products, strict=True)
        gradients = [panel.gradient(phase, product) for panel, phase, product in pairs]
        noise = _balance_noise(fields, forward, returned, errors, slope)
        allowed = [LARGEST_IMBALANCE + NOISE_SIGMAS * one for one in noise]
    return MaskGradient(value.item(), gradients, intensity.detach(), imbalance, allowed, scale)


def _balance_noise(
    fields: BenchFields, forward: Forward, returned: Sequence[Tensor], errors: Tensor, slope: Tensor
) -> list[float]:
    """Return what photon and read noise of all three fields make each mask's balance lack, standard deviation."""
    intensity = _intensity(forward.output)
    noise = fields.noise
    output = noise.output**2 * (slope.square() * intensity).sum()
    peaks = errors.abs().amax(dim=(1, 2)).square()
    found = []
    for m, u, ahead, behind in zip(returned, forward.masks, noise.forward, noise.backward, strict=True):
        back = behind**2 * (peaks * _intensity(u).sum(dim=(1, 2))).sum()
        variance = output + back + ahead**2 * _intensity(m).sum()
        found.append((variance.sqrt() / (slope.abs() * intensity).sum()).item())
    return found


def _intensity(field: Tensor) -> Tensor:
    return field.real**2 + field.imag**2


def _balanced(
    forward: Forward, backward: Callable[[Tensor], list[Tensor]], errors: Tensor, slope: Tensor
) -> tuple[list[Tensor], list[float], list[float]]:
    """Return the backward fields of a batch in the phase and scale that the balance asks for, what it lacks, scales.

    One factor for all samples of a mask, by least squares over their balances and the pilot's, each over its |dL/dI| I.
    """
    intensity = _intensity(forward.output)
    pilot = forward.output[:1].conj()
    due = torch.cat([(slope * intensity).sum(dim=(1, 2)), intensity[:1].sum(dim=(1, 2))])
    size = torch.cat([(slope.abs() * intensity).sum(dim=(1, 2)), intensity[:1].sum(dim=(1, 2))])
    returned, imbalance, scale = [], [], []
    for m, u in zip(backward(torch.cat([errors, pilot])), forward.masks, strict=True):
        found = (m * torch.cat([u, u[:1]])).sum(dim=(1, 2)) / size
        # found = due / (size factor): regressed this way, noise in what was found does not shrink the factor
        factor = (due / size).square().sum() / (due / size * found).sum()
        returned.append(factor * m[:-1])
        scale.append(abs(factor.item()))
        imbalance.append(abs(float((factor * found * size)[:-1].sum().imag / size[:-1].sum())))
    return returned, imbalance, scale
