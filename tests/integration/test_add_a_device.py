"""The device in docs/add-a-device.md works as it stands there."""

import re
from pathlib import Path

import pytest

from pykvm.errors import PlugError
from pykvm.machine import Config, Machine

PAGE = Path(__file__).parents[2] / "docs" / "add-a-device.md"

# in ring 0, long mode: ADD 3, ADD 4, read SUM into the debug-exit port
GUEST = bytes.fromhex(
    "66ba0003 b803000000 ef"  # mov dx, 0x300; mov eax, 3; out dx, eax
    "b804000000 ef"
    "66ba0403 ed e6f4"  # mov dx, 0x304; in eax, dx; out 0xf4, al
)


def code_blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_device_takes_under_40_lines():
    assert len([line for line in code_blocks()[0].splitlines() if line.strip()]) < 40


@pytest.mark.kvm
def test_the_page_s_device_answers_a_guest(tmp_path):
    scope = {}
    for block in code_blocks():
        exec(block, scope)
    image = tmp_path / "adder.bin"
    image.write_bytes(GUEST)
    assert scope["run"](str(image)).status == (7 << 1) | 1


@pytest.mark.kvm
def test_a_line_that_does_not_exist_is_refused_where_it_is_asked_for(tmp_path):
    image = tmp_path / "halt.bin"
    image.write_bytes(b"\xfa\xf4")
    with pytest.raises(PlugError, match="adder: there is no interrupt line 24"):
        Machine(Config(image=str(image)), add=lambda machine: machine.irq("adder", 24))
