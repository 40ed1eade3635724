"""What every test shares: who may skip, and that nothing is left behind."""

import os
import shutil
import signal

import pytest
from hypothesis import settings

# How long an example takes says more of the machine's other work than of ours.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def _kvm_problem():
    """Why KVM cannot be used here, or None."""
    if not os.path.exists("/dev/kvm"):
        return "no /dev/kvm: load kvm_intel or kvm_amd (see: pykvm doctor)"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is not yours: sudo usermod -aG kvm $USER (see: pykvm doctor)"
    return None


def _tap_problem():
    """Why no TAP can be made here, or None."""
    if os.geteuid() != 0:
        return "making a network namespace and a TAP takes root"
    if shutil.which("ip") is None:
        return "ip is not installed: sudo apt-get install iproute2"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun: sudo modprobe tun"
    return None


def _kernel_problem(item):
    """Why there is no kernel to boot, or None."""
    from tests.support.linux import where

    if item.get_closest_marker("stock"):
        return None if where("stock.sh") else "no stock kernel: make linux-stock"
    if item.get_closest_marker("linux"):
        return None if where("build.sh") else "the Linux guest is not built: make linux-guest"
    return None


def pytest_runtest_setup(item):
    """Skip visibly what the host cannot do; with PYKVM_REQUIRE_KVM=1 that is a failure."""
    problem = _kvm_problem() if item.get_closest_marker("kvm") else None
    if problem is None and item.get_closest_marker("tap"):
        problem = _tap_problem()
    if problem is None and item.get_closest_marker("qemu"):
        problem = (
            None
            if shutil.which("qemu-system-x86_64")
            else "QEMU is not installed: sudo apt-get install qemu-system-x86"
        )
    if problem is not None and os.environ.get("PYKVM_REQUIRE_KVM") == "1":
        pytest.fail(problem, pytrace=False)
    # Building a kernel takes minutes, so only who says that it is built fails without it.
    kernel = _kernel_problem(item)
    if kernel is not None and os.environ.get("PYKVM_REQUIRE_LINUX") == "1":
        pytest.fail(kernel, pytrace=False)
    if problem or kernel:
        pytest.skip(problem or kernel)


def pytest_configure(config):
    """``nohup make test &`` starts us with signals ignored, and what is ignored stays so in the
    programs that tests start. A signal with a handler is not."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return  # the tests run in workers, which inherit what we have
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


def _open_files():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the descriptor of the listing itself
    return found


# What the test runner opens meanwhile.
_OTHERS = (f"{os.getcwd()}/.hypothesis", f"{os.getcwd()}/.pytest_cache")


@pytest.fixture(autouse=True)
def _leaves_no_descriptor_open(request):
    """A KVM test gives every descriptor back."""
    if request.node.get_closest_marker("kvm") is None:
        yield
        return
    before = _open_files()
    yield
    leaked = {fd: path for fd, path in _open_files().items() if before.get(fd) != path}
    assert not {fd: path for fd, path in leaked.items() if not path.startswith(_OTHERS)}


def pytest_sessionfinish(session, exitstatus):
    """No child process outlives the tests."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    if pid == 0:  # a child is still running
        session.exitstatus = 1
        print("\na test left a child process running")
