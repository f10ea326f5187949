"""A chain of slit multipliers: the light list of a bench read as layers, from source to camera."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from labctl.optics.multiplier.elements import Absorb, Element, Encode, Inject, Multiply, Read, Regenerate, Tap


@dataclass(frozen=True)
class Stage:
    """One layer as light: a source writes fields, a cell may act on them, a multiplier sums them, a camera reads.

    Args:
        source: Writes the stage's input fields.
        absorb: Cell between source and multiplier, where there is one.
        activation_tap: Pick-off for the pump before the multiplier.
        error_tap: Pick-off for the probe on its way out of the stage.
        multiply: The multiplier.
        end: What reads the sums.
    """

    source: Encode | Regenerate
    absorb: Absorb | None
    activation_tap: Tap | None
    error_tap: Tap | None
    multiply: Multiply
    end: Regenerate | Read

    @cached_property
    def columns(self) -> int:
        """Input modes of the multiplier, pilots included."""
        return self.source.modes + self.source.behind_data

    @property
    def rows(self) -> int:
        """Output modes of the multiplier, pilots included."""
        return self.end.modes + self.end.behind_data

    def modes(self, camera: str) -> int:
        """Return how many modes a camera of this stage reads, pilots included."""
        return self.rows if camera == self.end.camera else self.columns

    @cached_property
    def injector(self) -> Inject | None:
        """What sends errors backwards through the multiplier, where there is a cell to send them through."""
        return self.end.injector

    @cached_property
    def cameras(self) -> dict[str, Regenerate | Read | Tap]:
        """What each camera of this stage reads, by camera name."""
        taps = {tap.camera: tap for tap in (self.activation_tap, self.error_tap) if tap}
        return {**taps, self.end.camera: self.end}


def split_stages(elements: tuple[Element, ...]) -> tuple[Stage, ...]:
    """Return the light list as stages, in pump order.

    Raises:
        ValueError: The list is not a chain of stages that ends in `read`.
    """
    stages: list[Stage] = []
    start = 0
    for index, element in enumerate(elements):
        if isinstance(element, Regenerate | Read):
            stages.append(_stage(elements[start : index + 1]))
            start = index
    if not stages or not isinstance(elements[-1], Read):
        raise ValueError("the light list must end with 'read'")
    for before, after in pairwise(stages):
        _require_way_back(before, after)
    return tuple(stages)


def _require_way_back(before: Stage, after: Stage) -> None:
    """Refuse a regeneration between two cells that errors cannot pass, or one that sends them where nothing looks."""
    back = before.end.backward if isinstance(before.end, Regenerate) else None
    if (back is None) != (before.error_tap is None):
        raise ValueError("'regenerate' has a 'backward' where a cell stands before it, and nowhere else")
    measured = after.error_tap.camera if after.error_tap else "none"
    if back and back.camera != measured:
        raise ValueError(f"'backward' re-sends what the next backward tap measures, {measured}, not {back.camera}")


def _stage(elements: tuple[Element, ...]) -> Stage:
    source, *middle, end = elements
    multiply = [element for element in middle if isinstance(element, Multiply)]
    absorb = [element for element in middle if isinstance(element, Absorb)]
    taps = [element for element in middle if isinstance(element, Tap)]
    if not isinstance(source, Encode | Regenerate) or not isinstance(end, Regenerate | Read):
        raise ValueError("a stage begins with 'encode' or 'regenerate' and ends with 'regenerate' or 'read'")
    if len(multiply) != 1 or len(absorb) > 1:
        raise ValueError("between two of encode, regenerate and read stand one 'multiply' and at most one 'absorb'")
    forward = [tap for tap in taps if tap.forward]
    backward = [tap for tap in taps if tap.backward]
    if absorb and (len(forward), len(backward)) != (1, 1):
        raise ValueError("a stage with 'absorb' needs one forward and one backward 'tap'")
    return Stage(
        source,
        absorb[0] if absorb else None,
        forward[0] if forward else None,
        backward[0] if backward else None,
        multiply[0],
        end,
    )
