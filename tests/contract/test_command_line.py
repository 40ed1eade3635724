"""``pykvm run``'s options, as ``quick.py`` reads them and as argparse does: never two answers."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pykvm.cli import quick, run
from pykvm.cli.parser import parser

PLAIN = [
    [],
    ["image"],
    ["image", "--memory", "64M", "--append", "console=ttyS0 panic=-1"],
    ["-m", "2G", "--cpus=4", "image"],
    ["--nic", "e1000", "image", "--nic=virtio-net,backend=tap:tap0", "--disk", "a", "--disk", "b"],
    ["--append", "", "--append=-x", "--rng", "--no-acpi", "image", "--timeout", "1e1"],
    ["--mode=real", "--load-addr", "0x7c00", "--entry", "31744", "image"],
    ["--mode=real", "--mode=long", "--firmware", "rom", "--debug", "--debug"],
    [""],
]
NOT_PLAIN = [
    ["--help"], ["-h", "image"], ["--", "image"], ["-m64M", "image"], ["-m=64M", "image"],
    ["image", "another"], ["--memory"], ["--memory", "-1", "image"], ["--memory", "64X"],
    ["--rng=on"], ["--mem", "64M"], ["--mode", "unreal"], ["--cpus", "0"], ["-"], ["--no-such"],
    ["--timeout", "soon"], ["--load-addr=-1"], ["--cpus", "many", "image"], ["image", "--append"],
]  # fmt: skip
WORDS = sorted({word for line in PLAIN + NOT_PLAIN for word in line})


def slowly(arguments):
    """What argparse says; None for help and errors."""
    try:
        return vars(parser("run").parse_args(["run", *arguments]))
    except SystemExit:
        return None


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_a_plain_command_line_takes_no_argparse(arguments):
    assert vars(quick.parse(run.add, arguments)) == slowly(arguments)


@pytest.mark.parametrize("arguments", NOT_PLAIN, ids=" ".join)
def test_all_else_is_left_to_argparse(arguments):
    assert quick.parse(run.add, arguments) is None


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=6))
@example(["--append", "=", "a=b"])
@example(["--memory=", "image"])
def test_what_is_read_without_argparse_is_what_argparse_reads(arguments):
    found = quick.parse(run.add, arguments)
    assert found is None or vars(found) == slowly(arguments)


def test_values_of_several_options_are_not_kept_for_the_next_command_line():
    quick.parse(run.add, ["--nic", "e1000"])
    assert quick.parse(run.add, []).nic == []
