"""An instruction that pykvm finishes does what this CPU does with it in ring 3, RIP and all."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pykvm.errors import KvmError
from pykvm.kvm.abi import lib
from pykvm.machine.finish.finisher import Finisher
from tests.support.ring import CODE, DATA, DEVICE, FLAGS, NAMES, RAM, Cpu, Ring

pytestmark = pytest.mark.kvm

UNICORN = {
    # SSE: moves, arithmetic, comparisons, conversions, shuffles, integers
    "movdqu xmm0, [rbx]": "f30f6f03",
    "movntdq [rbx], xmm0": "660fe703",
    "movsd xmm0, [rbx + 9]": "f20f104309",
    "addps xmm0, xmm1": "0f58c1",
    "addps xmm0, [rbx]": "0f5803",
    "subsd xmm8, xmm9": "f2450f5cc1",
    "mulpd xmm0, xmm1": "660f59c1",
    "divsd xmm0, xmm1": "f20f5ec1",
    "sqrtss xmm0, xmm1": "f30f51c1",
    "maxps xmm0, xmm1": "0f5fc1",
    "minpd xmm0, xmm1": "660f5dc1",
    "cmpltps xmm0, xmm1": "0fc2c101",
    "ucomiss xmm0, xmm1": "0f2ec1",
    "comisd xmm0, xmm1": "660f2fc1",
    "cvtsi2sd xmm0, rbx": "f2480f2ac3",
    "cvttsd2si rax, xmm0": "f2480f2cc0",
    "cvtps2pd xmm0, xmm1": "0f5ac1",
    "cvtdq2ps xmm0, xmm1": "0f5bc1",
    "shufps xmm0, xmm1, 27": "0fc6c11b",
    "pshufb xmm0, xmm1": "660f3800c1",
    "paddd xmm0, xmm1": "660ffec1",
    "pmaddwd xmm0, xmm1": "660ff5c1",
    "psrldq xmm0, 5": "660f73d805",
    "pmovmskb eax, xmm1": "660fd7c1",
    "pinsrw xmm0, ebx, 3": "660fc4c303",
    "pcmpistri xmm0, xmm1, 12": "660f3a63c10c",
    "aesenc xmm0, xmm1": "660f38dcc1",
    "pclmulqdq xmm0, xmm1, 17": "660f3a44c111",
    "pblendvb xmm2, xmm1": "660f3810d1",  # and xmm0, which no operand names
    "pcmpistrm xmm2, xmm1, 12": "660f3a62d10c",
    # x87 and MMX
    "fld1": "d9e8",
    "fild qword ptr [rbx]": "df2b",
    "fstp tbyte ptr [rbx]": "db3b",
    "faddp": "dec1",
    "fmulp": "dec9",
    "fsqrt": "d9fa",
    "fcomi st0, st1": "dbf1",
    "movq mm0, [rbx]": "0f6f03",
    "paddb mm0, mm1": "0ffcc1",
    # general registers
    "crc32 rax, rbx": "f2480f38f1c3",
    "movbe rax, [rbx]": "480f38f003",
    "lzcnt rax, rbx": "f3480fbdc3",
}
# Status flags that the instruction leaves undefined (SDM, volume 2): CPUs differ there, and none is
# wrong. Every other flag, changed or kept, is compared.
PF, AF, ZF, SF, OF = 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11
UNDEFINED = {
    "lzcnt rax, rbx": OF | SF | PF | AF,
    "fcomi st0, st1": OF | SF | AF,  # older volumes do not mention them
}
DIRECT = {
    "popcnt eax, ecx": "f30fb8c1",
    "popcnt r9, [rbx]": "f34c0fb80b",
    "popcnt ax, [rbx + rcx * 0 + 7]": "66f30fb84307",
    "cmpxchg16b [rbx]": "480fc70b",
    "lock cmpxchg16b [rbx + 16]": "f0480fc74b10",
    "stmxcsr [rbx]": "0fae1b",
    "wait": "9b",
}


@pytest.fixture(scope="module")
def ring():
    with Ring.warm() as made:
        yield made


FLOATS = st.sampled_from(
    [0x3F80_0000, 0x4049_0FDB, 0x7F80_0000, 0xFF80_0000, 1, 0x8000_0000, 0x7F7F_FFFF, 0]
) | st.integers(0, 0x7F7F_FFFF)
VECTORS = st.lists(FLOATS, min_size=4, max_size=4).map(
    lambda parts: sum(part << 32 * n for n, part in enumerate(parts))
)
STARTS = st.builds(
    Cpu,
    regs=st.fixed_dictionaries({name: st.integers(0, (1 << 64) - 1) for name in NAMES}).map(
        lambda regs: {**regs, "rbx": DATA}
    ),
    xmm=st.lists(VECTORS, min_size=16, max_size=16),
    x87=st.just([0x3FFF << 64 | 1 << 63, 0x4000 << 64 | 0xC90F_DAA2_2168_C235]),
    mxcsr=st.just(0x1F80),
    flags=st.sampled_from([0, FLAGS]),
    memory=st.binary(min_size=64, max_size=64),
)
TRIES = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def compare(ring, code, start, how, undefined=0):
    """Both ways, from ring 0 and from ring 3, but for ``undefined`` flags. Unicorn does not set the
    sticky bits of MXCSR."""
    native = ring.native(code, start)
    if native is None:
        pytest.skip("this CPU does not know the instruction")
    native.mxcsr &= ~0x3F
    native.flags &= ~undefined
    for level in (0, 3):
        done, now = ring.finished(code, start, level)
        assert done is not None, ring.finisher.why
        assert done.how == how
        assert now.length == len(code)
        now.mxcsr &= ~0x3F
        now.flags &= ~undefined
        assert now == native


@pytest.mark.parametrize("code", DIRECT.values(), ids=DIRECT)
@TRIES
@given(start=STARTS)
@example(start=Cpu(regs={"rbx": DATA}))  # cmpxchg16b: what is there is what is expected
def test_a_simple_instruction_is_done_as_the_cpu_does_it(ring, code, start):
    compare(ring, bytes.fromhex(code), start, "direct")


@pytest.mark.parametrize("name", UNICORN)
@TRIES
@given(start=STARTS)
def test_the_rest_is_done_by_unicorn_as_the_cpu_does_it(ring, name, start):
    pytest.importorskip("unicorn")
    compare(ring, bytes.fromhex(UNICORN[name]), start, "unicorn", UNDEFINED.get(name, 0))


def test_flags_that_the_manual_leaves_undefined_are_not_compared(ring):
    """What an Intel and an AMD processor make of LZCNT's OF differs; a defined flag may not."""

    class Other:
        finisher, native = ring.finisher, staticmethod(lambda code, start: other)
        finished = staticmethod(ring.finished)

    code, start = bytes.fromhex(UNICORN["lzcnt rax, rbx"]), Cpu(regs={"rbx": 1 << 40})
    other = ring.native(code, start)
    other.flags ^= OF
    compare(Other, code, start, "unicorn", UNDEFINED["lzcnt rax, rbx"])
    other.flags ^= ZF
    with pytest.raises(AssertionError):
        compare(Other, code, start, "unicorn", UNDEFINED["lzcnt rax, rbx"])


