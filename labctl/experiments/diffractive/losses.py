"""Losses of classifiers and imagers: what the output plane should look like for an object."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

SHARPNESS = 10.0
"""Logit of the brightest detector (published-systems 3.3, the default of the same laboratory's later code)."""


def normalised_cross_entropy(powers: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits 10 P_k / max_j P_j, the maximum taken as a constant.

    Args:
        powers: Detector powers, shape (n, detectors).
        labels: Classes, shape (n,), int64.
    """
    brightest = powers.amax(dim=1, keepdim=True).detach()
    return cross_entropy(SHARPNESS * powers / brightest, labels)


def plane_error(intensity: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean-square error of output planes over that of dark ones.

    Args:
        intensity: Output, shape (n, rows, cols).
        wanted: Intensity that should be there, same shape.
    """
    return (intensity - wanted).square().sum() / wanted.square().sum()


WANTED_SHARE = 0.03
"""Share of an object's light that `wanted_plane` has on the right detector.

The published target's brightness is not known. On 64 x 64 neurons and 20,000 digits seen twice, shares of 0.1 and 0.03
led to 86.3 and 88.8 %; all of the light to 50 % after 6,000 digits: plates then gather light, whatever its class.
"""


def wanted_plane(labels: Tensor, masks: Tensor, energy: Tensor) -> Tensor:
    """Return the plane (n, rows, cols) that is dark but for some of the light, even on the detector of the class.

    Args:
        labels: Classes, shape (n,), int64.
        masks: Detector masks, shape (detectors, rows, cols).
        energy: Sum of the object's intensity, shape (n,).
    """
    level = WANTED_SHARE * energy / masks.sum(dim=(1, 2))[labels]
    return masks[labels] * level[:, None, None]


def log_plane_error(intensity: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over objects of log(1 + e), e the square error of the plane over the square of what is wanted.

    What is wanted is as bright as fits the object best, so that no brightness need be chosen: e is then
    |I|^2 / (c^2 |m|^2) - 1 for what is wanted, m, and the brightness c = I.m / |m|^2. The logarithm, as
    in a signal-to-noise ratio in dB, keeps objects that are still dark on it from outweighing all others.

    Args:
        intensity: Output, shape (n, rows, cols).
        wanted: Up to its brightness: of a classifier 1 on the right detector and 0 elsewhere, of an imager the
            object's intensity; same shape.
    """
    area = wanted.square().sum(dim=(1, 2))
    brightness = (intensity * wanted).sum(dim=(1, 2)) / area
    return (intensity.square().sum(dim=(1, 2)).log() - 2 * brightness.log() - area.log()).mean()


def intensity_of(field: Tensor) -> Tensor:
    """Return |field|^2 without a square root."""
    return torch.view_as_real(field).square().sum(-1)
