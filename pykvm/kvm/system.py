"""``/dev/kvm`` itself: opening it, asking what it can do, creating virtual machines."""

from __future__ import annotations

import errno
import os

from pykvm.errors import HostError, KvmError
from pykvm.kvm.abi import call, capability, ffi, lib
from pykvm.record import Record

DEVICE = "/dev/kvm"
API_VERSION = 12
_MAX_CPUID = 256

_OPEN_HINTS = {
    errno.ENOENT: "no such device; load the module: sudo modprobe kvm_intel (or kvm_amd), and "
    "enable virtualization in the firmware",
    errno.EACCES: "permission denied; add yourself to its group: sudo usermod -aG kvm $USER, "
    "then log in again",
    errno.ENODEV: "the module is loaded but this CPU offers no virtualization",
}


class CpuidEntry(Record):
    """One CPUID leaf: ``function``/``index`` select it, ``flags`` as KVM has them."""

    function: int
    index: int
    flags: int
    eax: int
    ebx: int
    ecx: int
    edx: int


class Kvm:
    """An open ``/dev/kvm``; a context manager. Raises HostError when it cannot be used."""

    def __init__(self, path: str = DEVICE) -> None:
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as e:
            hint = _OPEN_HINTS.get(e.errno or 0, os.strerror(e.errno or 0))
            raise HostError(f"{path}: {hint} (see: pykvm doctor)") from e
        try:
            self.api_version = call(self.fd, "KVM_GET_API_VERSION")
            if self.api_version != API_VERSION:
                raise HostError(f"{path}: KVM API {self.api_version}, pykvm needs {API_VERSION}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Kvm:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def capability(self, name: str) -> int:
        """What KVM_CHECK_EXTENSION says of ``KVM_CAP_<name>``: 0 is no, more is a yes or a size.

        A capability that the header of the build did not know is 0.
        """
        number = capability(name)
        if number is None:
            return 0
        try:
            return call(self.fd, "KVM_CHECK_EXTENSION", number)
        except KvmError:
            return 0

    def run_size(self) -> int:
        """Bytes to map of each vCPU's file descriptor."""
        return call(self.fd, "KVM_GET_VCPU_MMAP_SIZE")

    def create_vm(self) -> int:
        """A new VM's file descriptor."""
        # KVM_CREATE_VM is interrupted by any signal; nothing was made then.
        while True:
            try:
                return call(self.fd, "KVM_CREATE_VM")
            except KvmError as e:
                if e.errno != errno.EINTR:
                    raise

    def supported_cpuid(self) -> list[CpuidEntry]:
        """The leaves that KVM can show to a guest."""
        size = ffi.sizeof("struct kvm_cpuid_entry2")
        block = ffi.new("char[]", 8 + _MAX_CPUID * size)
        header = ffi.cast("uint32_t *", block)
        header[0] = _MAX_CPUID
        call(self.fd, "KVM_GET_SUPPORTED_CPUID", block)
        entries = ffi.cast("struct kvm_cpuid_entry2 *", block + 8)
        return [
            CpuidEntry(e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx)
            for e in (entries[n] for n in range(header[0]))
        ]


def install_kick() -> None:
    """Make ``Vcpu.kick`` work in this process; idempotent."""
    error = lib.pk_kick_install()
    if error:
        raise HostError(f"cannot install the kick signal's handler: {os.strerror(error)}")
