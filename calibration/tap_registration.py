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
from labctl.bench import Bench, BenchFile
from labctl.calibrations import MEASURED, Calibration
from labctl.errors import ConfigError
from labctl.experiments.diffractive.in_situ.fields import STEPS_RAD, BenchFields
from labctl.optics.free_space.elements import FreeSpacePath, Mask, Propagate
from labctl.optics.free_space.shift import displaced
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary

BLOCK_PX = 2
"""Side of the blocks of the random masks: fine, to show parts of a sample, but not so that the light misses the next
plane, or that what neighbouring pixels do to each other matters."""

SCAN = 3
"""Whole samples to either side that errors are first sent from: 4 sd of a camera and a DMD placed to 0.5 each."""

ASIDE = 0.75
"""Samples beside the place found from which errors are then sent: on the flanks of the peak, where it is steep."""

PLACES = ((ASIDE, 0.0), (-ASIDE, 0.0), (0.0, ASIDE), (0.0, -ASIDE))

MOVES = ((1, 0), (0, 1))
"""Samples (down, right) by which the pattern of each mask is moved in turn."""

FILL = 0.5
"""Share of the cameras' full wells that the brightest pixel may take, reference included."""


class TapRegistrationSettings(Settings):
    """Settings of `measure_tap_registration`."""

    repeats: int = Field(default=10, ge=4, le=100, description="sets of random masks taken")
    keep: Literal["summary", "sampled", "all"] = Field(default="summary", description="arrays that are stored")


def can_be_registered(file: BenchFile) -> bool:
    """Return whether a bench has taps to register: phase masks in free space, and an error DMD at the output."""
    return file.in_free_space and file.path.detect.inject is not None and all(mask.forward for mask in file.path.masks)


def _path(file: BenchFile) -> FreeSpacePath:
    if not can_be_registered(file):
        raise ConfigError(
            f"bench {file.name} has no taps to register; that needs phase masks in free space with 'forward' and "
            "'backward' taps, and a 'detect' that can 'inject', as in diffractive"
        )
    return file.path


def _budget(bench: Bench, settings: TapRegistrationSettings) -> Budget:
    path, file = _path(bench.file), bench.file
    masks, samples = len(path.masks), math.prod(path.samples)
    scan = (2 * SCAN + 1) ** 2 if masks > 1 else 0
    ahead, back = bool(scan) + settings.repeats * (2 + masks * len(MOVES)), settings.repeats * len(PLACES) + scan
    exposures = len(STEPS_RAD) * (ahead + back)
    panel, camera = file.settings(path.masks[0].device), file.settings(path.detect.view.camera)
    writes = masks * (settings.repeats * (1 + masks * len(MOVES)) + bool(scan))
    frames = len(STEPS_RAD) * (ahead * (masks + 1) + back * masks)
    return Budget(
        exposures={"calibration": exposures},
        photons=frames * samples * file.reference.electrons.value / camera.quantum_efficiency,
        mask_writes=writes,
        bench_seconds=exposures * camera.period_s + writes * (panel.latency_s + panel.settle_s),
        steps=settings.repeats,
    )


