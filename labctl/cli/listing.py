"""What `labctl list` knows: names of what is installed, and what they stand for."""

from enum import StrEnum
from importlib.metadata import entry_points

from labctl.documents import read_bench_document, shipped_benches
from labctl.plan import find_plans


class Listed(StrEnum):
    """What `labctl list` knows."""

    BENCHES = "benches"
    PLANS = "plans"
    CALIBRATIONS = "calibrations"
    DRIVERS = "drivers"
    TABLES = "tables"


def listing(what: Listed) -> list[tuple[str, str]]:
    """Return names and what they stand for; nothing is imported, so this is quick."""
    if what is Listed.BENCHES:
        return [(name, str(read_bench_document(name).data.get("description", ""))) for name in shipped_benches()]
    if what is Listed.PLANS:
        return [(name, entry.value) for name, entry in find_plans().items()]
    if what is Listed.TABLES:
        from labctl.experiments.table import describe, find_tables

        return [(name, describe(entry)) for name, entry in find_tables().items()]
    return sorted((entry.name, entry.value) for entry in entry_points(group=f"labctl.{what}"))
