"""What the benches have in C, beside its meaning in Python."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from pykvm.kvm.abi import ffi, lib


def stream(offset, size):
    """Bytes of the stream whose word number k is k."""
    first = offset // 8
    words = range(first, (offset + size) // 8 + 1)
    return struct.pack(f"<{len(words)}Q", *words)[offset - first * 8 :][:size]


def counted(data, offset):
    return lib.pk_floor_counted(ffi.from_buffer(data), len(data), offset)


places = st.integers(0, 1 << 40)


@given(places, st.integers(0, 200))
def test_the_right_bytes_are_right_wherever_they_are_cut(offset, size):
    assert counted(bytearray(stream(offset, size)), offset) == size


@given(places, st.integers(1, 200), st.data())
def test_the_first_wrong_byte_is_found(offset, size, data):
    wrong = bytearray(stream(offset, size))
    at = data.draw(st.integers(0, size - 1))
    wrong[at] ^= data.draw(st.integers(1, 255))
    for later in range(at + 1, size, 3):
        wrong[later] ^= 0x55
    assert counted(wrong, offset) == at


def test_a_stream_that_repeats_a_word_or_skips_one_is_wrong_there():
    whole = stream(0, 80)
    assert counted(bytearray(whole[:40] + whole[32:]), 0) == 40
    assert counted(bytearray(whole[:40] + whole[48:]), 0) == 40


def test_a_flood_that_would_number_past_its_frame_is_refused():
    frames = bytearray(64)
    for size, stride, buffers, at in ((60, 64, 1, 57), (65, 64, 1, 14), (60, 64, 0, 14)):
        sent = lib.pk_floor_flood(
            -1, b"", 0, ffi.from_buffer(frames), size, stride, buffers, at, 0, 1
        )
        assert sent < 0
    assert frames == bytes(64)
