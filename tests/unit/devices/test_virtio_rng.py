"""virtio-rng as its driver sees it."""

import pytest

from pykvm.devices.virtio.rng import Rng
from tests.support.virtio_driver import BUFFERS, Modern
from tests.support.virtio_probe import DRIVERS
from tests.support.virtqueue import SplitDriver


@pytest.mark.parametrize(("kind", "options"), DRIVERS)
def test_rng_fills_buffers_with_random_bytes(rig, kind, options):
    driver = kind(rig(Rng(), **options)).start()
    assert driver.rig.device.type.kind == 4
    fills = set()
    for _ in range(3):
        driver.rig.memory.write(BUFFERS, bytes(64))
        token = driver.offer(0, (BUFFERS, 10, True), (BUFFERS + 20, 22, True))
        assert driver.used(0) == [(token, 32)]
        data = driver.rig.memory.read(BUFFERS, 64)
        assert data[10:20] + data[42:] == bytes(32)
        fills.add(data)
    assert len(fills) == 3


def test_rng_gives_at_most_a_page_however_much_is_asked(rig):
    driver = Modern(rig(Rng())).start()
    token = driver.offer(0, (BUFFERS, 0x10000, True))
    assert driver.used(0) == [(token, 4096)]
    assert driver.rig.memory.read(BUFFERS + 4096, 4096) == bytes(4096)


def test_rng_has_no_answer_to_a_buffer_that_is_not_writable(rig):
    driver = Modern(rig(Rng())).start()
    token = driver.offer(0, (BUFFERS, 16, False))
    assert driver.used(0) == [(token, 0)]


def test_the_trace_shows_features_kicks_chains_and_interrupts(rig):
    driver = Modern(rig(Rng(), trace=True)).start()
    driver.offer(0, (BUFFERS, 16, True))
    told = [what for what, _ in driver.rig.traced]
    assert told == ["features", "kick", "pop", "push", "interrupt"]
    assert SplitDriver is type(driver.rings[0])
