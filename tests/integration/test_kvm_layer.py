"""The KVM layer itself, on real guests of a few bytes."""

import errno
import os
import select
import threading

import pytest

from pykvm.errors import HostError, KvmError
from pykvm.kvm.abi import exit_names, lib
from pykvm.kvm.stats import Counters, available
from pykvm.kvm.system import Kvm, install_kick
from pykvm.kvm.vcpu import Vcpu
from pykvm.kvm.vm import GSI_COUNT, Vm
from pykvm.memory import GuestMemory

pytestmark = pytest.mark.kvm

CODE = 0x1000


@pytest.fixture
def vm():
    with Kvm() as kvm, GuestMemory(1 << 18) as memory, Vm(kvm, memory) as vm:
        yield vm


def real_mode(vm, code):
    """A vCPU at ``code`` in real mode, attached to this thread."""
    install_kick()
    vm.memory.write(CODE, code)
    vcpu = vm.create_vcpu()
    sregs = vcpu.get_sregs()
    sregs.cs.base = sregs.cs.selector = 0
    vcpu.set_sregs(sregs)
    regs = vcpu.get_regs()
    regs.rip, regs.rflags, regs.rsp = CODE, 2, CODE
    vcpu.set_regs(regs)
    lib.pk_vcpu_attach(vcpu.native, True)
    return vcpu


def run(vcpu, reply=0):
    return lib.pk_vcpu_run(vcpu.native, reply)


def test_a_kick_before_the_run_is_not_lost(vm):
    vcpu = real_mode(vm, b"\xeb\xfe")
    vcpu.kick()
    assert run(vcpu) == lib.PK_INTERRUPTED
    assert run(vcpu) == lib.PK_INTERRUPTED  # it stays out ...
    vcpu.unkick()
    threading.Timer(0.05, vcpu.kick).start()
    assert run(vcpu) == lib.PK_INTERRUPTED  # ... until it is let back, and kicked again


def test_an_ioeventfd_takes_a_doorbell_without_an_exit(vm):
    doorbell = os.eventfd(0, os.EFD_NONBLOCK)
    vm.ioeventfd(doorbell, 0x80, 1, pio=True)
    vcpu = real_mode(vm, bytes.fromhex("e680 e680 e681"))
    assert run(vcpu) == lib.PK_OTHER
    assert vcpu.run_state.io.port == 0x81
    assert os.eventfd_read(doorbell) == 2
    vm.ioeventfd(doorbell, 0x80, 1, pio=True, assign=False)
    os.close(doorbell)


def test_an_ioeventfd_with_a_match_takes_only_that_value(vm):
    doorbell = os.eventfd(0, os.EFD_NONBLOCK)
    vm.ioeventfd(doorbell, 0x80, 1, pio=True, match=7)
    vcpu = real_mode(vm, bytes.fromhex("b007 e680 b008 e680"))
    assert run(vcpu) == lib.PK_OTHER
    assert vcpu.run_state.io.port == 0x80
    assert vm.memory.read(CODE, 1) == b"\xb0"
    assert os.eventfd_read(doorbell) == 1
    os.close(doorbell)


def test_coalesced_writes_arrive_in_order_with_the_next_exit(vm):
    vm.coalesce(0x80, 1, pio=True)
    vcpu = real_mode(vm, bytes.fromhex("b001 e680 b002 e680 e681"))
    assert run(vcpu) == lib.PK_OTHER
    assert vcpu.run_state.io.port == 0x81
    kept = list(vcpu.drain_coalesced())
    assert [(k.address, k.size, k.value, k.pio) for k in kept] == [
        (0x80, 1, 1, True),
        (0x80, 1, 2, True),
    ]
    assert list(vcpu.drain_coalesced()) == []


def irq_guest():
    """Sets up the PIC (base 0x20, only line 5), enables interrupts, halts; the handler at 0x2000
    writes port 0x80."""
    pic = "b011 e620 b020 e621 b004 e621 b001 e621 b0df e621"
    return bytes.fromhex(pic + "fb f4 ebfd")


