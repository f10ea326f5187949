"""What a plan is: typed settings, a generator of records, a cost known beforehand, and how plans are found by name."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labctl.announced import load_announced, nearest
from labctl.complaints import Complaint, complaints
from labctl.errors import ConfigError
from labctl.forms import unit_of, with_unit
from labctl.records import Budget, Changes, Record, Summary
from labctl.units import strip_suffix


class Settings(BaseModel):
    """Base of all plan settings: frozen, unknown keys refused, help (a docstring below the field) and ranges in fields.

    A quantity is written without its suffix and with its unit (`exposure: 20 ms`); under the field's full name
    (`exposure_s`) a bare number is taken in SI, as Python code and run.yaml have it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, alias_generator=strip_suffix, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _take_full_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        taken = dict(values)
        for name, field in cls.model_fields.items():
            if field.alias and field.alias != name and name in taken and field.alias not in taken:
                taken[field.alias] = with_unit(taken.pop(name), unit_of(field))
        return taken


SettingsT = TypeVar("SettingsT", bound=Settings)
Steps: TypeAlias = Generator[Record, Changes | None, Summary]
PlanFunction: TypeAlias = Callable[..., Steps]
"""`(bench, settings, rng)`, and `checkpoint` where the plan is resumable."""
BudgetFunction: TypeAlias = Callable[[Any, SettingsT], Budget]


def live(default: Any, **field_kwargs: Any) -> Any:
    """Return a settings field that may change while the plan runs.

    Args:
        default: Default value, or `...` where one must be given.
        field_kwargs: Passed to `pydantic.Field` (`gt`, `le`, `description`, ...).
    """
    extra = {**field_kwargs.pop("json_schema_extra", {}), "live": True}
    return Field(default, json_schema_extra=extra, **field_kwargs)


def live_fields(settings_type: type[Settings]) -> tuple[str, ...]:
    """Return the names of the fields that were made with `live`, in order."""
    extras = {name: field.json_schema_extra for name, field in settings_type.model_fields.items()}
    return tuple(name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("live") is True)


@dataclass(frozen=True)
class Plan(Generic[SettingsT]):
    """A procedure on the bench; called, it returns the generator that carries it out.

    Args:
        name: Name of the decorated function.
        function: The generator function `(bench, settings, rng)`.
        settings_type: Model of its settings.
        budget: Pure function `(bench, settings)` that says what a run will cost.
        free_devices: Devices an operator may move by hand while it runs.
        resumable: Whether it yields checkpoints and can go on from one.
        doc: First line of the function's docstring.
    """

    name: str
    function: PlanFunction
    settings_type: type[SettingsT]
    budget: BudgetFunction[SettingsT]
    free_devices: tuple[str, ...] = ()
    resumable: bool = False
    doc: str = ""

    def __call__(
        self, bench: Any, settings: SettingsT, rng: np.random.Generator, checkpoint: Record | None = None
    ) -> Steps:
        """Return the generator of records; nothing happens until it is iterated.

        Args:
            bench: Open bench.
            settings: Its settings; on going on, with all changes that were made before the checkpoint.
            rng: Source of all randomness; a checkpoint brings the generator's state with it.
            checkpoint: Record of kind `checkpoint` to go on from; from the beginning without one.

        Raises:
            ConfigError: The settings are those of another plan, or it cannot go on from a checkpoint.
        """
        if not isinstance(settings, self.settings_type):
            given, wanted = type(settings).__name__, self.settings_type.__name__
            raise ConfigError(f"{self.name}: settings are a {given}; make a {wanted}, for example with parse_settings")
        if checkpoint is None:
            return self.function(bench, settings, rng)
        if not self.resumable:
            raise ConfigError(f"{self.name}: this plan keeps no checkpoints and cannot be resumed; run it again")
        return self.function(bench, settings, rng, checkpoint)


