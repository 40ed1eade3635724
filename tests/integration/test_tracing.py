"""Tracing real guests: nothing is lost, everything is named, the guest is not disturbed."""

import gc
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pykvm.kvm.stats import available
from pykvm.kvm.system import Kvm
from pykvm.kvm.vm import Vm
from pykvm.memory import GuestMemory

pytestmark = pytest.mark.kvm

EXITS = 100_000


def run(image, *args):
    return subprocess.run(
        [sys.executable, "-m", "pykvm", "run", str(image), *args],
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


@pytest.fixture
def image(tmp_path):
    def write(text):
        path = tmp_path / "guest.bin"
        path.write_bytes(bytes.fromhex(text))
        return path

    return write


def test_100000_exits_with_tracing_to_a_file_lose_none(image, tmp_path):
    # mov ecx, EXITS; again: mov eax, ecx; out 0x80, al; dec ecx; jnz again; out 0xf4, al
    guest = image("b9" + EXITS.to_bytes(4, "little").hex() + "89c8 e680 ffc9 75f8 31c0 e6f4")
    trace = tmp_path / "trace.txt"
    stats = tmp_path / "stats.json"
    done = run(guest, "--trace", "exits", "--trace-file", str(trace), "--stats-json", str(stats))
    assert done.returncode == 1
    lines = trace.read_text().splitlines()
    codes = [int(line.split("postcode.CODE = ")[1].split()[0], 0) for line in lines[:-1]]
    assert codes == [n & 0xFF for n in range(EXITS, 0, -1)]
    assert "debugexit.EXIT" in lines[-1]
    rows = {row["device"]: row["count"] for row in json.loads(stats.read_text())["rows"]}
    assert rows == {"postcode": EXITS, "debugexit": 1}


def test_debug_prints_each_exit_with_register_and_instruction(image):
    # mov dx, 0x3fb; mov al, 3; out dx, al; in al, dx; mov eax, [0xe0000000]; out 0xf4, al
    guest = image("66bafb03 b003 ee ec bb000000e0 8b03 8903 31c0 e6f4")
    done = run(guest, "--debug")
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert [line.split()[2] for line in lines] == ["IO", "IO", "MMIO", "MMIO", "IO"]
    assert "out 0x03fb/1  uart0.LCR = 0x3 WLS=8" in lines[0]
    assert lines[0].endswith("out dx, al")
    assert "in  0x03fb/1  uart0.LCR = 0x3" in lines[1]
    assert lines[1].endswith("in al, dx")
    assert "ld  0xe0000000/4  unclaimed = 0xffffffff" in lines[2]
    assert lines[2].endswith("mov eax, dword ptr [rbx]")
    assert lines[3].endswith("mov dword ptr [rbx], eax")
    assert "debugexit.EXIT = 0x0" in lines[4]


def test_a_device_s_name_selects_its_exits(image):
    guest = image("b001 e680 66bafb03 ee 31c0 e6f4")
    lines = run(guest, "--trace", "uart").stderr.splitlines()
    assert len(lines) == 1
    assert "uart0.LCR" in lines[0]


def test_a_string_instruction_is_one_line_with_its_count(image):
    # rep outsb of "hi" to COM1
    guest = image("66baf803 b902000000 be15001000 fc f36e 31c0 e6f4" + b"hi".hex())
    done = run(guest, "--trace", "uart")
    assert done.stdout == "hi"
    assert "*2" in done.stderr or done.stderr.count("THR") == 2


def test_stats_print_a_table_at_the_end(image):
    done = run(image("b001 e680 e680 31c0 e6f4"), "--stats")
    assert re.search(r"postcode +CODE +2 ", done.stderr)
    assert "66.7%" in done.stderr


def test_stats_end_with_what_kvm_counts_where_it_does(image, tmp_path):
    stats = tmp_path / "stats.json"
    done = run(image("b001 e680 e680 31c0 e6f4"), "--stats", "--stats-json", str(stats))
    kernel = json.loads(stats.read_text())["kernel"]
    with Kvm() as kvm, GuestMemory(1 << 16) as memory, Vm(kvm, memory) as vm:
        tells = available(vm.create_vcpu().fd)
    assert list(kernel) == (["0"] if tells else [])
    assert ("\nvcpu 0 inside KVM: " in done.stderr) == tells
    if tells:
        assert kernel["0"]["exits"] >= 3
        assert kernel["0"]["fpu_reload"] >= 3


def test_a_run_without_stats_does_not_load_them(image):
    guest = image("31c0 e6f4")
    command = [sys.executable, "-X", "importtime", "-m", "pykvm", "run", str(guest)]
    for more, loaded in (([], False), (["--stats"], True)):
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        for module in ("pykvm.kvm.stats", "pykvm.trace.kernel"):
            assert (module in done.stderr) == loaded


def test_output_is_the_same_with_and_without_a_trace(image):
    guest = image("66baf803 b041 ee fec0 ee 31c0 e6f4")
    assert run(guest).stdout == run(guest, "--debug", "--stats").stdout == "AB"


def test_a_trace_file_that_cannot_be_written_is_one_line(image):
    done = run(image("f4"), "--debug", "--trace-file", "/nonexistent/x")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def virtio_lines(guest, append):
    """What ``--trace virtio`` prints of a guest's card over a loop back, and what the guest has
    counted itself."""
    stream = Path(__file__).parents[2] / "guest" / "build" / f"{guest}.elf"
    nic = "virtio-net,backend=loopback,packed=on"
    done = run(stream, "--nic", nic, "--trace", "virtio", "--append", append)
    assert done.returncode == 1, done.stdout + done.stderr[-2000:]
    lines = [line.split("  dev   virtio-net-0 ")[1] for line in done.stderr.splitlines()
             if "  dev   virtio-net-0 " in line]  # fmt: skip
    counted = dict(word.split()[:2] for word in re.findall(r"(?:kicks|packets) \d+", done.stdout))
    return lines, {name: int(value) for name, value in counted.items()}


@pytest.mark.parametrize("append", ["", "event_idx=0", "packed=1"])
def test_what_goes_on_in_a_virtio_device_s_queues_is_shown(append):
    frames = 300
    lines, counted = virtio_lines("virtio_net_stream", f"frames={frames} batch=150 {append}")
    count = Counter(" ".join(line.split()[:2]) for line in lines)
    (agreed,) = [line for line in lines if line.startswith("features")]
    assert agreed.startswith("features accepted=")
    assert ("EVENT_IDX" in agreed) == ("event_idx=0" not in append)
    assert ("RING_PACKED" in agreed) == ("packed=1" in append)
    for queue in ("0x0", "0x1"):
        assert count[f"pop queue={queue}"] == count[f"push queue={queue}"] == frames
    assert count["kick queue=0x1"] == counted["kicks"]
    flushed = [line for line in lines if line.startswith("interrupt")]
    for queue in ("0x0", "0x1"):
        chains = [int(line.split("chains=")[1], 0) for line in flushed if f"queue={queue}" in line]
        assert sum(chains) == frames
    # The card is done with what a turn has room for before the driver looks.
    assert any(line.startswith("interrupt suppressed") for line in flushed)
    assert sum(line.startswith("sent ") for line in lines) == frames
    assert sum(line.startswith("received ") for line in lines) == frames


def test_interrupts_of_a_virtio_device_are_shown_by_queue():
    lines, _ = virtio_lines("virtio_net_vectors", "")
    for queue in ("0x0", "0x1"):
        for what in ("interrupt", "interrupt suppressed"):
            assert f"{what} queue={queue} chains=0x1" in lines


def test_statistics_that_cannot_be_written_are_told_of_before_the_guest_runs(image):
    done = run(image("66baf803 b041 ee f4"), "--stats-json", "/nonexistent/x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "pykvm: --stats-json /nonexistent/x: No such file or directory\n"


def test_a_tracer_without_sinks_leaves_exits_to_the_native_side(image):
    from pykvm.machine import Config, Machine
    from pykvm.trace.recorder import Tracer

    config = Config(image=str(image("31c0 e6f4")), serial="null", timeout=20)
    with Machine(config, tracer=Tracer(warn=print)) as machine:
        assert machine.threads[0].observer is None
        assert machine.run().status == 1


def test_a_tracer_that_only_counts_leaves_exits_to_the_native_side(image):
    from pykvm.machine import Config, Machine
    from pykvm.trace.recorder import Tracer
    from pykvm.trace.stats import Statistics

    tracer = Tracer(warn=print, inside=False)
    tracer.add(Statistics())
    config = Config(image=str(image("31c0 e6f4")), serial="null", timeout=20)
    with Machine(config, tracer=tracer) as machine:
        assert machine.teller("some-device") is None
        assert machine.run().status == 1
        assert machine.threads[0].observer is not None
        assert not machine.threads[0].vcpu.native.observe


def moved(tmp_path, nic, *args, frames=20_000):
    """What ``--stats-json``, the guest and stderr tell of frames that it sends to nowhere."""
    stream = Path(__file__).parents[2] / "guest" / "build" / "netstream.elf"
    stats = tmp_path / "stats.json"
    done = subprocess.run(
        [sys.executable, "-m", "pykvm", "run", str(stream), "--nic", f"{nic},backend=null",
         "--append", f"count={frames}", "--stats-json", str(stats), *args],
        capture_output=True, text=True, timeout=120, input="go", check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr[-2000:]
    words = re.search(r"STREAM (.*)", done.stdout)[1].split()
    return json.loads(stats.read_text()), dict(word.split("=") for word in words), done.stderr


def rows_of(data, register):
    return sum(row["count"] for row in data["rows"] if row["register"] == register)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("model", ["e1000", "virtio-net"])
def test_only_a_trace_takes_cards_from_their_native_engines(image, model, inside):
    from pykvm.machine import Config, Machine
    from pykvm.machine.config import NicConfig
    from pykvm.trace.recorder import Tracer

    config = Config(
        image=str(image("31c0 e6f4")), serial="null", timeout=20,
        nics=(NicConfig.parse(f"{model},backend=null"),),
    )  # fmt: skip
    with Machine(config, tracer=Tracer(warn=print, inside=inside)) as machine:
        (card,) = machine.cards.values()
        assert type(card.engine).__name__ == ("ReferenceEngine" if inside else "NativeEngine")
    del card, machine
    gc.collect()  # the card's descriptors go with it


def test_counting_shows_the_exits_that_c_answers(tmp_path):
    data, guest, _ = moved(tmp_path, "e1000,engine=vcpu")  # each TDT exits
    rows = {row["register"]: row for row in data["rows"] if row["device"] == "e1000-0"}
    assert rows["TDT"]["count"] >= int(guest["kicks"]) == 20_000
    assert rows["ICR"]["reason"] == "MMIO ld"
    for register in ("TDT", "ICR"):
        ns = rows[register]["user_ns"]
        assert 0 < ns["min"] <= ns["median"] <= ns["p99"] < ns["total"]


@pytest.mark.parametrize(
    "nic", ["e1000", "e1000,engine=vcpu", "virtio-net", "virtio-net,engine=vcpu"]
)
def test_what_a_card_has_done_is_what_the_guest_says(tmp_path, nic):
    data, guest, said = moved(tmp_path, nic, "--stats")
    (row,) = data["cards"]
    assert row["sent"] == int(guest["frames"]) == 20_000
    assert row["received"] == 0
    # The driver kicks a few times when it starts, which the guest does not count.
    assert 0 <= row["kicks"] - int(guest["kicks"]) <= 8
    assert row["interrupts"] >= int(guest["interrupts"])
    assert 0 < row["batches"] <= 20_000
    if nic.startswith("virtio"):
        assert row["batches"] - row["unrung"] <= row["kicks"]
        assert row["interrupts"] + row["spared"] >= row["batches"]
    if nic.endswith("vcpu"):
        assert row["by_vcpu"] > 0
        assert row["naps"] == 0
    assert re.search(rf"^{row['card']} +0 +{row['kicks']} ", said, re.MULTILINE)


@pytest.mark.parametrize("kind", ["e1000-0", "exits"])
def test_what_a_trace_changes_about_network_cards_is_said_first(tmp_path, kind):
    trace = tmp_path / "trace.txt"
    _, _, said = moved(tmp_path, "e1000", "--trace", kind, "--trace-file", str(trace), frames=200)
    assert said == ("pykvm: traced cards move frames in Python, and every exit passes through it\n")