@pytest.mark.parametrize("mxcsr", [0x1F80, 0xFFFF, 0x7F80, 0])
def test_ldmxcsr_loads(ring, mxcsr):
    start = Cpu(regs={"rbx": DATA}, memory=struct.pack("<I60x", mxcsr))
    done, now = ring.finished(bytes.fromhex("0fae13"), start)
    assert (done.how, now.mxcsr, now.length) == ("direct", mxcsr, 3)


def test_clac_and_stac_change_one_flag(ring):
    for code, on in (("0f01cb", True), ("0f01ca", False)):
        ring.finished(bytes.fromhex(code), Cpu(flags=1 << 18 if not on else 0))
        assert bool(ring.vcpu.get_regs().rflags & 1 << 18) == on


@pytest.mark.parametrize("code", ["0f58 03", "0f10 03"])
def test_a_device_is_accessed_through_the_bus(ring, code):
    pytest.importorskip("unicorn")
    start = Cpu(regs={"rbx": DEVICE + 0x40})
    done, now = ring.finished(bytes.fromhex(code), start)
    assert done.how == "unicorn"
    assert [(address, size) for address, size, write in ring.touched if not write] == [
        (DEVICE + 0x40 + n, 4) for n in (0, 4, 8, 12)
    ]
    assert now.xmm[0] == int.from_bytes(bytes([1, 2, 3, 4] * 4), "little")


