"""Base classes of all device kinds; drivers and simulated twins derive from them."""

from labctl.devices.base import Device, twin_serial
from labctl.devices.beam import Beam, BeamSettings
from labctl.devices.camera import Camera, CameraSettings, Counts, Frames, join_frames
from labctl.devices.cell import CellSettings, VapourCell
from labctl.devices.dmd import DMD, DMDSettings, Sequence, Trigger
from labctl.devices.hardware import Hardware, read_hardware
from labctl.devices.pattern import Codebook, Levels, Pattern, PatternStack, identity_codebook, pattern_fault
from labctl.devices.power_meter import PowerMeter, PowerMeterSettings
from labctl.devices.slm import SLM, SLMSettings
from labctl.devices.stage import AxisLimits, Stage, StageSettings

__all__ = [
    "DMD",
    "SLM",
    "AxisLimits",
    "Beam",
    "BeamSettings",
    "Camera",
    "CameraSettings",
    "CellSettings",
    "Codebook",
    "Counts",
    "DMDSettings",
    "Device",
    "Frames",
    "Hardware",
    "Levels",
    "Pattern",
    "PatternStack",
    "PowerMeter",
    "PowerMeterSettings",
    "SLMSettings",
    "Sequence",
    "Stage",
    "StageSettings",
    "Trigger",
    "VapourCell",
    "identity_codebook",
    "join_frames",
    "pattern_fault",
    "read_hardware",
    "twin_serial",
]
