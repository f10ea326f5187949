import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivers.serial_line import SerialHardware
from drivers.thorlabs_pm100 import PM100
from drivers.thorlabs_sc10 import SC10Shutter
from drivers.toptica_dlc_pro import DlcProBeam
from labctl.clock import WallClock
from labctl.devices import BeamSettings, PowerMeterSettings
from labctl.errors import ConnectError
from tests.drivers.test_contracts import AMPLIFIED, LASER, METER

ROOT = Path(__file__).parent.parent.parent


def test_an_instrument_in_a_process_of_its_own_answers_and_ends_with_its_pipe():
    command = [sys.executable, "-m", "sim_backends.instruments", "pm100"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = process.stdout.readline().strip()
        with PM100("meter", WallClock(), PowerMeterSettings.model_validate(METER), {"url": url}) as meter:
            assert meter.read_power() == 1e-6
        process.stdin.close()
        assert process.wait(10) == 0


def ask_for_ever(shutter: SC10Shutter) -> None:
    while True:
        shutter.state()


def test_a_process_of_several_instruments_tells_when_light_passes_and_unplugs_on_command():
    command = [sys.executable, "-m", "sim_backends.instruments", "dlc_pro", "sc10", "--light"]
    settings = BeamSettings.model_validate(LASER)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        laser, shutter = (process.stdout.readline().strip() for _ in range(2))
        shutter_port = SC10Shutter("pump", WallClock(), SerialHardware.model_validate({"url": shutter}))
        shutter_port.connect()
        shutter_port.switch(True)
        assert json.loads(process.stdout.readline())["light"]
        process.stdin.write("unplug 1\n")
        process.stdin.flush()
        with pytest.raises(ConnectError):
            ask_for_ever(shutter_port)
        hardware = {**AMPLIFIED, "url": laser}
        with DlcProBeam("pump", WallClock(), settings, hardware) as beam:
            beam.on()
        told = [json.loads(process.stdout.readline()) for _ in range(4)]
        assert [(one["output"], one["light"]) for one in told] == [
            ("dl", True), ("amp", True), ("amp", False), ("dl", False)
        ]  # fmt: skip
        assert all(one["instrument"] == 0 and one["time_ns"] <= time.monotonic_ns() for one in told)
