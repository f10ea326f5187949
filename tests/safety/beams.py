"""Beams behind real drivers, on instruments that are simulated."""

from pathlib import Path
from typing import Any

from labctl.cli.safety.instruments import InstrumentProcess

ROOT = Path(__file__).parents[2]
SMALL_FOURIER = ROOT / "tests" / "benches" / "small_fourier.yaml"
TWINS = ("slm", "camera", "beam")


def driven_beam(rf_url: str, shutter_url: str) -> dict[str, Any]:
    """Return the entry of a beam with an RF driver and a shutter."""
    return {
        "kind": "beam",
        "driver": "drivers.moglabs_rf.RfBeam",
        "settings": {"power": "1 mW", "max_power": "2 mW", "has_phase": True, "switch": "5 ms", "shutter": "15 ms"},
        "hardware": {
            "url": rf_url,
            "channel": 1,
            "carrier": "80 MHz",
            "full_power": "10 mW",
            "full_rf_dbm": 30,
            "shutter": {"url": shutter_url},
        },
    }


def started_instruments(beams: int) -> InstrumentProcess:
    """Return the instruments of so many beams: an RF driver and a shutter each."""
    return InstrumentProcess("sim_backends.instruments", ["--light", *["moglabs_rf", "sc10"] * beams], 2 * beams)
