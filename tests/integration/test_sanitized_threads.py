"""Several threads in the native code at once: what `make sanitize` watches with ThreadSanitizer."""

import threading

import pytest

from pykvm._native import ffi, lib
from pykvm.kvm.system import Kvm, install_kick
from pykvm.kvm.vm import Vm
from pykvm.memory import GuestMemory


def test_a_map_may_change_while_vcpus_look_things_up():
    bus = ffi.gc(lib.pk_bus_new(), lib.pk_bus_free)
    rows = ffi.new("struct pk_range[]", 2)
    rows[0].base, rows[0].last, rows[0].id = 0x10, 0x1F, 1
    rows[1].base, rows[1].last, rows[1].id = 0x20, 0x2F, 2
    done = threading.Event()
    seen = set()

    def look():
        found = ffi.new("struct pk_range *")
        while not done.is_set():
            if lib.pk_bus_find(bus, lib.PK_MMIO, 0x20, 4, found):
                seen.add((found.base, found.last, found.id))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(2000):
        assert lib.pk_bus_set(bus, lib.PK_MMIO, rows, n % 2 * 2)
    done.set()
    for thread in threads:
        thread.join()
    assert seen <= {(0x20, 0x2F, 2)}


def test_a_latch_may_be_used_by_two_threads():
    latch = ffi.new("struct pk_latch *", {"size": 8})
    wrong = []

    def hammer(byte):
        value = ffi.new("uint64_t *")
        for _ in range(2000):
            value[0] = byte
            lib.pk_latch_answer(latch, True, 0, 1, value)
            lib.pk_latch_answer(latch, False, 0, 1, value)
            if value[0] not in (1, 2):
                wrong.append(value[0])

    threads = [threading.Thread(target=hammer, args=(byte,)) for byte in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.kvm
def test_a_running_vcpu_may_be_kicked_from_another_thread():
    install_kick()
    with Kvm() as kvm, GuestMemory(1 << 16) as memory, Vm(kvm, memory) as vm:
        memory.write(0x1000, b"\xe6\x80\xeb\xfc")  # out 0x80, al; jmp back
        latch = ffi.new("struct pk_latch *", {"size": 1})
        answer = ffi.addressof(lib, "pk_latch_answer")
        vm.set_native_ranges(lib.PK_PIO, [(0x80, 0x80, 0, 1, answer, latch)])
        vcpu = vm.create_vcpu()
        sregs = vcpu.get_sregs()
        sregs.cs.base = sregs.cs.selector = 0
        vcpu.set_sregs(sregs)
        regs = vcpu.get_regs()
        regs.rip, regs.rflags = 0x1000, 2
        vcpu.set_regs(regs)
        left = []

        def run():
            lib.pk_vcpu_attach(vcpu.native, True)
            left.append(lib.pk_vcpu_run(vcpu.native, 0))
            lib.pk_vcpu_attach(vcpu.native, False)

        for _ in range(20):
            thread = threading.Thread(target=run)
            thread.start()
            vcpu.kick()
            thread.join()
            vcpu.unkick()
        assert left == [lib.PK_INTERRUPTED] * 20
