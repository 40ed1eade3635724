"""The command line's contract, held with guests of a few bytes written right here."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kvm

PYKVM = [sys.executable, "-m", "pykvm"]

CLI_HLT = bytes.fromhex("fa f4")
SPIN_FOREVER = bytes.fromhex("fa eb fe")  # cli; jmp $
IDLE = bytes.fromhex("fb f4 eb fc")  # sti; hlt; jmp back
TEXT = b"Hello from real mode!\r\n"


def printer(text, *, real):
    """Prints ``text`` on COM1 with lodsb/outb, then writes 0x21 to port 0xf4."""
    code = bytearray()
    load = 0x1000 if real else 0x100000
    body = bytes.fromhex("fc ac 84 c0 74 03 ee eb f8 b0 21 e6 f4")
    if real:
        code += b"\xba\xf8\x03\xbe" + (load + 6 + len(body)).to_bytes(2, "little")
    else:
        code += b"\x66\xba\xf8\x03\xbe" + (load + 9 + len(body)).to_bytes(4, "little")
    # the loop starts at cld; jumping back lands on lodsb
    return bytes(code) + body + text + b"\0"


def start(*args, **kwargs):
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(
        [*PYKVM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs
    )


def run(*args, **kwargs):
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([*PYKVM, *args], capture_output=True, timeout=60, check=False, **kwargs)


@pytest.fixture
def image(tmp_path):
    """Writes an image file and returns its path."""

    def write(data, name="guest.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
def test_a_guest_prints_exactly_its_text_and_sets_the_exit_status(image, mode):
    done = run("run", image(printer(TEXT, real=mode == "real")), "--mode", mode)
    assert done.stdout == TEXT
    assert done.stderr == b""
    assert done.returncode == 67


def test_a_flat_image_starts_in_long_mode_by_default(image):
    # mov rax, cr0 would say paging; reading EFER.LMA needs long mode's own MSR
    code = bytes.fromhex("b9 80 00 00 c0 0f 32 c1 e8 0a 24 01 e6 f4")
    assert run("run", image(code)).returncode == (1 << 1) | 1


def test_cli_hlt_ends_with_0(image):
    for mode in ("real", "protected", "long"):
        done = run("run", image(CLI_HLT), "--mode", mode)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
def test_ud2_without_an_idt_ends_with_6_and_a_report_that_names_it(image, mode):
    done = run("run", image(bytes.fromhex("90 0f 0b")), "--mode", mode)
    assert done.returncode == 6
    assert b"ud2" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_spinning_guest_is_stopped_by_its_timeout(image):
    done = run("run", image(SPIN_FOREVER), "--timeout", "0.3")
    assert done.returncode == 124
    assert done.stderr.count(b"\n") == 1


def test_an_idle_guest_that_waits_for_interrupts_is_not_halted_for_good(image):
    assert run("run", image(IDLE), "--timeout", "0.6").returncode == 124


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [SPIN_FOREVER, IDLE], ids=["spinning", "idle"])
def test_a_signal_ends_any_guest(image, number, code):
    with start("run", image(b"\xb0\x2e\x66\xba\xf8\x03\xee" + code)) as process:
        assert process.stdout.read(1) == b"."  # it runs
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == -number


def test_a_full_pipe_that_nobody_reads_does_not_keep_the_guest_from_being_stopped(image):
    forever = bytes.fromhex("66 ba f8 03 b0 2e ee eb fd")
    with start("run", image(forever), "--timeout", "3") as process:
        assert process.wait(timeout=30) == 124
        assert set(process.stdout.read()) == {ord(".")}


def test_closing_stdout_is_not_a_crash(image):
    read, write = os.pipe()
    os.close(read)
    text = printer(TEXT, real=False)
    done = subprocess.run(
        [*PYKVM, "run", image(text)], stdout=write, stderr=subprocess.PIPE, timeout=60,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 67
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run"], "IMAGE"),
        (["run", "/nonexistent"], "cannot read"),
        (["run", "/dev/null"], "regular file"),
        (["run", "IMG", "--mode", "virtual"], "choose from"),
        (["run", "IMG", "--memory", "lots"], "128M"),
        (["run", "IMG", "--memory", "1K"], "--memory"),
        (["run", "IMG", "-m", "1M"], "--memory"),
        (["run", "IMG", "--cpus", "0"], "above 0"),
        (["run", "IMG", "--timeout", "-1"], "above 0"),
        (["run", "IMG", "--serial", "telegraph"], "stdio"),
        (["run", "IMG", "--trace", "everything"], "exits"),
        (["run", "IMG", "--trace-file", "/tmp/x"], "--trace"),
        (["run", "IMG", "-m", "5G", "--load-addr", "0xc0000000"], "hole"),
        (["run", "IMG", "--load-addr", "0x9000"], "overlaps"),
        (["run", "IMG", "--mode", "real", "--load-addr", "0x20000"], "too high"),
        (["run", "IMG", "--initrd", "/nonexistent"], "initrd"),
        (["run", "IMG", "--append", "x" * 5000], "4095"),
        (["fly"], "fly"),
    ],
)
def test_bad_usage_is_one_clear_line_and_status_2(image, args, says):
    path = image(b"\xf4" * 32)
    done = run(*[path if a == "IMG" else a for a in args])
    assert done.returncode == 2
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("pykvm")
    assert says in lines[0]


def test_an_image_or_initrd_that_is_a_pipe_without_a_writer_is_refused_at_once(image, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for args in ([str(pipe)], [image(CLI_HLT), "--initrd", str(pipe)]):
        done = run("run", *args)
        assert done.returncode == 2
        assert b"not a regular file" in done.stderr


def test_an_error_is_one_line_even_about_a_name_of_two_lines():
    done = run("run", "/nonexistent/two\nlines")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


def test_a_command_line_of_any_bytes_reaches_the_guest(image):
    # rdi: boot info; its command line is at 32; the first byte becomes the exit status
    code = bytes.fromhex("48 8b 77 20 8a 06 e6 f4")
    done = run("run", image(code), "--append", os.fsdecode(b"\x7f\xff\xfe"))
    assert done.returncode == 0xFF, done.stderr


@pytest.mark.parametrize("entry", ["0xffffffffffffffff", "0xffff8000000000", "0x8000000000000000"])
def test_an_entry_where_nothing_is_ends_with_a_report(image, entry):
    done = run("run", image(CLI_HLT), "--entry", entry, "--timeout", "20")
    assert done.returncode == 6, done.stderr
    assert b"pykvm: guest crash: triple fault" in done.stderr


def test_an_empty_image_is_refused(image):
    done = run("run", image(b""))
    assert done.returncode == 2
    assert b"empty" in done.stderr


def test_an_image_bigger_than_memory_is_refused(image):
    done = run("run", image(bytes(3 << 20)), "-m", "2M")
    assert done.returncode == 2
    assert b"--memory" in done.stderr


def test_without_kvm_the_status_is_4_and_the_line_says_what_to_do(image):
    script = (
        "import pykvm.kvm.system as s; s.Kvm.__init__.__defaults__ = ('/nonexistent/kvm',); "
        "import sys; from pykvm.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "run", image(CLI_HLT)], capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert b"modprobe" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_serial_output_can_go_to_a_file(image, tmp_path):
    out = tmp_path / "serial.txt"
    done = run("run", image(printer(TEXT, real=False)), "--serial", f"file:{out}")
    assert done.returncode == 67
    assert done.stdout == b""
    assert out.read_bytes() == TEXT


def test_standard_input_reaches_the_guest(image):
    # read LSR until data is ready, add 1, send it back, exit
    code = bytes.fromhex("66 ba fd 03 ec a8 01 74 fb b2 f8 ec fe c0 ee b0 00 e6 f4")
    done = run("run", image(code), stdin=None, input=b"A")
    assert done.stdout == b"B"
    assert done.returncode == 1


def test_the_start_is_entered_where_the_user_says(image):
    code = b"\xb0\x01\xe6\xf4" + b"\xb0\x02\xe6\xf4"
    path = image(code)
    assert run("run", path, "--load-addr", "0x200000").returncode == 3
    assert run("run", path, "--load-addr", "0x200000", "--entry", "0x200004").returncode == 5


def test_a_crash_shows_registers_and_the_last_exits(image):
    code = bytes.fromhex("b8 78 56 34 12 e6 80 0f 0b")
    err = run("run", image(code)).stderr.decode().lower()
    assert "12345678" in err
    assert "triple fault" in err
    assert "0x0080" in err or "0x80" in err


def test_an_exit_the_host_cannot_emulate_is_reported(image):
    done = run("run", image(b"\x0f\xff\xff"), "--timeout", "20")  # ud0: nobody emulates it
    assert done.returncode == 6
    assert b"rip" in done.stderr.lower()


@pytest.mark.parametrize("reset", ["b0fe e664", "66baf90cb006ee"], ids=["0x64", "0xcf9"])
def test_a_reset_ends_the_run_at_once(image, reset):
    exits_with_3 = bytes.fromhex("b001 e6f4")
    assert run("run", image(bytes.fromhex(reset) + exits_with_3)).returncode == 0


def test_many_timeouts_leave_no_process_behind(image):
    path = image(SPIN_FOREVER)
    processes = [start("run", path, "--timeout", "0.2") for _ in range(4)]
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 124


def test_a_stack_outside_ram_is_named_as_the_cause(image):
    # mov rsp, 0xd0000000; ud2
    done = run("run", image(bytes.fromhex("bc000000d0 0f0b")))
    assert done.returncode == 6
    assert b"the stack at RSP 0xd0000000 is not in RAM" in done.stderr


def test_the_debug_console_writes_where_it_is_told(image, tmp_path):
    code = bytes.fromhex("b068 e6e9 66ba0204 b069 ee e4e9 e6f4")  # "h" to 0xe9, "i" to 0x402
    done = run("run", image(code), "--debugcon", f"file:{tmp_path}/log")
    assert (done.stdout, done.returncode) == (b"", (0xE9 << 1 | 1) & 0xFF)
    assert (tmp_path / "log").read_bytes() == b"hi"
    done = run("run", image(code), "--serial", "null", "--debugcon", "stdio")
    assert done.stdout == b"hi"


def test_a_panic_that_the_guest_tells_ends_with_6_and_a_line(image):
    done = run("run", image(bytes.fromhex("66ba0505 b001 ee ebfe")))
    assert done.returncode == 6
    assert done.stderr == b"pykvm: the guest panicked, and said so by pvpanic\n"


@pytest.mark.parametrize("base", [2**64 - 16, 2**64 - 1, 2**63, 0x8000_0000_0000])
@pytest.mark.parametrize("code", ["cd 42", "cc", "48 cf", "0f 01 d0"])  # int, int3, iretq, xgetbv
def test_an_idt_where_addresses_end_is_the_guest_s_crash(image, base, code):
    # lidt [rip + 4]; jmp over nothing; the instruction; then limit and base
    body = bytes.fromhex(code) + b"\xf4" * 8
    guest = b"\x0f\x01\x1d" + len(body).to_bytes(4, "little") + body
    done = run("run", "--timeout", "20", image(guest + b"\xff\xff" + base.to_bytes(8, "little")))
    assert done.returncode in (0, 6), done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("stack", [2**64 - 8, 2**64 - 3, 4, 0])
@pytest.mark.parametrize("code", ["48 cf", "66 0f 6f 04 24", "f3 48 0f b8 04 24"])
def test_a_stack_where_addresses_end_is_survived(image, stack, code):
    guest = b"\x48\xbc" + stack.to_bytes(8, "little") + bytes.fromhex(code) + b"\xfa\xf4"
    done = run("run", "--timeout", "20", image(guest))
    assert done.returncode in (0, 6), done.stderr
    assert b"Traceback" not in done.stderr