def test_a_store_to_a_device_goes_there(ring):
    pytest.importorskip("unicorn")
    start = Cpu(regs={"rbx": DEVICE}, xmm=[0x100F_0E0D_0C0B_0A09_0807_0605_0403_0201] + [0] * 15)
    ring.finished(bytes.fromhex("660fe703"), start)
    assert b"".join(data for _, data, _ in ring.touched) == bytes(range(1, 17))
    ring.finished(bytes.fromhex("0fae1b"), start)
    assert ring.touched == [(DEVICE, struct.pack("<I", 0x1F80), True)]


def test_code_that_changes_under_unicorn_is_noticed(ring):
    pytest.importorskip("unicorn")
    start = Cpu(xmm=[0x4000_0000, 0x4080_0000] + [0] * 14)  # 2.0 and 4.0
    for _ in range(2):
        for code, result in (("0f58c1", 0x40C0_0000), ("0f59c1", 0x4100_0000)):
            _, now = ring.finished(bytes.fromhex(code), start)
            assert now.xmm[0] == result


LOADS = {
    "vmovdqu ymm3, [rbx + 5]": "c5fe6f5b05",
    "vmovdqa ymm3, [rbx]": "c5fd6f1b",
    "vmovups xmm3, [rbx + 5]": "c5f8105b05",
    "vmovntdqa ymm11, [rbx]": "c4627d2a1b",
}
STORES = {
    "vmovdqu [rbx + 5], ymm3": "c5fe7f5b05",
    "vmovapd [rbx], ymm3": "c5fd291b",
    "vmovups [rbx + 5], xmm3": "c5f8115b05",
    "vmovntdq [rbx], ymm3": "c5fde71b",
}


@pytest.fixture
def avx(ring):
    """A ring whose guest may use AVX."""
    before = ring.first.cr4
    try:
        ring.vcpu.set_xcr0(7)
    except KvmError:
        pytest.skip("this CPU has no AVX")
    ring.first.cr4 = before | 1 << 18
    yield ring
    ring.first.cr4 = before


@pytest.mark.parametrize("code", {**LOADS, **STORES}.values(), ids={**LOADS, **STORES})
@TRIES
@given(start=STARTS)
def test_an_avx_move_is_done_as_the_cpu_does_it(avx, code, start):
    start.high = list(start.xmm[::-1])
    compare(avx, bytes.fromhex(code), start, "direct")


def test_an_avx_move_reaches_a_device_in_parts_of_8_bytes(avx):
    start = Cpu(regs={"rbx": DEVICE}, xmm=[0] * 3 + [0x1111 << 64 | 0x2222] + [0] * 12)
    start.high = [0] * 3 + [0x3333] + [0] * 12
    avx.finished(bytes.fromhex("c5fe7f1b"), start)
    values = [(at, int.from_bytes(data, "little")) for at, data, _ in avx.touched]
    assert values == [
        (DEVICE, 0x2222), (DEVICE + 8, 0x1111), (DEVICE + 16, 0x3333), (DEVICE + 24, 0),
    ]  # fmt: skip
    _, now = avx.finished(bytes.fromhex("c5fe6f1b"), start)
    eight = int.from_bytes(bytes(range(1, 9)), "little")
    assert (now.xmm[3], now.high[3]) == (eight << 64 | eight,) * 2


def test_an_avx_move_that_must_be_aligned_is_a_general_protection_fault(avx):
    done, _ = avx.finished(bytes.fromhex("c5fd6f1b"), Cpu(regs={"rbx": DATA + 16}))
    assert done.how == "fault"
    assert pending(avx)[:2] == (13, 0)


def test_without_osxsave_an_avx_move_is_undefined(ring):
    ring.finished(bytes.fromhex("c5fe6f1b"), Cpu(regs={"rbx": DATA}))
    assert pending(ring)[:2] == (6, None)


# -- what the guest gets instead -------------------------------------------------------------------


def pending(ring):
    """The exception that the vCPU is about to take: vector, error code, CR2, RIP."""
    exception = ring.vcpu.get_events().exception
    assert exception.injected
    code = exception.error_code if exception.has_error_code else None
    return exception.nr, code, ring.vcpu.get_sregs().cr2, ring.vcpu.get_regs().rip


