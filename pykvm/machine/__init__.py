"""The composition root: it alone sees devices, backends and KVM, and wires them."""

from pykvm.machine.config import Config
from pykvm.machine.machine import Machine
from pykvm.machine.outcome import Outcome

__all__ = ["Config", "Machine", "Outcome"]
