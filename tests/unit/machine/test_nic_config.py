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