@plan(TapRegistrationSettings, budget=_budget)
def measure_tap_registration(
    bench: Bench, settings: TapRegistrationSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Measure where the images of all taps and of the error DMD lie."""
    path = _path(bench.file)
    table = _Table(bench, path, rng)
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


class _Table:
    """An open bench whose images are taken as they come, at no shift."""

    def __init__(self, bench: Bench, path: FreeSpacePath, rng: np.random.Generator) -> None:
        shifts = [name for name in bench.file.parameters() if name.rsplit(".", 1)[0] in _images(path)]
        unshifted = {name: 0.0 for name in shifts if name.endswith((".shift_y", ".shift_x"))}
        self.fields, self.rng = BenchFields(bench, unshifted, framed=True), rng
        self._margin = path.detect.view.margin
        self.fields.tally.heading = "calibration"
        cameras = [*self.fields.path.views]
        wells = min(bench.file.settings(camera).full_well for camera in cameras)
        self._room = (math.sqrt(FILL * wells) - math.sqrt(bench.file.reference.electrons.value)) ** 2

    def scan(self) -> NDArray[np.float64]:
        """Return how much light that is sent back finds its way through all masks but the last, by place.

        Shape (7, 7): it is sent from -3 to 3 whole samples off where it was read.
        """
        self.fields.write_masks([self._random_phase() for _ in self.fields.phases])
        ahead = self.fields.forward(self._object())
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
        phases = [self._random_phase() for _ in self.fields.phases]
        self.fields.write_masks(phases)
        still = self.fields.transmissions()
        sent = self.fields.forward(self._object()).output[0]
        returned = self.fields.backward(self._sent_back(sent, places))
        ahead = self.fields.forward(self._object())  # again: noise that is sent back must not be in what it is held to
        moved, ratios, outputs = [], [], []
        for k, phase in enumerate(phases):
            for move in MOVES:
                self.fields.write_masks([*phases[:k], torch.roll(phase, move, (0, 1)), *phases[k + 1 :]])
                one = self.fields.forward(self._object())
                moved.append(one.masks[k][0])
                ratios.append(self._framed(self.fields.transmissions()[k] / still[k], 1.0))
                outputs.append(one.output[0])
        stacks = {
            "still": torch.cat(list(ahead.masks)),
            "moved": torch.stack(moved).unflatten(0, (-1, len(MOVES))),
            "ratios": torch.stack(ratios).unflatten(0, (-1, len(MOVES))),
            "sent": self._framed(conjugate_inside(self._cut(sent))),
            "output": ahead.output[0],
            "outputs_moved": torch.stack(outputs).unflatten(0, (-1, len(MOVES))),
            "carried": self._framed(self.fields.model.to_output(self._cut(ahead.masks[-1]))[0]),
            "returned": torch.stack(returned),
        }
        return {name: stack.numpy() for name, stack in stacks.items()}

    def _framed(self, plane: Tensor, around: float = 0.0) -> Tensor:
        return torch.nn.functional.pad(plane, 4 * [self._margin], value=around)

    def _cut(self, image: Tensor) -> Tensor:
        return torch.nn.functional.pad(image, 4 * [-self._margin])

    def _sent_back(self, output: Tensor, places: list[tuple[float, float]] | list[tuple[int, int]]) -> Tensor:
        """Return the conjugate of the output's field, its edges dark, displaced to each of `places`."""
        return torch.stack([displaced(conjugate_inside(self._cut(output)), place) for place in places])

    def _random_phase(self) -> Tensor:
        """Return blocks of a quarter turn to either side: amplitudes are then equal, whatever is left unmodulated."""
        rows, columns = self.fields.grid.shape
        signs = self.rng.integers(0, 2, (-(-rows // BLOCK_PX), -(-columns // BLOCK_PX))) * 2 - 1
        blocks = np.kron(signs, np.ones((BLOCK_PX, BLOCK_PX)))[:rows, :columns]
        return torch.from_numpy((blocks * (math.pi / 2)).astype(np.float32))

    def _object(self) -> Tensor:
        """Return all samples on, as bright as the cameras can take under the masks that are written."""
        full = torch.ones(1, *self.fields.grid.shape, dtype=torch.complex64)
        brightest = max(self.fields.brightest(full).values())
        return full * min(1.0, math.sqrt(self._room / brightest))


def _images(path: FreeSpacePath) -> set[str]:
    """Return every camera, and the error DMD, by name."""
    return set(path.views) | ({path.detect.inject.device} if path.detect.inject else set())


tap_registration = Calibration(
    "tap_registration",
    measure_tap_registration,
    fit_tap_registration,
    valid_for_s=8 * 3600.0,
    valid_because="mounts turn by 1-5 urad/K: 0.05 samples of 8 um over 80 mm and a kelvin [reference-benches 6]",
    applies_to=can_be_registered,
)
