"""The probe for system calls, on a real vCPU."""

import pytest

from pykvm.kvm.system import Kvm
from pykvm.machine import probe_syscall

pytestmark = pytest.mark.kvm


def test_a_call_from_ring_0_is_seen_to_arrive_there():
    with Kvm() as kvm:
        assert probe_syscall.ring(kvm, caller=0) == 0


def test_a_call_from_ring_3_arrives_in_ring_0_or_stays_where_it_was():
    with Kvm() as kvm:
        assert probe_syscall.ring(kvm) in (0, 3)


def test_an_entry_that_is_never_reached_is_none(monkeypatch):
    monkeypatch.setattr(probe_syscall, "_CALL", b"\xeb\xfe")  # jmp to itself
    with Kvm() as kvm:
        assert probe_syscall.ring(kvm) is None
