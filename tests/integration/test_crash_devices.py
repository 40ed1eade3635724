"""A crash report tells what the PCI cards hold, and is made with the machine's lock held."""

import gc

import pytest

from pykvm.crash import render
from pykvm.devices.simple import SimpleDevice
from pykvm.devices.virtio import registers as r
from pykvm.machine.config import Config, NicConfig
from pykvm.machine.machine import Machine
from pykvm.registers import RegisterMap

pytestmark = pytest.mark.kvm
UD2 = bytes.fromhex("0f 0b")


class Witness(SimpleDevice):
    """Says whether the lock was held when its state was taken."""

    registers = RegisterMap("witness", [])
    STATE = {"held": False}
    machine = None

    @property
    def held(self):
        return self.machine.lock.locked()

    @held.setter
    def held(self, value):
        """Power-on says nothing of it."""

    def read(self, offset, size):
        return 0

    def write(self, offset, size, value):
        """Nothing to write."""


def test_the_cards_state_is_in_the_report_and_taken_with_the_lock_held(tmp_path):
    image = tmp_path / "guest.bin"
    image.write_bytes(UD2)
    nics = tuple(NicConfig.parse(text) for text in ("e1000", "virtio-net"))
    config = Config(image=str(image), serial="null", timeout=20, nics=nics, rng=True)
    witness = Witness("witness")

    def add(machine):
        witness.machine = machine
        machine.board.plug(machine.board.pio, 0x5000, 1, witness)

    with Machine(config, add=add) as machine:
        net = next(f for f in machine.pci.functions if f.name.startswith("virtio-net"))
        window = net.windows[4]
        window.write(r.MODERN["STATUS"].offset, 1, 1)
        window.write(r.MODERN["STATUS"].offset, 1, 3)
        window.write(r.MODERN["QUEUE_DESC_LO"].offset, 4, 0x1000)
        window.write(r.MODERN["QUEUE_ENABLE"].offset, 2, 1)
        report = machine.run().report
    assert report.devices["witness"]["held"] is True
    assert report.devices[net.name]["status"] == 3
    assert report.devices[net.name]["queue0"].endswith(" at 0x1000 0x0 0x0")
    assert {"STATUS", "RAH"} & set(report.devices["e1000-0"]) == {"STATUS"}
    text = render(report)
    assert " STATUS=0x" in text
    assert f"{net.name}: status=0x3 features=0x0 queue0=" in text


@pytest.fixture(autouse=True)
def _cards_descriptors_go_with_them():
    yield
    gc.collect()
