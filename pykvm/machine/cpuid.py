"""What CPUID shows: the model's features, and a package of as many cores as there are vCPUs.

The number of a vCPU is its APIC ID and its core; a core has one thread. All leaves that tell of it
agree (Intel SDM volume 3, chapter 9.9; AMD APM volume 3, appendix E.5).
"""

from __future__ import annotations

from pykvm.kvm.abi import lib
from pykvm.kvm.system import CpuidEntry
from pykvm.machine.cpumodel import CpuModel

_CACHES = (4, 0x8000_001D)  # Intel's and AMD's, of the same form
_TOPOLOGY, _TOPOLOGY_V2 = 0xB, 0x1F
_SMT, _CORE = 1, 2
_HYPERVISOR = 1 << 31  # leaf 1, ECX
_HT = 1 << 28  # leaf 1, EDX
_CMP_LEGACY = 1 << 1  # leaf 0x80000001, ECX
_AMD = 0x6874_7541  # "Auth" of AuthenticAMD, in EBX of leaf 0


def shown(supported: list[CpuidEntry], model: CpuModel, number: int, cpus: int) -> list[CpuidEntry]:
    """The leaves of vCPU ``number`` of ``cpus``. Raises HostError for what KVM cannot show."""
    entries = model.apply(supported)
    most = max((e.eax for e in entries if e.function == 0), default=0)
    amd = any(e.function == 0 and e.ebx == _AMD for e in entries)
    seen = [
        _placed(entry, number, cpus, amd, "hypervisor" not in model.removed)
        for entry in entries
        if entry.function not in (_TOPOLOGY, _TOPOLOGY_V2)
    ]
    return seen + (_levels(number, cpus) if most >= _TOPOLOGY else [])


def _id_bits(cpus: int) -> int:
    """Bits of an APIC ID that tell the cores of a package apart."""
    return (cpus - 1).bit_length()


def _placed(e: CpuidEntry, number: int, cpus: int, amd: bool, hypervisor: bool) -> CpuidEntry:
    """A leaf with what is the machine's own in it."""
    bits, several = _id_bits(cpus), cpus > 1
    if e.function == 1:
        return e.replace(
            ebx=e.ebx & 0xFFFF | 1 << bits << 16 | number << 24,
            ecx=e.ecx & ~_HYPERVISOR | hypervisor * _HYPERVISOR,
            edx=e.edx & ~_HT | several * _HT,
        )
    if e.function in _CACHES and e.eax & 0x1F:
        shared = (1 << bits) - 1 if e.eax >> 5 & 7 == 3 else 0  # the third level, by all
        cores = (1 << bits) - 1 if e.function == 4 else 0
        return e.replace(eax=e.eax & 0x3FFF | shared << 14 | cores << 26)
    if e.function == 0x8000_0001 and amd:
        return e.replace(ecx=e.ecx & ~_CMP_LEGACY | several * _CMP_LEGACY)
    if e.function == 0x8000_0008:
        return e.replace(ecx=bits << 12 | cpus - 1)
    if e.function == 0x8000_001E:
        return e.replace(eax=number, ebx=number, ecx=0)
    return e


def _levels(number: int, cpus: int) -> list[CpuidEntry]:
    """Leaf 0xB: threads of a core, cores of the package, no more."""
    indexed = int(lib.KVM_CPUID_FLAG_SIGNIFCANT_INDEX)
    rows = ((0, 1, _SMT << 8), (_id_bits(cpus), cpus, _CORE << 8 | 1), (0, 0, 2))
    return [
        CpuidEntry(_TOPOLOGY, n, indexed, bits, count, kind, number)
        for n, (bits, count, kind) in enumerate(rows)
    ]
