"""The bench: its file, its devices as one context manager, and what its light can do."""

from labctl.bench.bench import Bench
from labctl.bench.power import power_table, require_able
from labctl.bench.power_row import PowerRow
from labctl.bench.schema import BenchFile, load_bench, parse_bench

__all__ = ["Bench", "BenchFile", "PowerRow", "load_bench", "parse_bench", "power_table", "require_able"]
