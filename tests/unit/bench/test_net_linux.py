"""A Linux guest's stream: what its init says, how it is asked."""

import pytest

from pykvm.bench import net_linux
from pykvm.errors import PykvmError


def test_the_seconds_are_the_guest_s():
    assert net_linux.parse("INIT ok stream: 4096 bytes in 1500000 us", 4096) == 1.5


@pytest.mark.parametrize(
    "line",
    [
        "INIT FAIL stream: connect: error 111",
        "INIT ok stream: 4095 bytes in 1500000 us",
        "INIT ok stream: 4096 bytes in 0 us",
        "INIT ok stream: ",
        "stream: what",
    ],
)
def test_a_stream_that_did_not_go_whole_is_an_error(line):
    with pytest.raises(PykvmError, match="the Linux guest said"):
        net_linux.parse(line, 4096)


def test_the_command_line_asks_for_the_stream():
    words = net_linux.append(4096).split()
    assert "pykvm.stream=tcp,10.77.0.1,5001,4096" in words
    assert "pykvm.end=debug" in words
