"""Whatever bytes an image has: a plan, or one clear line; and never more memory than asked for."""

import contextlib
import gzip
import tracemalloc

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pykvm.boot import image
from pykvm.boot.plan import Facts, Mode, Module, Protocol, check_placement
from pykvm.errors import UsageError
from tests.support.images import KIT, LINUX, PVH, bzimage, elf32, elf64, multiboot

RAM = 16 << 20
BASE = 0x100000
SAMPLES = {
    "elf64": elf64(),
    "elf32": elf32(),
    "pvh64": elf64(notes=PVH),
    "pvh32": elf32(notes=PVH),
    "kit": elf64(notes=PVH + KIT),
    "vmlinux": elf64(notes=LINUX),
    "multiboot": multiboot(addresses=(BASE, BASE, 0, BASE + 4096, BASE + 32)),
    "multiboot elf": elf32(BASE + 32, multiboot(), address=BASE),
    "bzimage": bzimage(gzip.compress(elf64())),
}
STARTS = [None, *Mode, *Protocol]
# Where the headers are; a mutation elsewhere hits the payload.
SPOTS = st.one_of(st.integers(0, 200), st.integers(0x1F1, 0x268), st.integers(0, 4000))
MUTATIONS = st.lists(
    st.tuples(SPOTS, st.sampled_from([0, 1, 2, 4, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)),
    min_size=1,
    max_size=8,
)


def attempt(path, data, **options):
    """Plan and place ``data`` as the machine would."""
    path.write_bytes(data)
    with contextlib.suppress(UsageError):
        plan = image.plan(str(path), memory=RAM, **options)
        facts = Facts(RAM, append="a=b", modules=(Module("m", b"x" * 100),))
        segments = [*plan.segments, *plan.handover(facts).segments]
        check_placement("i", segments, [(0, RAM)])
        for segment in segments:
            assert len(segment.data) <= segment.size


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mutations=MUTATIONS, cut=st.integers(0, 60), mode=st.sampled_from(STARTS), kaslr=st.booleans()
)
def test_mutated_headers_end_in_a_plan_or_an_image_error(
    tmp_path, sample, mutations, cut, mode, kaslr
):
    data = bytearray(sample)
    for at, byte in mutations:
        data[at % len(data)] = byte
    attempt(tmp_path / "image", data[: max(len(data) - cut, 1)], mode=mode, kaslr=kaslr)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=300), mode=st.sampled_from(STARTS))
@example(data=b"\x7fELF\x02\x01" + b"\xff" * 300, mode=None)
@example(data=b"\x7fELF\x01\x01" + b"\xff" * 300, mode=None)
def test_any_bytes_end_in_a_plan_or_an_image_error(tmp_path, data, mode):
    attempt(tmp_path / "image", data, mode=mode)


def test_sizes_in_headers_allocate_nothing(tmp_path):
    claims = [
        elf64(segments=((0x100000, b"x", 1 << 62),)),
        bzimage(gzip.compress(bytes(1 << 20))[:-4] + b"\xff\xff\xff\x3f"),
        bzimage(b"\xfd7zXZ\0" + b"\xff" * 100),
        bzimage(b"\x28\xb5\x2f\xfd" + b"\xff" * 100),
        multiboot(addresses=(BASE, BASE, 0, 0xFFFF_FFFF, BASE)),
    ]
    tracemalloc.start()
    try:
        for data in claims:
            attempt(tmp_path / "image", data)
        assert tracemalloc.get_traced_memory()[1] < RAM
    finally:
        tracemalloc.stop()
