"""Every error labctl raises on purpose; the message says what was asked, what is allowed and what to do."""


class LabError(Exception):
    """Any failure labctl foresaw; catch this to catch them all."""


class ConfigError(LabError):
    """A bench file, setting or command line asks for something that cannot be; no hardware was touched."""


class DeviceError(LabError):
    """A device failed or refused.

    Args:
        device: Name of the device in the bench file.
        message: What was asked, what is allowed, what to do next.
    """

    def __init__(self, device: str, message: str) -> None:
        super().__init__(f"{device}: {message}")
        self.device = device


class ConnectError(DeviceError):
    """The device did not answer when it was opened."""


class DriverMissing(DeviceError):
    """The bench names no driver for this device, or its vendor package is not installed."""


class DeviceTimeout(DeviceError):
    """The device did not finish in the time it is allowed."""


class LimitError(DeviceError):
    """A value outside the device's limits was asked for; raised before hardware is touched."""


class StateError(DeviceError):
    """The device cannot do this in its present state (closed, not armed, nothing loaded)."""


class FrameLost(DeviceError):
    """A frame is missing, doubled, or was not taken under what it was asked for."""


class CalibrationError(LabError):
    """A calibration cannot be used."""


class StaleCalibration(CalibrationError):
    """The calibration belongs to another table, device or truth, or has expired."""


class FitRejected(CalibrationError):
    """The data do not determine the parameters that were to be fitted."""


class RunAborted(LabError):
    """A run had to end early; the message is the reason shown to the operator."""


class RunStopped(LabError):
    """The operator asked the run to stop."""


class Interlock(LabError):
    """There is, or may be, light where there must be none."""


REFUSALS = (ConfigError, LimitError, StaleCalibration)
"""Errors that say no to what was asked for; a command or run that meets one before it did anything was refused."""
