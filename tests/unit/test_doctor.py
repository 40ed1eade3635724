"""doctor: findings as data, each problem with its cure."""

import json

import pytest

from pykvm import doctor
from pykvm.cli.main import main
from pykvm.doctor import FAIL, OK, WARN, Check
from pykvm.errors import HostError
from pykvm.kvm.abi import capability


def test_every_capability_it_asks_for_is_one_that_the_header_names():
    assert all(capability(name) is not None for name in doctor.CAPABILITIES)


def test_a_host_without_kvm_fails_with_the_command_that_mends_it(monkeypatch, capsys):
    def absent(path="/dev/kvm"):
        raise HostError("/dev/kvm: no such device; load the module: sudo modprobe kvm_intel")

    monkeypatch.setattr(doctor, "Kvm", absent)
    assert main(["doctor"]) == 4
    out = capsys.readouterr().out
    assert "-> load the module: sudo modprobe kvm_intel" in out
    assert "guests cannot run here" in out


def test_json_holds_the_same_findings_as_the_table(monkeypatch, capsys):
    found = [Check("a", "b", OK, "yes"), Check("c", "d", WARN, "no", "do it")]
    monkeypatch.setattr(doctor, "checks", lambda: found)
    assert main(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["version"], data["can_run"]) == (1, True)
    assert [check["name"] for check in data["checks"]] == ["a", "c"]
    assert data["checks"][1]["mend"] == "do it"


def test_only_a_failure_keeps_guests_from_running():
    assert doctor.can_run([Check("a", "b", WARN, "no")])
    assert not doctor.can_run([Check("a", "b", FAIL, "no")])


@pytest.mark.parametrize(
    ("ring", "finished", "status", "found"),
    [
        (0, False, OK, "system calls arrive in ring 0"),
        (3, True, WARN, "system calls arrive in ring 3, and pykvm takes them to ring 0"),
        (3, False, WARN, "system calls arrive in ring 3: no program runs"),
        (None, False, WARN, "system calls never arrive: no program runs"),
    ],
)
@pytest.mark.kvm
def test_linux_programs_need_system_calls_in_ring_0(monkeypatch, ring, finished, status, found):
    monkeypatch.setattr(doctor.probe_syscall, "ring", lambda kvm: ring)
    monkeypatch.setattr(doctor.probe_syscall, "must_be_finished", lambda kvm: finished)
    (check,) = (check for check in doctor.checks() if check.name == "Linux user space")
    assert (check.status, check.found) == (status, found)


@pytest.mark.kvm
def test_this_host_can_run_guests(capsys):
    assert main(["doctor"]) == 0
    assert "an OUT left the guest" in capsys.readouterr().out