def interrupt_handler(vm):
    vm.memory.write(0x25 * 4, (0x2000).to_bytes(4, "little"))
    vm.memory.write(0x2000, bytes.fromhex("b042 e680 b020 e620 cf"))  # out; EOI; iret


def test_an_irqfd_raises_an_interrupt(vm):
    interrupt_handler(vm)
    vcpu = real_mode(vm, irq_guest())
    line = os.eventfd(0)
    vm.irqfd(line, 5)
    threading.Timer(0.05, os.eventfd_write, (line, 1)).start()
    assert run(vcpu) == lib.PK_OTHER
    assert vcpu.run_state.io.port == 0x80
    vm.irqfd(line, 5, assign=False)
    os.close(line)


def test_a_resampled_irqfd_tells_of_the_guests_eoi(vm):
    interrupt_handler(vm)
    elcr = bytes.fromhex("bad004 b020 ee")  # line 5 is level-triggered
    vcpu = real_mode(vm, elcr + irq_guest())
    line, resample = os.eventfd(0), os.eventfd(0, os.EFD_NONBLOCK)
    vm.irqfd(line, 5, resample=resample)
    os.eventfd_write(line, 1)
    assert run(vcpu) == lib.PK_OTHER
    assert vcpu.run_state.io.port == 0x80
    threading.Timer(0.1, vcpu.kick).start()
    while run(vcpu) == lib.PK_OTHER:
        pass
    assert select.select([resample], [], [], 0)[0]
    vm.irqfd(line, 5, assign=False)
    os.close(line)
    os.close(resample)


def test_a_message_that_no_controller_takes_is_not_delivered_and_ends_nothing(vm):
    """What a guest writes into its MSI-X table."""
    vm.create_vcpu()
    for address, data in (
        (2**64 - 1, 2**32 - 1),
        (0, 0),
        (0xFEE7_F000, 0x31),
        (0xFEE0_0000, 0x700),
    ):
        assert not vm.signal_msi(address, data)
        vm.set_message_routes({GSI_COUNT: (address, data)})


def test_msrs_are_read_and_written_and_unknown_ones_are_told(vm):
    vcpu = vm.create_vcpu()
    assert vcpu.set_msr(0x277, 0x0007040600070406)  # PAT
    assert vcpu.get_msr(0x277) == 0x0007040600070406
    assert vcpu.get_msr(0xDEAD_BEEF) is None
    assert not vcpu.set_msr(0xDEAD_BEEF, 1)


def test_cpuid_shows_what_was_set(vm):
    vcpu = real_mode(vm, bytes.fromhex("66b801000040 0fa2 e680"))  # cpuid leaf 0x40000001
    supported = vm.kvm.supported_cpuid()
    assert any(entry.function == 1 for entry in supported)
    vcpu.set_cpuid(supported)
    assert run(vcpu) == lib.PK_OTHER
    wanted = next(e.eax for e in supported if e.function == 0x4000_0001)
    assert vcpu.get_regs().rax == wanted


def test_events_and_debug_state_round_trip(vm):
    vcpu = vm.create_vcpu()
    events = vcpu.get_events()
    vcpu.set_events(events)
    assert vcpu.get_events().exception.injected == 0
    vcpu.set_guest_debug(lib.KVM_GUESTDBG_ENABLE | lib.KVM_GUESTDBG_USE_HW_BP, [CODE])
    vcpu.set_guest_debug(0)


def test_single_steps_are_debug_exits(vm):
    vcpu = real_mode(vm, b"\x90\x90\xf4")
    vcpu.set_guest_debug(lib.KVM_GUESTDBG_ENABLE | lib.KVM_GUESTDBG_SINGLESTEP)
    assert run(vcpu) == lib.PK_OTHER
    assert vcpu.run_state.exit_reason == lib.KVM_EXIT_DEBUG
    assert vcpu.get_regs().rip == CODE + 1


