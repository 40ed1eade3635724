"""Which QEMUs the benches compare with, and whether one of them has failed."""

import os

import pytest

from pykvm.bench import qemu
from pykvm.errors import UsageError


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a program into a folder that says it is QEMU of a version."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(qemu.VARIABLE, raising=False)

    def put(folder, version):
        program = tmp_path / folder / qemu.PROGRAM
        program.parent.mkdir(parents=True)
        program.write_text(
            f"#!/bin/sh\necho 'QEMU emulator version {version} (Some 1:{version})'\n"
        )
        program.chmod(0o755)
        return str(program)

    return put


def test_every_qemu_is_found_that_of_path_first(install, monkeypatch):
    cached = install("cache/pykvm/qemu", "11.1.3")
    given, one, two = (install(f"opt/{n}", f"9.{n}") for n in range(3))
    installed = install("bin", "7.2.22")
    monkeypatch.setenv(qemu.VARIABLE, f"{one}:{two}")
    found = qemu.peers([given])
    assert [peer.program for peer in found] == [installed, given, one, two, cached]
    assert [peer.key for peer in found] == [
        "qemu", "qemu-9.0", "qemu-9.1", "qemu-9.2", "qemu-11.1.3",
    ]  # fmt: skip
    assert found[0].title == "QEMU 7.2.22"


def test_a_qemu_that_is_named_twice_is_measured_once(install, tmp_path, monkeypatch):
    installed = install("bin", "7.2.22")
    os.symlink(installed, tmp_path / "link")
    monkeypatch.setenv(qemu.VARIABLE, f"{installed}:{tmp_path / 'link'}:")
    assert len(qemu.peers([installed, qemu.PROGRAM])) == 1


def test_two_builds_of_one_version_have_names_of_their_own(install):
    install("bin", "9.0")
    found = qemu.peers([install("a", "9.1"), install("b", "9.1")])
    assert len({peer.key for peer in found}) == 3


def test_none_is_none(install):
    assert qemu.peers() == []


def test_one_that_was_given_and_does_not_start_is_told(install):
    with pytest.raises(UsageError, match="/no/such"):
        qemu.peers(["/no/such"])


def test_one_in_the_cache_that_does_not_start_is_left_out(install, tmp_path):
    program = tmp_path / "cache/pykvm/qemu" / qemu.PROGRAM
    install("cache/pykvm/qemu", "1")
    program.write_text("#!/no/such/loader\n")
    assert qemu.peers() == []


@pytest.mark.parametrize(
    "said",
    [
        "",
        "qemu-system-x86_64: warning: nic e1000.0 has no peer\n",
        "qemu-system-x86_64: -mon chardev=q,mode=control: warning: '-mon' is deprecated, use\n",
        "/opt/qemu-system-x86_64: info: something\nqemu: warning: x\n  which goes on here\n",
    ],
)
def test_warnings_are_no_failure(said):
    assert qemu.failure(said) is None


@pytest.mark.parametrize(
    "said",
    [
        "qemu-system-x86_64: -device e1001: 'e1001' is not a valid device model name\n",
        "qemu-system-x86_64: could not open the warning: file\n",
        "sh: 1: unshare: not found\n",
    ],
)
def test_whatever_else_it_says_is_one_even_behind_a_warning(said):
    line = said.strip()
    assert qemu.failure(said) == line
    if line.startswith("qemu"):
        assert qemu.failure("qemu-system-x86_64: warning: x\n  more of it\n" + said) == line
