"""What `labctl list` knows: names of what is installed, what they stand for, and what can be set."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from labctl.announced import announced, describe
from labctl.documents import read_bench_document, shipped_benches
from labctl.errors import ConfigError
from labctl.forms import leaves, listed_settings, written
from labctl.plan import load_plan


class Listed(StrEnum):
    """What `labctl list` knows."""

    BENCHES = "benches"
    PLANS = "plans"
    CALIBRATIONS = "calibrations"
    DRIVERS = "drivers"
    TABLES = "tables"
    SETTINGS = "settings"


@dataclass(frozen=True)
class Listing:
    """Names, and what is to be said of each.

    Args:
        kind: What they are.
        title: The same, for people.
        columns: What is said.
        rows: One of each, as many texts as columns, the name first; None for a default of what must be given.
    """

    kind: Listed
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | None, ...]]

    def texts(self) -> list[list[str]]:
        """Return the rows as people are shown them."""
        return [["must be given" if cell is None else cell for cell in row] for row in self.rows]


def listings(what: Listed | None, name: str | None) -> Iterator[Listing]:
    """Yield what is installed of a kind, or of every kind; or the settings of what is named.

    Raises:
        ConfigError: A name is missing, or none is needed, or nothing has it.
    """
    if what is Listed.SETTINGS:
        yield settings_of(name)
    elif name is not None:
        raise ConfigError(f"list {what}: takes no name, got {name!r}; write list {what}, or list settings {name}")
    else:
        kinds = [what] if what else [kind for kind in Listed if kind is not Listed.SETTINGS]
        yield from map(installed, kinds)


def installed(what: Listed) -> Listing:
    """Return names and what they stand for, of drivers their class as bench files name it; nothing is imported."""
    if what is Listed.BENCHES:
        benches = [(name, str(read_bench_document(name).data.get("description", ""))) for name in shipped_benches()]
        return Listing(what, what, ("name", "description"), benches)
    found = announced(what)
    if what is Listed.DRIVERS:
        rows = [(name, entry.value.replace(":", "."), describe(entry)) for name, entry in found.items()]
        return Listing(what, what, ("name", "driver", "description"), rows)
    return Listing(what, what, ("name", "description"), [(name, describe(entry)) for name, entry in found.items()])


def settings_of(name: str | None) -> Listing:
    """Return what `--set` takes of a plan or calibration; or the settings of a table, by scale.

    Raises:
        ConfigError: Nothing has that name, or it cannot be imported.
    """
    from labctl.calibrations import load_calibration  # load torch, which names do not wait for
    from labctl.experiments.table import load_table

    if name is None:
        raise ConfigError("list settings: whose? Name a plan, file.py:function, a calibration or a table")
    if name in announced("tables"):
        scales = {scale: dict(leaves(asdict(settings))) for scale, settings in load_table(name).scales.items()}
        names = dict.fromkeys(key for one in scales.values() for key in one)
        rows = [(key, *(written(one[key]) if key in one else "" for one in scales.values())) for key in names]
        return Listing(Listed.SETTINGS, f"settings of {name} by --scale", ("name", *scales), rows)
    plan = load_calibration(name).measure if name in announced("calibrations") else load_plan(name)
    rows = [(one.name, one.allowed, one.default, one.about) for one in listed_settings(plan.settings_type)]
    return Listing(Listed.SETTINGS, f"settings of {name}", ("name", "allowed", "default", "description"), rows)
