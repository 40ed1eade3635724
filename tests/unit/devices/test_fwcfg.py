"""fw_cfg through its registers: items by port, items by DMA, and requests of every kind."""

import struct
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykvm.devices import fwcfg as f
from pykvm.errors import GuestMemoryError
from pykvm.memory import GuestMemory

READ, SKIP, SELECT, WRITE = (1 << n for n in range(1, 5))
REQUEST, BUFFER, SIZE = 0x100, 0x1000, 0x10000


@pytest.fixture(scope="module")
def memory():
    with GuestMemory(SIZE) as memory:
        yield memory


@pytest.fixture
def device(memory):
    memory.fill(0, SIZE)
    return make(memory)


def make(memory):
    return f.FwCfg(
        memory, {f.CPUS: b"\2\0", f.KERNEL_DATA: lambda: b"kernel"},
        {"opt/b": b"second", "opt/a": b"first one"},
    )  # fmt: skip


def by_port(device, key, size):
    device.write(0, 2, key)
    return bytes(device.read(1, 1) for _ in range(size))


def dma(device, memory, control, size=0, address=BUFFER, at=REQUEST):
    memory.write(at, struct.pack(">IIQ", control, size, address))
    for offset, half in ((4, at >> 32), (8, at & 0xFFFF_FFFF)):
        device.write(offset, 4, int.from_bytes(half.to_bytes(4, "big"), "little"))
    return int.from_bytes(memory.read(at, 4), "big")


def test_what_is_asked_for_is_copied_and_nothing_behind_it(memory):
    big = 64 << 20
    device = f.FwCfg(memory, {f.KERNEL_DATA: lambda: bytes(big)}, {})
    dma(device, memory, f.KERNEL_DATA << 16 | SELECT | READ, 1)
    tracemalloc.start()
    for _ in range(100):
        assert dma(device, memory, READ, 1) == 0
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20, "a byte costs no copy of the rest of its item"


def test_it_signs_and_says_what_it_can(device):
    assert by_port(device, f.SIGNATURE, 4) == b"QEMU"
    assert by_port(device, f.ID, 4) == b"\3\0\0\0"
    assert device.read(4, 4).to_bytes(4, "little") + device.read(8, 4).to_bytes(4, "little") == (
        b"QEMU CFG"
    )


def test_an_item_is_followed_by_zeros_and_an_unknown_one_is_empty(device):
    assert by_port(device, f.CPUS, 4) == b"\2\0\0\0"
    assert by_port(device, 0x7777, 3) == b"\0\0\0"


def test_the_directory_lists_files_by_name_and_their_numbers_hold_them(device):
    directory = by_port(device, f.FILE_DIR, 4 + 2 * 64)
    assert directory[:4] == b"\0\0\0\2"
    rows = [struct.unpack_from(">IHH56s", directory, 4 + n * 64) for n in range(2)]
    assert [(size, name.rstrip(b"\0")) for size, _, _, name in rows] == [
        (9, b"opt/a"), (6, b"opt/b")
    ]  # fmt: skip
    assert [by_port(device, key, size) for size, key, _, _ in rows] == [b"first one", b"second"]


def test_an_item_may_be_read_from_its_file_when_it_is_wanted(device):
    assert by_port(device, f.KERNEL_DATA, 7) == b"kernel\0"


def test_dma_selects_skips_and_reads(device, memory):
    assert dma(device, memory, f.FIRST_FILE << 16 | SELECT | SKIP, 6) == 0
    assert dma(device, memory, READ, 3) == 0
    assert memory.read(BUFFER, 4) == b"one\0"
    memory.fill(BUFFER, 8, 0x55)
    assert dma(device, memory, f.CPUS << 16 | SELECT | READ, 5) == 0
    assert memory.read(BUFFER, 8) == b"\2\0\0\0\0\x55\x55\x55"


def test_writing_and_memory_that_is_none_are_errors_and_write_nothing(device, memory):
    assert dma(device, memory, f.CPUS << 16 | SELECT | WRITE, 1) == 1
    memory.fill(SIZE - 4, 4, 0x55)
    assert dma(device, memory, f.CPUS << 16 | SELECT | READ, 5, SIZE - 4) == 1
    assert dma(device, memory, READ, 0xFFFF_FFFF, BUFFER) == 1
    assert dma(device, memory, READ, 1, 1 << 63) == 1
    assert memory.read(SIZE - 4, 4) == b"\x55" * 4


def test_a_request_outside_memory_is_a_device_error(device):
    with pytest.raises(GuestMemoryError):
        device.write(8, 4, 0xFFFF_FFFF)


BAR = 0xFEB0_0000


@pytest.mark.parametrize("control", [READ, f.FIRST_FILE << 16 | SELECT | READ])
@pytest.mark.parametrize(
    ("size", "address"),
    [
        (0xFFFF_FFFF, 0), (0xFFFF_FFFF, BUFFER), (0xFFFF_FFFF, 2**64 - 0x1000),  # 4 GiB
        (16, 2**64 - 8), (SIZE, 2**64 - SIZE + 8), (9, SIZE - 8),  # round the end, and over it
        (9, BAR), (0, BAR), (4, 1 << 40),
    ],
)  # fmt: skip
def test_cve_2023_3494_dma_of_4_gib_around_the_end_or_into_a_bar(
    device, memory, control, size, address
):
    """It is an error that the guest sees; no byte is written, no memory taken."""
    dma(device, memory, f.FIRST_FILE << 16 | SELECT)
    before = memory.read(BUFFER, SIZE - BUFFER)
    tracemalloc.start()
    assert dma(device, memory, control, size, address) == 1
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20
    assert memory.read(BUFFER, SIZE - BUFFER) == before
    assert dma(device, memory, READ, 9) == 0
    assert memory.read(BUFFER, 9) == b"first one"


@pytest.mark.parametrize("at", [2**64 - 16, 2**64 - 8, SIZE - 8, SIZE, BAR])
def test_cve_2023_3494_a_request_that_is_no_ram_is_refused(device, memory, at):
    for offset, half in ((4, at >> 32), (8, at & 0xFFFF_FFFF)):
        written = int.from_bytes(half.to_bytes(4, "big"), "little")
        if offset == 4:
            device.write(offset, 4, written)
        else:
            with pytest.raises(GuestMemoryError):
                device.write(offset, 4, written)
    assert dma(device, memory, f.FIRST_FILE << 16 | SELECT | READ, 9) == 0
    assert memory.read(BUFFER, 9) == b"first one"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([f.SIGNATURE, f.CPUS, 0x20, 0x21, 0x99]), st.integers(0, 31),
            st.integers(0, 2 * SIZE), st.integers(0, 2 * SIZE),
        )
    )
)  # fmt: skip
def test_any_requests_leave_the_offset_inside_the_item(memory, requests):
    device = make(memory)
    for key, what, size, address in requests:
        dma(device, memory, key << 16 | what, size, address)
        assert 0 <= device.offset <= 9


def test_state_round_trips(device, memory):
    dma(device, memory, f.FIRST_FILE << 16 | SELECT | SKIP, 2)
    device.write(4, 4, 1)
    state = device.state()
    device.reset()
    assert device.read(1, 1) == ord("Q")
    device.restore(state)
    assert device.state() == state
    assert device.read(1, 1) == ord("r")
    with pytest.raises(ValueError, match="version"):
        device.restore({**state, "version": 2})
