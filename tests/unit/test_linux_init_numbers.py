"""The init's tables of system calls are the kernel's."""

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "guest" / "linux" / "init" / "syscall.h"
HEADERS = "/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"
# Where one name has several numbers: those with 64-bit offsets and times.
NAMES = {
    "x86_64": {"pread": "pread64", "pwrite": "pwrite64"},
    "i386": {
        "pread": "pread64",
        "pwrite": "pwrite64",
        "clock_gettime": "clock_gettime64",
        "clock_nanosleep": "clock_nanosleep_time64",
    },
}


def kernels(abi):
    name = {"x86_64": "unistd_64.h", "i386": "unistd_32.h"}[abi]
    path = next((p for folder in HEADERS if (p := Path(folder) / name).exists()), None)
    if path is None:
        pytest.skip(f"no asm/{name}: sudo apt-get install linux-libc-dev")
    return dict(re.findall(r"#define __NR_(\w+) (\d+)", path.read_text()))


@pytest.mark.parametrize(("abi", "part"), [("x86_64", 0), ("i386", 1)])
def test_every_number_is_the_kernels(abi, part):
    table = SOURCE.read_text().split("#else")[part]
    numbers = re.findall(r"\bSYS_(\w+) = (\d+)", table)
    known = kernels(abi)
    assert len(numbers) == 23
    for name, number in numbers:
        assert known[NAMES[abi].get(name.lower(), name.lower())] == number, name
