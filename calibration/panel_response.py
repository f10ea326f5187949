"""What every phase panel of a free-space bench does to light: phase reached, fringing between pixels, light not turned.

A mask is written in coarse blocks, whose light is as good as known, then with a random phase in every pixel. The field
behind it changes by the ratio of the two transmissions, whatever light falls on the panel; `PhasePanel` says which
ratio its parameters would give, and where the forward tap's image lies is found along with them.
"""

import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from calibration.displacement import INSIDE, WINDOW, Vector, find_shift, least_squares, misfit, through_mask
from calibration.mask_sets import mean_and_sd, require_unsaturated
from calibration.unregistered import UnregisteredTable, four_step_budget, has_taps, masked_path
from labctl.bench import Bench
from labctl.calibrations import MEASURED, Calibration
from labctl.errors import FitRejected
from labctl.ledger import Estimate, Fit
from labctl.optics.free_space.phase_panel import PhasePanel
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary

READINGS = 4
"""Readings of the coarse masks' light, averaged: their noise is multiplied by every ratio that is tried."""

WORST_MISFIT = 0.3
"""Share of an image's power that may be left unexplained by what is believed; about 2 % is at reference noise."""

UNSEEN_SD: Mapping[str, float] = {"response": 5e-4, "fringing": 2e-4, "unmodulated": 2e-4}
"""Parameters, and what no repeat shows of them: light that leaves an image at its edges. From noise-free twins [C]."""


class PanelResponseSettings(Settings):
    """Settings of `measure_panel_response`."""

    repeats: int = Field(default=6, ge=4, le=100, description="sets of random masks taken")
    keep: Literal["summary", "sampled", "all"] = Field(default="summary", description="arrays that are stored")


def _budget(bench: Bench, settings: PanelResponseSettings) -> Budget:
    masks, repeats = len(masked_path(bench.file).masks), settings.repeats
    return four_step_budget(
        bench.file, forward=repeats * (READINGS + masks), writes=masks * repeats * (1 + masks), steps=repeats
    )


