"""A free-space bench with fewer samples, for quick runs: what of its file changes."""

from typing import Any

from labctl.bench import load_bench
from labctl.errors import ConfigError
from labctl.optics.free_space.elements import Mask, ObjectPlane, Propagate


def reduced_bench(bench: str, side: int) -> dict[str, Any]:
    """Return the overrides, by dotted path, that give a bench planes of `side` x `side` samples of the same pitch.

    Distances shrink with the planes, so that a sample still reaches all of the next one; powers with their area, so
    that samples are as bright.

    Args:
        bench: Shipped name or path.
        side: Samples along each side, at most as many as the bench has.

    Raises:
        ConfigError: The bench has fewer samples, or is not in free space.
    """
    file = load_bench(bench)
    rows = file.path.samples[0]
    if not 0 < side <= rows:
        raise ConfigError(f"bench {bench}: planes of {side} samples were asked for; it has {rows}, give 1 to {rows}")
    share = side / rows
    changes: dict[str, Any] = {}
    for k, element in enumerate(file.elements):
        if isinstance(element, Propagate):
            distance = element.distance
            changes[f"light.{k}.propagate.distance.value"] = f"{distance.value * share!r} m"
            changes[f"light.{k}.propagate.distance.sd"] = f"{distance.sd * share!r} m"
        elif isinstance(element, ObjectPlane | Mask):
            kind = "mask" if isinstance(element, Mask) else "object"
            changes[f"light.{k}.{kind}.samples"] = [side, side]
    for beam in file.path.beams:
        changes[f"devices.{beam}.settings.power"] = f"{file.settings(beam).power_w * share**2!r} W"
    return changes
