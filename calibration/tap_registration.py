"""Where every camera's image of a plane lies, and the picture that the error DMD sends back, in parts of a sample.

Three facts tell, and none of them needs the light to be known (see `calibration.tap_registration_fit`):

- Rewriting a mask multiplies the light behind it by a known pattern, seen where the forward tap's image lies.
- Light goes from the last mask to the output as free space has it, which says where the output camera's image lies.
- Whatever is sent back from the output, the sum of m u over a mask is the sum of it times U at the output, m being the
  field that comes back. So conj(U), sent from a few places beside the one it came from, tells from where it is sent;
  and with u and U of a pattern moved by one sample on the mask, where the backward tap's image lies.

Every repeat writes new random masks. Before all, a coarse scan finds where errors are to be sent from.
"""

import math
from collections.abc import Generator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from calibration.displacement import Overlap, conjugate_inside
from calibration.tap_registration_fit import fit_tap_registration, peak_of
from calibration.unregistered import UnregisteredTable, four_step_budget, has_taps, masked_path
from labctl.bench import Bench
from labctl.calibrations import MEASURED, Calibration
from labctl.optics.free_space.elements import FreeSpacePath, Mask, Propagate
from labctl.optics.free_space.shift import displaced
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary

SCAN = 3
"""Whole samples to either side that errors are first sent from: 4 sd of a camera and a DMD placed to 0.5 each."""

ASIDE = 0.75
"""Samples beside the place found from which errors are then sent: on the flanks of the peak, where it is steep."""

PLACES = ((ASIDE, 0.0), (-ASIDE, 0.0), (0.0, ASIDE), (0.0, -ASIDE))

MOVES = ((1, 0), (0, 1))
"""Samples (down, right) by which the pattern of each mask is moved in turn."""


class TapRegistrationSettings(Settings):
    """Settings of `measure_tap_registration`."""

    repeats: int = Field(default=10, ge=4, le=100, description="sets of random masks taken")
    keep: Literal["summary", "sampled", "all"] = Field(default="summary", description="arrays that are stored")


def _budget(bench: Bench, settings: TapRegistrationSettings) -> Budget:
    masks, repeats = len(masked_path(bench.file).masks), settings.repeats
    scan = (2 * SCAN + 1) ** 2 if masks > 1 else 0
    return four_step_budget(
        bench.file,
        forward=bool(scan) + repeats * (2 + masks * len(MOVES)),
        backward=scan + repeats * len(PLACES),
        writes=masks * (bool(scan) + repeats * (1 + masks * len(MOVES))),
        steps=repeats,
    )


