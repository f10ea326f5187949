"""The watchdog: a process of its own that switches beams off when the process that lit them dies or hangs."""

from labctl.watchdog.charge import Charge
from labctl.watchdog.owner import Watchdog

__all__ = ["Charge", "Watchdog"]
