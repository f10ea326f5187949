"""What every device of a kind promises, driver or twin alike.

A test class derives from the contract of its kind, names the class it tests as `TESTED` and supplies `device`: built,
on its own clock, not open. What a contract cannot know of a device (a pattern it can show, a move it may make) it takes
from the device's settings, and it asks for little, as it also runs on real hardware (`tests/hardware`): beams are lit
at a hundredth of their power, a cell is warmed a few kelvin above its safe temperature.
"""

import pkgutil

import pytest

# Both sides of a failed assert are shown only in test files and in modules that pytest hears of before their import.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
