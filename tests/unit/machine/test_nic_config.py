"""``--nic``: what it takes, and the one line that says what it does not."""

import pytest

from pykvm.errors import UsageError
from pykvm.machine.config import NicConfig


def test_coalescing_is_off_unless_it_is_asked_for():
    assert not NicConfig.parse("e1000").coalesce
    assert not NicConfig.parse("e1000,coalesce=off").coalesce
    assert NicConfig.parse("e1000,backend=tap:tap0,coalesce=on").coalesce


@pytest.mark.parametrize("text", ["e1000,coalesce=maybe", "e1000,coalesce", "e1000,coalesce="])
def test_coalescing_is_on_or_off(text):
    with pytest.raises(UsageError, match="coalesce"):
        NicConfig.parse(text)


def test_a_card_may_have_an_option_rom():
    assert NicConfig.parse("e1000").rom is None
    for model in ("e1000", "virtio-net"):
        assert NicConfig.parse(f"{model},rom=/a/file").rom == "/a/file"


def test_the_host_cuts_segments_unless_the_card_is_told_to():
    assert NicConfig.parse("e1000").tso == "host"
    assert NicConfig.parse("e1000,tso=card").tso == "card"
    with pytest.raises(UsageError, match="no tso 'nobody'; it takes host, card"):
        NicConfig.parse("e1000,tso=nobody")
    with pytest.raises(UsageError, match="tso=card"):
        NicConfig.parse("virtio-net,tso=card")


def test_a_ring_has_a_power_of_two_of_entries():
    assert NicConfig.parse("virtio-net").ring == 1024
    for entries in (64, 4096, 32768):
        assert NicConfig.parse(f"virtio-net,ring={entries},packed=on").ring == entries


@pytest.mark.parametrize("value", ["0", "32", "1000", "65536", "-64", "1k"])
def test_no_other_ring_is_taken(value):
    with pytest.raises(UsageError, match=f"ring={value}; it takes a power of two from 64 to 32768"):
        NicConfig.parse(f"virtio-net,ring={value}")


def test_only_virtio_net_has_a_ring_to_choose():
    with pytest.raises(UsageError, match="'ring=256'; e1000 takes"):
        NicConfig.parse("e1000,ring=256")