@plan(PanelResponseSettings, budget=_budget)
def measure_panel_response(
    bench: Bench, settings: PanelResponseSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Measure how light behind every mask changes when its pixels are rewritten at random."""
    path = masked_path(bench.file)
    table = UnregisteredTable(bench, rng)
    taken = []
    for repeat in range(settings.repeats):
        taken.append(_take(table))
        yield Record("step", repeat, bench.clock.now_s())
    arrays: dict[str, NDArray[Any]] = {name: np.stack([one[name] for one in taken]) for name in taken[0]}
    values = {
        "panels": [mask.device for mask in path.masks],
        "believed": [[getattr(mask, name).value for name in UNSEEN_SD] for mask in path.masks],
        "saturated": dict(table.fields.saturated),
    }
    yield Record(MEASURED, 0, bench.clock.now_s(), values, arrays)
    return {"message": f"{settings.repeats} sets of masks in {bench.clock.now_s():.0f} s of bench time"}


def _take(table: UnregisteredTable) -> dict[str, NDArray[Any]]:
    """Return phases in coarse blocks and rewritten, and the fields behind each mask, of one set of masks."""
    fields = table.fields
    fields.write_masks([table.blocks() for _ in fields.phases])
    coarse = list(fields.phases)
    still = fields.forward(table.bright_object().expand(READINGS, -1, -1)).masks
    fine, rewritten = [], []
    for k, phase in enumerate(coarse):
        anew = 2 * math.pi * torch.from_numpy(table.rng.random(phase.shape).astype(np.float32))
        fields.write_masks([*coarse[:k], anew, *coarse[k + 1 :]])
        fine.append(fields.phases[k])
        rewritten.append(fields.forward(table.bright_object()).masks[k][0])
    stacks = {
        "coarse": torch.stack(coarse),
        "fine": torch.stack(fine),
        "still": torch.stack([readings.mean(dim=0) for readings in still]),
        "rewritten": torch.stack(rewritten),
    }
    return {name: stack.numpy() for name, stack in stacks.items()}


def fit_panel_response(data: Mapping[str, Any]) -> Fit:
    """Return `response`, `fringing` (pixels) and `unmodulated` of every panel.

    Each set of masks gives all of them; the estimate is their mean, and its uncertainty from their scatter.

    Args:
        data: Names `panels`; `believed` (panels, 3), where the search begins; `saturated` pixels by camera; by set of
            masks `coarse` and `fine` (sets, panels, rows, cols), phases in rad, and `still` and `rewritten` (sets,
            panels, rows, cols), fields behind the masks at no shift, with a margin of equal width on every side.

    Raises:
        FitRejected: A camera is saturated or sees no light, or light does not change as the masks do.
    """
    require_unsaturated(data["saturated"])
    found: dict[str, Estimate] = {}
    goodness: dict[str, float] = {}
    for k, panel in enumerate(data["panels"]):
        sets = [_one_set(panel, data, one, k) for one in range(len(data["still"]))]
        means, sds = mean_and_sd([values for values, _ in sets])
        for (name, unseen), value, sd in zip(UNSEEN_SD.items(), means, sds, strict=True):
            found[f"{panel}.{name}"] = Estimate(float(value), math.hypot(sd, unseen))
        goodness[f"{panel}.misfit"] = float(np.mean([left for _, left in sets]))
    return Fit(found, goodness)


def _one_set(panel: str, data: Mapping[str, Any], one: int, k: int) -> tuple[Vector, float]:
    """Return a panel's parameters from one set of masks, and the share of power they leave unexplained."""
    coarse, fine, still, rewritten = (
        torch.from_numpy(data[name][one, k]) for name in ("coarse", "fine", "still", "rewritten")
    )
    if not (still.abs().max() > 0 and rewritten.abs().max() > 0):
        raise FitRejected(f"{panel}: no light behind it; check beam, shutter and reference of its forward tap")
    margin = (still.shape[0] - coarse.shape[0]) // 2
    middle = tuple(
        slice(max(margin, (side - WINDOW) // 2), min(side - margin, (side + WINDOW) // 2)) for side in still.shape
    )
    ratio_of = _ratios(coarse, fine, tuple(slice(part.start - margin, part.stop - margin) for part in middle))
    before, after = still[middle], rewritten[middle]
    start = np.array(data["believed"][k])
    shift, left = find_shift(after, through_mask, [before, ratio_of(start)])
    if not left <= WORST_MISFIT:
        raise FitRejected(
            f"{panel}: light behind it does not change as its mask does, {left:.0%} of its power is left, "
            f"{WORST_MISFIT:.0%} is allowed; check light, reference and the panel's look-up table"
        )

    def rest(unknowns: Vector) -> Vector:
        model = through_mask([before, ratio_of(unknowns[2:])], (float(unknowns[0]), float(unknowns[1])))
        return misfit(after[INSIDE].numpy(), model[INSIDE].numpy())

    unknowns, left = least_squares(rest, np.concatenate([shift, start]))
    return unknowns[2:], left


def _ratios(coarse: Tensor, fine: Tensor, middle: tuple[slice, ...]) -> Callable[[Vector], Tensor]:
    """Return the function from a panel's parameters to its transmission of `fine` over that of `coarse`, in part."""

    def ratio(parameters: Vector) -> Tensor:
        response, fringing, unmodulated = map(float, parameters)
        panel = PhasePanel(1.0, min(max(unmodulated, 0.0), 1.0), response, max(fringing, 0.0))
        return panel.transmission(fine)[middle] / panel.transmission(coarse)[middle]

    return ratio


panel_response = Calibration(
    "panel_response",
    measure_panel_response,
    fit_panel_response,
    valid_for_s=24 * 3600.0,
    valid_because="a panel warms up and its drive ages slowly: once a day is bench habit [K]",
    applies_to=has_taps,
)
"""The calibration `labctl calibrate panel_response`."""