def plan(
    settings_type: type[SettingsT],
    *,
    budget: BudgetFunction[SettingsT],
    free_devices: Sequence[str] = (),
    resumable: bool = False,
) -> Callable[[PlanFunction], Plan[SettingsT]]:
    """Return a decorator that makes a generator function `(bench, settings, rng)` a `Plan`.

    Args:
        settings_type: Model of the settings the function takes.
        budget: Pure function `(bench, settings) -> Budget`; it is the whole of a dry run.
        free_devices: Devices an operator may move by hand while the plan runs.
        resumable: Whether the function takes a fourth argument, `checkpoint: Record | None`, and goes on from it.

    Raises:
        ConfigError: The decorated function is not a generator function (by the decorator).
    """

    def decorate(function: PlanFunction) -> Plan[SettingsT]:
        name = getattr(function, "__name__", type(function).__name__)
        if not inspect.isgeneratorfunction(function):
            raise ConfigError(f"{name}: a plan must be a generator function; yield a Record for each step")
        doc = (inspect.getdoc(function) or "").partition("\n")[0]
        return Plan(name, function, settings_type, budget, tuple(free_devices), resumable, doc)

    return decorate


def parse_settings(plan: Plan[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """Return the plan's settings with `values` put over the defaults.

    Args:
        plan: The plan whose settings are meant.
        values: Setting name to value, as read from YAML or the command line.

    Raises:
        ConfigError: One line for each setting that is unknown, missing or not allowed.
    """
    return _validated(plan.name, plan.settings_type, values)


def apply_changes(settings: SettingsT, changes: Changes) -> SettingsT:
    """Return the settings with new values for live fields, validated as a whole.

    Raises:
        ConfigError: One line for each change that names no live field or is not allowed.
    """
    settings_type = type(settings)
    names = {field.alias or name: name for name, field in settings_type.model_fields.items()}
    owner, changed = settings_type.__name__, {names.get(key, key): key for key in changes.values}
    may = [alias for alias, name in names.items() if name in live_fields(settings_type)]
    refused = [key for name, key in changed.items() if name not in live_fields(settings_type)]
    if refused:
        can = ", ".join(may) or "none"
        lines = (f"{owner}: {key!r} cannot change in a run{nearest(key, may)}; can: {can}" for key in refused)
        raise ConfigError("\n".join(lines))
    kept = {name: value for name, value in settings if name not in changed}
    return _validated(owner, settings_type, {**kept, **changes.values})


def load_plan(name: str) -> Plan[Any]:
    """Return the plan of that name, or the one that `file.py:function` names.

    Raises:
        ConfigError: There is no such plan, its module cannot be imported, or what was found is not a plan.
    """
    file, _, function = name.rpartition(":")
    if file.endswith(".py"):
        return _plan_of_file(Path(file), function)
    return _checked(load_announced("plans", name, "; or write file.py:function"), f"what is announced as {name!r}")


def _plan_of_file(path: Path, function: str) -> Plan[Any]:
    contents = vars(_import_file(path))
    if function not in contents:
        plans = [name for name, value in contents.items() if isinstance(value, Plan)]
        raise ConfigError(f"{path}: no {function!r}{nearest(function, plans)}; plans: {', '.join(plans) or 'none'}")
    return _checked(contents[function], f"{path}:{function}")


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"labctl_plan_file_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{path}: there is no such file; give the path of the Python file that holds the plan")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pydantic look their module up while it is being made
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises is the answer to "why can this plan not run"
        del sys.modules[spec.name]
        raise ConfigError(f"{path}: cannot be imported: {type(error).__name__}: {error}; correct the file") from error
    return module


def _checked(found: Any, where: str) -> Plan[Any]:
    if not isinstance(found, Plan):
        raise ConfigError(f"{where} is no plan but of type {type(found).__name__}; decorate a function with @plan(...)")
    return found


def _validated(owner: str, settings_type: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    try:
        return settings_type.model_validate(values)
    except ValidationError as error:
        lines = dict.fromkeys(f"{owner}: {_line(one)}" for one in complaints(settings_type, error, values))
        raise ConfigError("\n".join(lines)) from error


def _line(complaint: Complaint) -> str:
    if complaint.kind == "unknown":
        close = nearest(str(complaint.place[-1]), complaint.known)
        return f"unknown setting {complaint.name!r}{close}; settings: {', '.join(complaint.known) or 'none'}"
    if complaint.kind == "missing":
        return "; ".join(filter(None, (f"{complaint.name}: missing", complaint.text)))
    return f"{complaint.name or 'settings'}: {complaint.text}"
