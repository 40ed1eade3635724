"""Network namespaces: a test's own, and work done inside one."""

import contextlib
import ctypes
import os
import subprocess
import threading

_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def namespace(what):
    """The name of a new one; it goes away with its last user."""
    name = f"pykvm-{what}-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def ip(name, command, *, check=True):
    """``ip command`` inside the namespace."""
    return subprocess.run(
        ["ip", "-n", name, *command.split()], capture_output=True, text=True, check=check
    )


def inside(name, visit):
    """What ``visit`` returns, called by a thread in the namespace (None: in a new one without a
    name, which ends with the descriptors that were opened there)."""

    def enter(libc):
        if name is None:
            return libc.unshare(_CLONE_NEWNET)
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return libc.setns(fd, _CLONE_NEWNET)
        finally:
            os.close(fd)

    made, failed = [], []

    def work():
        try:
            assert enter(ctypes.CDLL(None, use_errno=True)) == 0
            made.append(visit())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