def test_memory_above_the_hole_reaches_the_guest():
    with Kvm() as kvm, GuestMemory(64 << 30) as memory, Vm(kvm, memory) as vm:
        assert [slot.base for slot in memory.slots] == [0, 1 << 32]
        vcpu = real_mode(vm, bytes.fromhex("e680"))
        assert run(vcpu) == lib.PK_OTHER


def test_native_ranges_answer_without_python_and_are_counted(vm):
    from pykvm._native import ffi

    latch = ffi.new("struct pk_latch *", {"size": 4})
    answer = ffi.addressof(lib, "pk_latch_answer")
    vm.set_native_ranges(lib.PK_PIO, [(0x80, 0x83, 0, 4, answer, latch)])
    vcpu = real_mode(vm, bytes.fromhex("b05a e681 e481 e690"))
    assert run(vcpu) == lib.PK_OTHER
    assert (vcpu.run_state.io.port, vcpu.get_regs().rax & 0xFF) == (0x90, 0x5A)
    assert (vcpu.native.exits, vcpu.native.native) == (3, 2)
    vcpu.native.observe = 1  # whoever watches sees every exit
    regs = vcpu.get_regs()
    regs.rip = CODE
    vcpu.set_regs(regs)
    run(vcpu)
    while vcpu.run_state.io.port == 0x90:
        run(vcpu)
    assert vcpu.run_state.io.port == 0x81


def test_the_flight_recorder_keeps_the_last_exits(vm):
    vcpu = real_mode(vm, bytes.fromhex("b001 e680 e481 e682"))
    run(vcpu)
    run(vcpu)
    state = vcpu.run_state
    vcpu.page[state.io.data_offset] = 0x99
    run(vcpu)
    first = [vcpu.native.recent[n] for n in range(3)]
    assert [(r.address, r.write, r.size) for r in first] == [
        (0x80, 1, 1),
        (0x81, 0, 1),
        (0x82, 1, 1),
    ]
    assert first[2].value == 0x99


def test_exits_are_counted_by_reason_and_kvm_counts_as_many_returns(vm):
    # out 0x80, al, three times; then a store to 0x80000, where no memory is, in DS
    vcpu = real_mode(vm, bytes.fromhex("e680 e680 e680 b80080 8ed8 a20000 f4"))
    with Counters(vcpu.fd) as kernel:
        before = kernel.read()
        for _ in range(4):
            assert run(vcpu) == lib.PK_OTHER
        vcpu.kick()
        assert run(vcpu) == lib.PK_INTERRUPTED
        after = kernel.read()
    native = vcpu.native
    counted = {
        exit_names()[n]: native.reasons[n] for n in range(lib.PK_REASONS) if native.reasons[n]
    }
    assert counted == {"IO": 3, "MMIO": 1}
    assert (native.exits, native.runs) == (4, 5)
    assert after["fpu_reload"] - before["fpu_reload"] == 5
    assert after["mmio_exits"] - before["mmio_exits"] == 1


def test_a_vm_has_counters_of_its_own(vm):
    assert available(vm.fd)
    with Counters(vm.fd) as kernel:
        assert kernel.read()["remote_tlb_flush"] >= 0


def test_a_missing_kvm_is_a_host_error_with_its_cure():
    with pytest.raises(HostError, match="modprobe"):
        Kvm("/nonexistent/kvm")


def test_a_failing_ioctl_names_itself():
    with Kvm() as kvm, GuestMemory(1 << 16) as memory, Vm(kvm, memory) as vm:
        with pytest.raises(KvmError, match="KVM_CREATE_VCPU") as caught:
            Vcpu(vm, 1 << 20)
        assert caught.value.errno == errno.EINVAL


def test_everything_is_closed_when_building_a_vm_fails(monkeypatch):
    from pykvm.kvm import vm as module

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(module, "_TSS_ADDRESS", 1 << 40)
    with Kvm() as kvm, GuestMemory(1 << 16) as memory, pytest.raises(KvmError):
        Vm(kvm, memory)
    assert len(os.listdir("/proc/self/fd")) == before