@pytest.fixture
def protect(ring):
    """Changes the rights of the 2 MiB page that ``DATA`` is in."""
    from pykvm.boot.lowmem import PAGE_TABLES

    entry = PAGE_TABLES + 0x2000 + DATA // (2 << 20) * 8
    before = ring.memory.read_u64(entry)

    def change(*, clear):
        ring.memory.write_u64(entry, before & ~clear)

    yield change
    ring.memory.write_u64(entry, before)


PRESENT, WRITE, USER = 1, 2, 4


@pytest.mark.parametrize("code", ["f30fb803", "0f5803"], ids=["direct", "unicorn"])
@pytest.mark.parametrize(
    ("clear", "level", "error"), [(PRESENT, 0, 0), (PRESENT, 3, 4), (USER, 3, 5)]
)
def test_a_read_that_is_not_allowed_is_a_page_fault(ring, protect, code, clear, level, error):
    pytest.importorskip("unicorn")
    ring.native(b"\x90", Cpu())
    protect(clear=clear)
    done, now = ring.finished(bytes.fromhex(code), Cpu(regs={"rbx": DATA + 8}), level)
    assert done.how == "fault"
    assert pending(ring) == (14, error, DATA + 8, CODE)
    assert now.length == 0


@pytest.mark.parametrize("code", ["480fc70b", "0f1103"], ids=["direct", "unicorn"])
@pytest.mark.parametrize(
    ("clear", "level", "error"), [(WRITE, 0, 3), (WRITE, 3, 7), (USER, 3, None)]
)
def test_a_write_that_is_not_allowed_is_a_page_fault(ring, protect, code, clear, level, error):
    pytest.importorskip("unicorn")
    protect(clear=clear)
    done, _ = ring.finished(bytes.fromhex(code), Cpu(regs={"rbx": DATA}), level)
    assert done.how == "fault"
    vector, found, cr2, rip = pending(ring)
    assert (vector, cr2, rip) == (14, DATA, CODE)
    assert found & 5 == 5 if error is None else found == error


def test_supervisor_only_pages_are_open_to_ring_0(ring, protect):
    protect(clear=USER)
    done, now = ring.finished(bytes.fromhex("f30fb803"), Cpu(regs={"rbx": DATA}, memory=b"\7" * 64))
    assert (done.how, now.regs["rax"]) == ("direct", 12)


@pytest.mark.parametrize(
    ("code", "start", "vector", "error"),
    [
        ("480fc70b", Cpu(regs={"rbx": DATA + 8}), 13, 0),  # not aligned
        ("0fae13", Cpu(regs={"rbx": DATA}, memory=b"\xff" * 64), 13, 0),  # reserved bits
        ("f30fb803", Cpu(regs={"rbx": 1 << 62}), 13, 0),  # not canonical
        ("0f0b", Cpu(), 6, None),
        ("cdf0", Cpu(), 13, 0xF0 << 3 | 2),  # beyond the IDT's end
    ],
    ids=["cmpxchg16b", "ldmxcsr", "popcnt", "ud2", "int 0xf0"],
)
def test_what_the_cpu_refuses_is_an_exception_of_the_guest(ring, code, start, vector, error):
    done, now = ring.finished(bytes.fromhex(code), start)
    assert done.how == "fault"
    assert pending(ring)[:2] == (vector, error)
    assert now.length == 0


@pytest.mark.parametrize(
    "code",
    ["c5fc58c1", "62f17c481003", "660ff7c1", "dd33", "c4e263f5c1", "0fae23", "0f20c0", "ffff"],
)
def test_what_nobody_knows_says_so_and_changes_nothing(ring, code):
    start = Cpu(regs={"rbx": DATA}, memory=bytes(range(64)))
    done, now = ring.finished(bytes.fromhex(code), start)
    assert done is None
    assert ring.finisher.why
    assert (now.length, now.memory) == (0, start.memory)


def test_in_ring_3_it_is_the_exception_that_kvm_would_raise(ring):
    done, _ = ring.finished(bytes.fromhex("c5fc58c1"), Cpu(), 3)
    assert done.how == "fault"
    assert pending(ring)[:2] == (6, None)


PREFIXES = st.sampled_from(["", "66", "f2", "f3", "f0", "48", "660f", "f30f", "0f", "0f38", "67"])


