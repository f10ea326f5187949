import subprocess
import sys
from pathlib import Path

from drivers.thorlabs_pm100 import PM100
from labctl.clock import WallClock
from labctl.devices import PowerMeterSettings
from tests.drivers.test_contracts import METER

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
