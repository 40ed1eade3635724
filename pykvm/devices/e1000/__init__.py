"""The Intel 82540EM, a gigabit Ethernet card that every operating system has a driver for."""

from pykvm.devices.e1000.device import E1000

__all__ = ["E1000"]
