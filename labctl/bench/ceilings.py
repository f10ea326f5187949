"""Ceilings of summed power: how much light of all beams together may reach a cell, a panel, mirrors or a camera."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labctl.bench.schema import BenchFile
from labctl.devices import Beam
from labctl.errors import LimitError
from labctl.units import POWER, show


@dataclass(frozen=True)
class Ceiling:
    """One device's.

    Args:
        device: The device.
        max_light_w: Most power of all beams together, each as it enters the light path.
        beams: Beams that reach it.
    """

    device: str
    max_light_w: float
    beams: frozenset[str]


def ceilings(file: BenchFile) -> list[Ceiling]:
    """Return the ceilings that the bench file sets (`max_light`)."""
    reaching = beams_reaching(file)
    limits = {name: getattr(settings, "max_light_w", None) for name, settings in file.all_settings.items()}
    return [
        Ceiling(name, limit, reaching.get(name, frozenset())) for name, limit in limits.items() if limit is not None
    ]


def beams_reaching(file: BenchFile) -> Mapping[str, frozenset[str]]:
    """Return for every device of the light path which beams may reach it, in either direction."""
    reaching: defaultdict[str, set[str]] = defaultdict(set)
    if file.in_free_space:
        for device in (*file.path.devices, *file.path.views):
            reaching[device] |= file.path.beams
    else:
        for stage in file.stages:  # no light passes from one to the next: a camera and a DMD stand between
            ends = [end for end in (stage.source, stage.injector) if end]
            cell = [stage.absorb.device] if stage.absorb else []
            for device in (*(end.device for end in ends), stage.multiply.device, *cell, *stage.cameras):
                reaching[device] |= {end.beam for end in ends}
    for camera in file.reference_beam.cameras if file.reference_beam else ():
        reaching[camera].add(file.reference.beam)
    return {device: frozenset(beams) for device, beams in reaching.items()}


def require_below(held: Sequence[Ceiling], beam: str, power_w: float, others: Sequence[Beam]) -> None:
    """Refuse light that would, with that of the beams that are on, exceed a ceiling.

    Args:
        held: Ceilings of devices that the beam reaches.
        beam: The beam that is to be lit, or set.
        power_w: Power it is to have.
        others: All other beams; they are asked.

    Raises:
        LimitError: Names the device, the beams and what is allowed.
    """
    lit = {other.name: other.power_w for other in others if other.is_on}
    for ceiling in held:
        together = {beam: power_w} | {name: power for name, power in lit.items() if name in ceiling.beams}
        total_w = sum(together.values())
        if total_w > ceiling.max_light_w:
            raise LimitError(
                ceiling.device,
                f"{show(total_w, POWER)} of {' and '.join(together)} would reach it, its max_light is "
                f"{show(ceiling.max_light_w, POWER)}; set less power, or switch another beam off first",
            )
