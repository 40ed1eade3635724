"""IRET, finished by pykvm, does what this CPU does with it; a guest cannot tell who did it."""

import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykvm.kvm.system import Kvm
from pykvm.machine import probe
from tests.support.ring import CODE, DATA, Cpu, Ring

pytestmark = pytest.mark.kvm

CODE_SEGMENT, DATA_SEGMENT = 0x08, 0x10
GDT, LOAD = 0x32_0000, 0xE000
DF, AC, ID, IF, IOPL = 1 << 10, 1 << 18, 1 << 21, 1 << 9, 3 << 12
LOADED = 0x8D5 | DF | AC | ID
PUT_SELECTORS = {  # mov rsp, rbx; mov [rsp + ...], cs and ss
    "iretq": "4889dc 8c4c2408 8c542420",
    "iretd": "4889dc 8c4c2404 8c542410",
}
IRET = {"iretq": "48cf", "iretd": "cf"}
LAND = bytes.fromhex("4889e0")  # mov rax, rsp


@pytest.fixture(scope="module")
def ring():
    with Ring.warm() as made:
        yield made


def give_gdt(ring, level):
    """Code and data of ``level``, at the selectors that ``Ring`` uses."""
    table = [0, 0x00AF_9B00_0000_FFFF | level << 45, 0x00CF_9300_0000_FFFF | level << 45]
    ring.memory.write(GDT, struct.pack("<3Q", *table))
    sregs = ring.vcpu.get_sregs()
    sregs.gdt.base, sregs.gdt.limit = GDT, len(table) * 8 - 1
    ring.vcpu.set_sregs(sregs)


@settings(max_examples=25)
@pytest.mark.parametrize("mnemonic", IRET)
@given(
    flags=st.integers(0, (1 << 22) - 1).map(lambda bits: bits & (LOADED | IF | IOPL) | 2),
    before=st.sampled_from([0, 0x8D5]), rsp=st.integers(0, (1 << 64) - 1),
    gap=st.integers(0, 64),
)  # fmt: skip
def test_it_goes_where_this_cpu_goes(ring, mnemonic, flags, before, rsp, gap):
    size = 8 if mnemonic == "iretq" else 4
    start = bytes.fromhex(PUT_SELECTORS[mnemonic])
    code = start + bytes.fromhex(IRET[mnemonic]) + b"\xf4" * gap + LAND
    target = CODE + len(code) - len(LAND)
    rsp &= (1 << size * 8) - 1

    def frame(level):
        selectors = (CODE_SEGMENT | level, DATA_SEGMENT | level)
        values = (target, selectors[0], flags, rsp, selectors[1])
        return b"".join(value.to_bytes(size, "little") for value in values).ljust(64, b"\0")

    give_gdt(ring, 3)
    native = ring.native(code, Cpu(regs={"rbx": DATA}, flags=before, memory=frame(3)))
    assert native is not None
    native_flags = ring.vcpu.get_regs().rflags
    for level in (0, 3):
        give_gdt(ring, level)
        ring.start(bytes.fromhex(IRET[mnemonic]), Cpu(flags=before, memory=frame(level)), level)
        regs = ring.vcpu.get_regs()
        regs.rsp = DATA
        ring.vcpu.set_regs(regs)
        done = ring.finisher.finish()
        assert done == ("direct", mnemonic), ring.finisher.why
        regs, sregs = ring.vcpu.get_regs(), ring.vcpu.get_sregs()
        assert regs.rip + len(LAND) == CODE + native.length
        assert regs.rsp == native.regs["rax"]
        assert regs.rflags & LOADED == native_flags & LOADED
        assert regs.rflags & (IF | IOPL) == (flags & (IF | IOPL) if level == 0 else 0)
        assert (sregs.cs.selector & 3, sregs.ss.selector & 3, sregs.ss.dpl) == (level,) * 3


def program(push_flags, push_cs, push_target, iret):
    """Ends with status 2 * (0x20 + CF) + 1 when it lands."""
    head = b"\xbc" + struct.pack("<I", LOAD)
    tail = bytes.fromhex("b001 e6f4")
    land = bytes.fromhex("0f92c0 0420 e6f4")  # setc al; add al, 0x20; out 0xf4, al
    size = len(head) + len(push_flags) + len(push_cs) + 5 + len(iret) + len(tail)
    return head + push_flags + push_cs + push_target(LOAD + size) + iret + tail + land


PROTECTED = {
    "iretd": program(
        bytes.fromhex("6a03"),  # push 3: CF
        bytes.fromhex("0e"),
        lambda at: b"\x68" + struct.pack("<I", at),
        bytes.fromhex("cf"),
    ),
    "iret": program(
        bytes.fromhex("666a03"),
        bytes.fromhex("660e"),
        lambda at: b"\x90\x66\x68" + struct.pack("<H", at),
        bytes.fromhex("66cf"),
    ),
}


@pytest.mark.parametrize("mnemonic", PROTECTED)
def test_a_guest_in_protected_mode_goes_on(tmp_path, mnemonic):
    image = tmp_path / "image"
    image.write_bytes(PROTECTED[mnemonic])
    command = [sys.executable, "-m", "pykvm", "run", str(image), "--mode", "protected"]
    done = subprocess.run(
        [*command, "--load-addr", hex(LOAD)], capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0x21 << 1 | 1, done.stderr


def test_a_return_to_another_level_is_refused_by_name(ring):
    give_gdt(ring, 3)
    frame = struct.pack("<5Q", CODE, CODE_SEGMENT | 3, 2, DATA, DATA_SEGMENT | 3)
    ring.start(bytes.fromhex("48cf"), Cpu(memory=frame.ljust(64, b"\0")), 0)
    regs = ring.vcpu.get_regs()
    regs.rsp = DATA
    ring.vcpu.set_regs(regs)
    assert ring.finisher.finish() is None
    assert "privilege level" in ring.finisher.why
    assert ring.vcpu.get_regs().rip == CODE


def test_where_interrupts_are_pushed_is_found_out(monkeypatch):
    with Kvm() as kvm:
        assert probe.uses_stack_base(kvm) == probe.uses_stack_base(kvm)
        monkeypatch.setattr(probe, "_run", lambda *ignored: None)  # as if it came to nothing
        assert probe.uses_stack_base(kvm)
        monkeypatch.undo()
        monkeypatch.setattr(probe, "_STACK_BASE", 0)  # where it makes no difference
        assert probe.uses_stack_base(kvm)
