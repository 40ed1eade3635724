"""Network cards as a guest meets them: several of them, their backends, their trace."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.kvm

BUILD = Path(__file__).parents[2] / "guest" / "build"
PYKVM = str(Path(sys.executable).parent / "pykvm")


def run(image, *args, timeout=60):
    return subprocess.run(
        [PYKVM, "run", str(BUILD / image), *args], capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_two_guests_talk_over_a_socket(tmp_path):
    wire = f"e1000,backend=socket:{tmp_path}/wire"
    receiver = subprocess.Popen(
        [PYKVM, "run", str(BUILD / "e1000_stream.elf"), "--nic", wire, "--append",
         "mode=rx frames=2000 size=200", "--timeout", "60"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in receiver.stdout:
        if line.strip() == "READY":
            break
    sent = run("e1000_stream.elf", "--nic", wire, "--append", "mode=tx frames=2000 size=200")
    out, _ = receiver.communicate(timeout=60)
    assert sent.returncode == receiver.returncode == 1, sent.stdout + out
    assert "2000 of 2000 frames, 0 lost, 0 corrupt, 0 repeated, 0 out of order" in out


def test_a_recording_can_be_read_and_holds_every_frame(tmp_path):
    from dpkt import pcapng

    path = tmp_path / "out.pcapng"
    done = run("e1000_stream.elf", "--nic", f"e1000,pcap={path}", "--append", "frames=300 size=100")
    assert done.returncode == 1
    with path.open("rb") as file:
        packets = [data for _, data in pcapng.Reader(file)]
    assert [int.from_bytes(packet[14:18], "little") for packet in packets] == list(range(300))


def test_a_network_can_be_a_python_function(tmp_path):
    (tmp_path / "network.py").write_text(
        "import os\n"
        "def count(frame):\n"
        "    with open(os.environ['COUNT'], 'ab') as file:\n"
        "        file.write(b'.')\n"
    )
    count = tmp_path / "count"
    done = subprocess.run(
        [PYKVM, "run", str(BUILD / "e1000_stream.elf"), "--nic",
         "e1000,backend=python:network:count", "--append", "frames=50 size=100"],
        cwd=tmp_path, env=os.environ | {"COUNT": str(count)}, capture_output=True, timeout=60,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert count.read_bytes() == b"." * 50


def test_each_card_has_its_own_address_and_the_second_works_too():
    done = run("e1000_basic.elf", "--nic", "e1000", "--nic", "e1000,mac=02:00:00:00:00:07")
    assert done.returncode == 1, done.stdout


def test_the_trace_names_registers_descriptors_frames_and_interrupts():
    done = run("e1000_basic.elf", "--nic", "e1000", "--trace", "e1000")
    assert done.returncode == 1
    for part in (
        "e1000-0.TDT = ", "e1000-0.RCTL = ", "EN", "interrupt causes=RXT0",
        "tx descriptor index=0x0 kind=legacy", "command=EOP|IFCS|RS", "length=0x3c",
        "rx descriptor index=0x0", "status=DD|EOP", "sent 52:54:00:12:34:56 > ", ", 60 bytes",
    ):  # fmt: skip
        assert part in done.stderr, part


@pytest.mark.parametrize(
    ("nic", "says"),
    [
        ("ne2000", "e1000"),
        ("e1000,backend=smoke", "it takes null"),
        ("e1000,mac=1:2:3", "unicast MAC"),
        ("e1000,mac=ff:ff:ff:ff:ff:ff", "unicast MAC"),
        ("e1000,colour=red", "e1000 takes backend="),
        ("e1000,mac=02:00:00:00:00:07,mac=02:00:00:00:00:08", "twice"),
    ],
)
def test_a_bad_card_is_one_clear_line_and_status_2(nic, says):
    done = run("hello.elf", "--nic", nic)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_tap_that_cannot_be_opened_is_status_4_with_the_command_that_makes_one(tmp_path):
    done = run("hello.elf", "--nic", "e1000,backend=tap:lo")
    assert done.returncode == 4
    assert "ip tuntap add lo" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.tap
def test_a_tap_that_does_not_exist_is_status_4_and_is_not_made():
    done = run("hello.elf", "--nic", "e1000,backend=tap:pykvm-none0")
    assert done.returncode == 4
    assert "no such interface" in done.stderr
    assert "ip tuntap add pykvm-none0" in done.stderr
    assert done.stdout == ""


def test_what_a_hostile_guest_does_to_a_traced_card_is_told_and_hangs_nothing():
    nics = ("--nic", "e1000", "--nic", "e1000")
    done = run("e1000_hostile.elf", *nics, "--trace", "irq,e1000-0")
    assert done.returncode == 1, done.stdout
    assert "e1000-0 error message=" in done.stderr


@pytest.mark.parametrize("how", ["--timeout", "SIGINT"])
@pytest.mark.parametrize(
    ("image", "nic"),
    [
        ("e1000_flood.elf", "e1000,backend=loopback"),
        ("e1000_flood.elf", "e1000,engine=python"),
        ("virtio_net_flood.elf", "virtio-net,backend=loopback"),
        ("virtio_net_flood.elf", "virtio-net,engine=python"),
    ],
)
def test_a_ring_of_requests_that_become_millions_of_frames_does_not_keep_a_run_from_ending(
    image, nic, how
):
    """All of them are most of a minute of work, or many, for a card in Python."""
    limit = ("--timeout", "5") if how == "--timeout" else ()
    process = subprocess.Popen(
        [PYKVM, "run", str(BUILD / image), "--nic", nic, *limit],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert any("RINGING" in line for line in process.stdout)
        if not limit:
            time.sleep(0.5)  # until the card is at it
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == (124 if limit else -signal.SIGINT)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("options", ["engine=python", "backend=loopback", "pcap=/dev/null"])
def test_coalescing_is_refused_where_nothing_could_merge_or_cut(options):
    done = run("hello.elf", "--nic", f"e1000,coalesce=on,{options}")
    assert done.returncode == 2
    assert "coalesce=on needs the backend null or tap" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_traced_card_shows_every_frame_that_it_would_merge():
    done = run("e1000_stream.elf", "--nic", "e1000,coalesce=on", "--trace", "e1000-0", "--append",
               "frames=3 size=100")  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("e1000-0 sent") == 3, done.stderr