@settings(max_examples=300)
@given(
    start=STARTS, prefix=PREFIXES, code=st.binary(min_size=15, max_size=15),
    level=st.sampled_from([0, 3]), pointer=st.sampled_from([DATA, DEVICE, RAM - 4, 1 << 40, 0]),
)  # fmt: skip
def test_whatever_the_bytes_are_the_monitor_lives(ring, start, prefix, code, level, pointer):
    for name in ("rax", "rcx", "rbx", "rdi"):
        start.regs[name] = pointer
    done, now = ring.finished(bytes.fromhex(prefix) + code, start, level)
    assert done is not None or ring.finisher.why
    if done is None:
        assert now.length == 0


@TRIES
@given(entry=st.integers(0, (1 << 64) - 1), level=st.sampled_from([0, 3]))
@pytest.mark.parametrize("code", ["f30fb803", "480fc70b", "0f5803", "0f1103"])
@pytest.mark.parametrize("table", [0x2000 + DATA // (2 << 20) * 8, 0x1000, 0])
def test_whatever_the_page_tables_hold_the_monitor_lives(ring, code, table, entry, level):
    from pykvm.boot.lowmem import PAGE_TABLES

    # The vCPU itself does not run; the code lies below the page whose entry is changed.
    elsewhere = 0x7F00_0000_0000
    before = ring.memory.read(PAGE_TABLES, 0x6000)
    start = Cpu(regs={"rbx": DATA if table > 0x1FFF else elsewhere})
    index = table if table > 0x1FFF else table + (elsewhere >> (39 if table == 0 else 30)) % 512 * 8
    try:
        ring.memory.write_u64(PAGE_TABLES + index, entry)
        done, now = ring.finished(bytes.fromhex(code), start, level)
    finally:
        ring.memory.write(PAGE_TABLES, before)
    assert done is not None or ring.finisher.why
    assert now.length in (0, len(code) // 2)


# -- as the user sees it ---------------------------------------------------------------------------

PYKVM = [sys.executable, "-m", "pykvm", "run"]
GUESTS = Path(__file__).parents[2] / "guest" / "build"


def refuses(code):
    """Whether this host's KVM leaves the instruction in ring 0 to us: many a CPU just does it."""
    with Ring() as made:
        made.start(bytes.fromhex(code), Cpu(), 0)
        lib.pk_vcpu_attach(made.vcpu.native, True)
        lib.pk_vcpu_run(made.vcpu.native, 0)
        lib.pk_vcpu_attach(made.vcpu.native, False)
        return made.vcpu.run_state.exit_reason == lib.KVM_EXIT_INTERNAL_ERROR


def test_each_kind_is_counted(tmp_path):
    if not refuses("f30fb8c1"):
        pytest.skip("this host's KVM refuses nothing here: the guest runs by itself")
    stats = tmp_path / "stats.json"
    command = [*PYKVM, str(GUESTS / "refused.elf"), "--stats-json", str(stats)]
    subprocess.run(command, capture_output=True, timeout=60, check=False)
    counted = {
        (row["device"], row["register"]): row["count"]
        for row in json.loads(stats.read_text())["rows"]
        if row["reason"] == "FINISHED"
    }
    assert counted[("event", "int3")] == 1
    assert counted[("event", "int")] == 1
    assert counted[("direct", "popcnt")] == 2
    assert counted[("direct", "cmpxchg16b")] == 2
    assert counted[("unicorn", "addps")] == 1
    assert counted[("fault", "vector 14")] == 1


def test_without_the_extra_the_report_says_what_to_install(ring, monkeypatch):
    monkeypatch.setitem(sys.modules, "unicorn", None)
    finisher = Finisher(ring.vcpu, ring.memory, ring.bus, None)
    ring.start(bytes.fromhex("0f58c1"), Cpu(), 0)
    assert finisher.finish() is None
    assert "pip install 'pykvm-vmm[emulate]'" in finisher.why


def test_a_guest_that_cannot_be_helped_ends_with_a_report_that_says_why(tmp_path):
    if not refuses("c5f858c1"):
        pytest.skip("this host's KVM refuses nothing here: the guest runs by itself")
    image = tmp_path / "image"
    image.write_bytes(bytes.fromhex("c5f858c1"))  # vaddps xmm0, xmm0, xmm1
    done = subprocess.run([*PYKVM, str(image)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 6
    assert b"could not emulate" in done.stderr
    assert b"AVX" in done.stderr
