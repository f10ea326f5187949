"""What every device of a kind promises, driver or twin alike.

A test class derives from the contract of its kind, names the class it tests as `TESTED` and supplies `device`: built,
on its own clock, not open. What a contract cannot know of a device (a pattern it can show, a move it may make) it takes
from the device's settings, and it asks for little, as it also runs on real hardware (`tests/hardware`): beams are lit
at a hundredth of their power, a cell is warmed a few kelvin above its safe temperature.
"""
