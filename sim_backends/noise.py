"""Named noise sets: every noise and imperfection of a simulated bench as a number with its source."""

from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from labctl.documents import Document, StrictModel, nearest
from labctl.errors import ConfigError
from labctl.units import FREQUENCY, LENGTH, PHASE, TEMPERATURE_STEP, Unit, parse_fraction

Kind = Literal["noise", "imperfection"]


class Term(StrictModel):
    """One noise or imperfection.

    Args:
        value: Its size in SI.
        kind: `noise` changes between exposures, `imperfection` is everything else, drifts included.
        source: Where the number comes from.
    """

    value: float = Field(ge=0)
    kind: Kind
    source: str = Field(min_length=1)


def _term(unit: Unit | None) -> Any:
    parse = unit.parse if unit else parse_fraction

    def read(raw: Any) -> Any:
        return {**raw, "value": parse(raw["value"])} if isinstance(raw, dict) and "value" in raw else raw

    return BeforeValidator(read)


Plain = Annotated[Term, _term(None)]
PhaseTerm = Annotated[Term, _term(PHASE)]
FrequencyTerm = Annotated[Term, _term(FREQUENCY)]
LengthTerm = Annotated[Term, _term(LENGTH)]
TemperatureTerm = Annotated[Term, _term(TEMPERATURE_STEP)]


class NoiseSet(StrictModel):
    """All terms of a simulated bench; the shipped sets say what each is and where its number comes from."""

    reference_phase_step: PhaseTerm
    power_step: Plain
    flicker: PhaseTerm
    detuning_jitter: FrequencyTerm
    temperature_jitter: TemperatureTerm
    row_noise: Plain
    reference_phase_walk: PhaseTerm
    reference_phase_drift: PhaseTerm
    power_drift: Plain
    detuning_drift: FrequencyTerm
    slit_drift: LengthTerm
    unmodulated_light: Plain
    dead_mirrors: Plain
    mirror_contrast: Plain
    illumination: Plain
    speckle: Plain
    ghost: Plain
    wrong_way_pump: Plain
    neighbour_crosstalk: Plain
    probe_grating: Plain
    off_line_light: Plain
    pixel_gain: Plain
    photo_response: Plain

    def scaled(self, noise_scale: float, imperfection_scale: float) -> dict[str, float]:
        """Return the size of every term by name, each multiplied by the scale of its kind."""
        scales = {"noise": noise_scale, "imperfection": imperfection_scale}
        terms = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: term.value * scales[term.kind] for name, term in terms.items()}


def load_noise_set(name: str, changes: Mapping[str, Mapping[str, Any]]) -> NoiseSet:
    """Return the named set with a bench's `changes` by term: `{"flicker": {"value": "0.1 rad"}}`.

    Raises:
        ConfigError: No such set or term, a wrong unit, or a term made quieter without a source.
    """
    folder = resources.files("sim_backends") / "noise_sets"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise ConfigError(f"simulation.noise: no noise set '{name}'{nearest(name, known)}")
    shipped = Document(f"{name}.yaml", (folder / f"{name}.yaml").read_text(encoding="utf-8"))
    shipped_set, terms = shipped.validate(NoiseSet), dict(shipped.data)
    for term, change in changes.items():
        if term not in NoiseSet.model_fields:
            raise ConfigError(f"simulation.terms: no term '{term}'{nearest(term, NoiseSet.model_fields)}")
        if "kind" in change:
            raise ConfigError(
                f"simulation.terms.{term}: the kind of a term is fixed by the set; change value or source"
            )
        terms[term] = {**terms[term], **change}
    changed_set = Document.of("simulation.terms", terms).validate(NoiseSet)
    for term, change in changes.items():
        if getattr(changed_set, term).value < getattr(shipped_set, term).value and "source" not in change:
            raise ConfigError(f"simulation.terms.{term}: quieter than set '{name}'; name the source of the number")
    return changed_set
