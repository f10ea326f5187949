"""Shifts of all images of a free-space bench from what `measure_tap_registration` took; pure."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.displacement import Overlap, Vector, find_shift, least_squares, misfit, moved, through_mask
from calibration.mask_sets import mean_and_sd, require_unsaturated
from labctl.errors import FitRejected
from labctl.ledger import Estimate, Fit

WORST_MISFIT = 0.3
"""Share of an image's power, or of the balance's, that may be left unexplained; a tenth at reference noise."""

FAINTEST_PEAK = 1.5
"""Peak of a scan over its median below which there is none; random light stays below, light that returns is above 3."""

LARGEST_SD = 0.05
"""Samples to which trainers need every image (reference-benches section 2)."""

FORWARD_EDGE, BACKWARD_EDGE = 0.07, 0.6
"""What no repeat shows, in samples times the samples of a side: light that leaves a camera's image at its edges. From
truths of noise-free twins at 32 and 256 samples [C]."""

FORWARD_SD, BACKWARD_SD = 0.0015, 0.01
"""The same whatever the side, in samples: the reference's wavefront. From twins, too."""

REACH = 4
"""Whole samples to either side among which the backward taps' images are first sought: two cameras' 4 sd, and one."""


def peak_of(scan: NDArray[np.float64]) -> Vector:
    """Return where a scan (odd, odd) over whole samples has its peak, from its middle, by a parabola each way."""
    row, column = np.unravel_index(int(scan.argmax()), scan.shape)
    middle = [side // 2 for side in scan.shape]
    down = row - middle[0] + _vertex(scan[:, column], int(row))
    right = column - middle[1] + _vertex(scan[row], int(column))
    return np.array([down, right])


def _vertex(values: Vector, top: int) -> float:
    """Return how far from `top`, the highest of `values`, the parabola through it and its neighbours is highest."""
    if not 0 < top < len(values) - 1:
        return 0.0
    before, at, after = values[top - 1 : top + 2]
    bend = before - 2 * at + after
    return float(0.5 * (before - after) / bend) if bend else 0.0


def fit_tap_registration(data: Mapping[str, Any]) -> Fit:
    """Return `shift_y` and `shift_x` of every camera and of the error DMD, in samples.

    Each set of masks gives all of them; the estimate is their mean, and its uncertainty from their scatter. The output
    camera is placed by the light from the last mask, so that it is uncertain by the panels' own axis, and the error
    DMD with it; their sum, which is all that matters to light sent back, is not. Before a single mask the two cannot
    be told from the backward tap: the error DMD keeps the file's value, and the tap's uncertainty holds its.

    Args:
        data: Names `forward`, `backward`, `output_camera`, `injector`; `injector_at` and `injector_sd` of the file,
            `axis_sd` of the way from the last mask to the output; `saturated` pixels by camera; `scan` (see `peak_of`),
            empty before a single mask; `sent_from` (places, 2); and by set of masks, fields at no shift: `still`
            (sets, masks, rows, cols) behind each mask, `moved` (sets, masks, moves, rows, cols) with that mask's
            pattern moved, its transmission changed by `ratios`; at the output `sent`, what was sent back,
            `output`, whose conjugate that is, read again, `outputs_moved`, and `carried`, what free space makes of the
            last of `still`; and `returned` (sets, masks, places, rows, cols).

    Raises:
        FitRejected: A camera is saturated or sees no light, or images do not follow what was sent.
    """
    _require_light(data)
    sets = [_one_set(data, k) for k in range(len(data["output"]))]
    goodness = {name: float(np.mean([one.pop(name) for one in sets])) for name in [*sets[0]] if "." in name}
    extra = _systematic(data)
    found: dict[str, Estimate] = {}
    for name in sets[0]:
        places, sds = mean_and_sd([one[name] for one in sets])
        if not (sds <= LARGEST_SD).all():
            raise FitRejected(
                f"{name}: shifts scatter so that their mean is uncertain by {sds.max():.3f} samples, {LARGEST_SD} is "
                "needed; take more repeats, or more light"
            )
        for axis, place, sd, other in zip("yx", places, sds, extra[name], strict=True):
            found[f"{name}.shift_{axis}"] = Estimate(float(place), math.hypot(sd, other))
        goodness[f"{name}.scatter"] = float(sds.max())
    return Fit(found, goodness)


def _require_light(data: Mapping[str, Any]) -> None:
    require_unsaturated(data["saturated"])
    seen = {
        **{camera: data["still"][:, k] for k, camera in enumerate(data["forward"])},
        **{camera: data["returned"][:, k] for k, camera in enumerate(data["backward"])},
        data["output_camera"]: data["output"],
    }
    for camera, fields in seen.items():
        if not np.abs(fields).max() > 0:
            raise FitRejected(f"{camera}: no light; check its beam, its shutter and the reference")


def _require_peak(injector: str, scan: NDArray[np.float64]) -> None:
    if scan.max() < FAINTEST_PEAK * np.median(scan):
        raise FitRejected(
            f"{injector}: what it sends finds its way back from no place; check its beam, and that its image lies "
            f"within {scan.shape[0] // 2} samples of the output camera's"
        )
    row, column = np.unravel_index(int(scan.argmax()), scan.shape)
    if row in (0, scan.shape[0] - 1) or column in (0, scan.shape[1] - 1):
        raise FitRejected(
            f"{injector}: light comes back best from the edge of the scan, {scan.shape[0] // 2} samples off; align "
            "its image with the output camera's, or enter in the bench file where it lies"
        )


def _systematic(data: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return by image what no repeat shows, in samples each way."""
    sides, axis = data["output"].shape[1:], data["axis_sd"]
    ahead = [math.hypot(FORWARD_SD, FORWARD_EDGE / side) for side in sides]
    back = [math.hypot(BACKWARD_SD, BACKWARD_EDGE / side) for side in sides]
    extra = dict.fromkeys(data["forward"], ahead) | {data["output_camera"]: axis}
    if len(data["forward"]) > 1:
        return extra | dict.fromkeys(data["backward"], back) | {data["injector"]: axis}
    return extra | {data["backward"][0]: [math.hypot(*both) for both in zip(axis, data["injector_sd"], strict=True)]}


def _one_set(data: Mapping[str, Any], one: int) -> dict[str, Any]:
    """Return the shift of every image from one set of masks, and under `camera.misfit` what was left unexplained."""
    taken = {name: torch.from_numpy(data[name][one]) for name in _FIELDS}
    found: dict[str, Any] = {}
    for k, camera in enumerate(data["forward"]):
        pairs = zip(taken["moved"][k], taken["ratios"][k], strict=True)
        each = [find_shift(image, through_mask, [taken["still"][k], ratio]) for image, ratio in pairs]
        found[camera] = np.mean([shift for shift, _ in each], axis=0)
        worst = max(left for _, left in each)
        found[f"{camera}.misfit"] = _acceptable(camera, "does not show how its mask was rewritten", worst)
    camera = data["output_camera"]
    off, left = find_shift(taken["output"], moved, [taken["carried"]])
    found[camera] = off + found[data["forward"][-1]]
    found[f"{camera}.misfit"] = _acceptable(camera, "does not show the light of the last mask", left)
    fixed = found[camera] + data["injector_at"] if len(data["forward"]) == 1 else None
    if fixed is None:
        _require_peak(data["injector"], data["scan"])
    sent, backward, left = _balance(data["sent_from"], taken, fixed)
    found[f"{data['injector']}.misfit"] = _acceptable(data["injector"], "sends back light that does not balance", left)
    if fixed is None:
        found[data["injector"]] = sent - found[camera]
    for camera, tap, off in zip(data["backward"], data["forward"], backward, strict=True):
        found[camera] = off + found[tap]
    return found


_FIELDS = ("still", "moved", "ratios", "sent", "output", "outputs_moved", "carried", "returned")


def _acceptable(name: str, fault: str, left: float) -> float:
    if not left <= WORST_MISFIT:
        raise FitRejected(
            f"{name}: {fault}, {left:.0%} of its power is left, {WORST_MISFIT:.0%} is allowed; check light, reference "
            "and the panels' look-up tables"
        )
    return left


def _balance(
    places: Vector, taken: Mapping[str, torch.Tensor], fixed: Vector | None
) -> tuple[Vector, list[Vector], float]:
    """Return where what is sent back lands, each backward tap's shift less the forward one's, and the share left over.

    The sum of m u at a mask is a multiple of the sum of what was sent times U: when it is sent from place to place,
    and when u and U change as the mask is moved. The place is the shift of the error DMD and the output camera
    together, given where it is `fixed`.
    """
    output = taken["output"]
    masks = len(taken["still"])
    sent = [Overlap(taken["sent"], torch.cat([output[None], others])) for others in taken["outputs_moved"]]
    ahead = torch.cat([taken["still"][:, None], taken["moved"]], dim=1)
    back = [Overlap(m[:, None], u) for m, u in zip(taken["returned"], ahead, strict=True)]
    free = 2 if fixed is None else 0

    def rest(unknowns: Vector) -> Vector:
        aside, shifts = unknowns[:2] if fixed is None else fixed, unknowns[free:].reshape(masks, 2)
        due = [np.stack([one.at(place + aside) for place in places]) for one in sent]
        return np.concatenate([misfit(m.at(-shift), s) for m, shift, s in zip(back, shifts, due, strict=True)])

    nearest = [-peak_of(np.abs(one.on_whole_samples(REACH)[:, 0]).sum(axis=0)) for one in back]
    start = np.concatenate([*([-places.mean(axis=0)] if fixed is None else []), *nearest])
    unknowns, left = least_squares(rest, start)
    return (unknowns[:2] if fixed is None else fixed), [*unknowns[free:].reshape(masks, 2)], left / masks
