"""Every exit reason that <linux/kvm.h> names has a deliberate answer."""

import pytest

from pykvm.kvm.abi import exit_names
from pykvm.machine.vcpu_thread import ANSWERS


@pytest.mark.parametrize("name", sorted(exit_names().values()))
def test_the_exit_reason_has_an_answer(name):
    assert name in ANSWERS


def test_the_header_names_the_reasons_that_matter():
    assert {"IO", "MMIO", "HLT", "SHUTDOWN", "INTERNAL_ERROR"} <= set(exit_names().values())