@plan(TapRegistrationSettings, budget=_budget)
def measure_tap_registration(
    bench: Bench, settings: TapRegistrationSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Measure where the images of all taps and of the error DMD lie."""
    path = masked_path(bench.file)
    table = _Table(bench, rng)
    scan = table.scan() if len(path.masks) > 1 else np.zeros((0, 0))
    at = peak_of(scan) if scan.size else np.zeros(2)
    taken = []
    for repeat in range(settings.repeats):
        taken.append(table.take([(at[0] + down, at[1] + right) for down, right in PLACES]))
        yield Record("step", repeat, bench.clock.now_s(), {"sent_from": at.tolist()})
    arrays: dict[str, NDArray[Any]] = {name: np.stack([one[name] for one in taken]) for name in taken[0]}
    arrays |= {"scan": scan, "sent_from": at + np.array(PLACES)}
    yield Record(MEASURED, 0, bench.clock.now_s(), _names(path) | {"saturated": dict(table.fields.saturated)}, arrays)
    return {"message": f"{settings.repeats} sets of masks in {bench.clock.now_s():.0f} s of bench time"}


def _names(path: FreeSpacePath) -> dict[str, Any]:
    """Return what of the bench the fit needs: names, and what the file says of the errors' way."""
    after = max(k for k, step in enumerate(path.steps) if isinstance(step, Mask))
    hops = [step for step in path.steps[after:] if isinstance(step, Propagate)]
    inject = path.detect.inject
    return {
        "forward": [mask.forward.camera for mask in path.masks if mask.forward],
        "backward": [mask.backward.camera for mask in path.masks if mask.backward],
        "output_camera": path.detect.view.camera,
        "injector": inject.device if inject else "",
        "injector_at": [inject.shift_y.value, inject.shift_x.value] if inject else [],
        "injector_sd": [inject.shift_y.sd, inject.shift_x.sd] if inject else [],
        "axis_sd": [math.hypot(*(hop.shift_y.sd for hop in hops)), math.hypot(*(hop.shift_x.sd for hop in hops))],
    }


class _Table(UnregisteredTable):
    """What is taken of masks: where errors are to be sent from, then sets of fields."""

    def scan(self) -> NDArray[np.float64]:
        """Return how much light that is sent back finds its way through all masks but the last, by place.

        Shape (7, 7): it is sent from -3 to 3 whole samples off where it was read.
        """
        self.fields.write_masks([self.blocks() for _ in self.fields.phases])
        ahead = self.fields.forward(self.bright_object())
        side = range(-SCAN, SCAN + 1)
        found = np.zeros((len(side), len(side)))
        for row, down in enumerate(side):
            returned = self.fields.backward(self._sent_back(ahead.output[0], [(down, right) for right in side]))
            for m, u in list(zip(returned, ahead.masks, strict=True))[:-1]:
                sums = np.abs(Overlap(m, u).on_whole_samples(SCAN)).max(axis=(1, 2))
                found[row] += sums / float(u.norm() * m.norm())
        return found

    def take(self, places: list[tuple[float, float]]) -> dict[str, NDArray[Any]]:
        """Return the fields of one set of masks: forward, back from `places`, and forward with each mask moved."""
        phases = [self.blocks() for _ in self.fields.phases]
        self.fields.write_masks(phases)
        still = self.fields.transmissions()
        sent = self.fields.forward(self.bright_object()).output[0]
        returned = self.fields.backward(self._sent_back(sent, places))
        # read again: noise that is sent back must not be in what it is held to
        ahead = self.fields.forward(self.bright_object())
        moved, ratios, outputs = [], [], []
        for k, phase in enumerate(phases):
            for move in MOVES:
                self.fields.write_masks([*phases[:k], torch.roll(phase, move, (0, 1)), *phases[k + 1 :]])
                one = self.fields.forward(self.bright_object())
                moved.append(one.masks[k][0])
                ratios.append(self.framed(self.fields.transmissions()[k] / still[k], 1.0))
                outputs.append(one.output[0])
        stacks = {
            "still": torch.cat(list(ahead.masks)),
            "moved": torch.stack(moved).unflatten(0, (-1, len(MOVES))),
            "ratios": torch.stack(ratios).unflatten(0, (-1, len(MOVES))),
            "sent": self.framed(conjugate_inside(self.cut(sent))),
            "output": ahead.output[0],
            "outputs_moved": torch.stack(outputs).unflatten(0, (-1, len(MOVES))),
            "carried": self.framed(self.fields.model.to_output(self.cut(ahead.masks[-1]))[0]),
            "returned": torch.stack(returned),
        }
        return {name: stack.numpy() for name, stack in stacks.items()}

    def _sent_back(self, output: Tensor, places: list[tuple[float, float]] | list[tuple[int, int]]) -> Tensor:
        """Return the conjugate of the output's field, its edges dark, displaced to each of `places`."""
        return torch.stack([displaced(conjugate_inside(self.cut(output)), place) for place in places])


tap_registration = Calibration(
    "tap_registration",
    measure_tap_registration,
    fit_tap_registration,
    valid_for_s=8 * 3600.0,
    valid_because="mounts turn by 1-5 urad/K: 0.05 samples of 8 um over 80 mm and a kelvin [reference-benches 6]",
    applies_to=has_taps,
)
