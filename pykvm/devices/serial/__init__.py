"""The serial port: a 16550A."""

from pykvm.devices.serial.uart import Uart16550

__all__ = ["Uart16550"]
