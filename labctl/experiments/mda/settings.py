"""Settings of the plan `mda`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, model_validator

from labctl.errors import ConfigError
from labctl.experiments.mda.sequence import absolute_images, own_settings, read_sequence
from labctl.plan import Settings

_SEQUENCE = {"anyOf": [{"type": "string", "format": "path"}, {"type": "object"}]}  # what may be given for it


class MdaSettings(Settings):
    """Settings of `mda`; all but `sequence` may stand in the sequence too, below `metadata: labctl:`."""

    sequence: Annotated[Mapping[str, Any], WithJsonSchema(_SEQUENCE)] = Field(
        description="useq-schema sequence: the path of its YAML file, or itself"
    )
    camera: str | None = Field(default=None, description="camera of the bench file; needed where it has several")
    presets: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="by channel: power of each beam that is on, level or image of each panel"
    )
    beams: tuple[str, ...] = Field(default=(), description="beams that are on where the sequence has no channels")
    axes: Mapping[str, str] = Field(
        default_factory=dict, description="stage axis of x, y and z, as stage.axis; by default the one of that name"
    )
    magnification: float | None = Field(
        default=None, gt=0, description="from the imaged plane to the camera; by default what the bench file says, or 1"
    )
    checkpoint_every: int = Field(default=20, ge=1, description="frames between checkpoints")
    keep: Literal["summary", "sampled", "all"] = Field(
        default="sampled", description="arrays that are stored besides the frames: images of panels"
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any) -> Any:
        """Read the file of the sequence; what it says of this plan's settings holds where nothing else is given."""
        if not isinstance(values, Mapping):
            return values
        taken = dict(values)
        if not isinstance(taken.get("sequence"), str | Path | Mapping):
            raise ConfigError("sequence: give the path of a useq-schema sequence, --set sequence=plan.yaml")
        if isinstance(taken.get("sequence"), str | Path):
            taken["sequence"] = read_sequence(Path(taken["sequence"]))
        if "presets" in taken:
            taken["presets"] = absolute_images(taken["presets"], Path.cwd())
        return {**own_settings(taken["sequence"]), **taken}
