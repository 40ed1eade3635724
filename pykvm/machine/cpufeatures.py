"""CPU features by name: where their bits are, and which need which.

Names are those of Linux's /proc/cpuinfo.
"""

from __future__ import annotations

from pykvm.kvm.system import CpuidEntry

Word = tuple[int, int, str]
"""A CPUID leaf, its index, and the register."""

# Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; Linux, Documentation/virt/kvm/x86/
# cpuid.rst
_NAMES: dict[Word, str] = {
    (1, 0, "edx"): "fpu:0 vme:1 de:2 pse:3 tsc:4 msr:5 pae:6 mce:7 cx8:8 apic:9 sep:11 mtrr:12 "
    "pge:13 mca:14 cmov:15 pat:16 pse36:17 clflush:19 mmx:23 fxsr:24 sse:25 sse2:26 ss:27 ht:28",
    (1, 0, "ecx"): "pni:0 pclmulqdq:1 monitor:3 vmx:5 ssse3:9 fma:12 cx16:13 pcid:17 sse4_1:19 "
    "sse4_2:20 x2apic:21 movbe:22 popcnt:23 tsc_deadline_timer:24 aes:25 xsave:26 avx:28 f16c:29 "
    "rdrand:30 hypervisor:31",
    (7, 0, "ebx"): "fsgsbase:0 tsc_adjust:1 bmi1:3 hle:4 avx2:5 smep:7 bmi2:8 erms:9 invpcid:10 "
    "rtm:11 avx512f:16 avx512dq:17 rdseed:18 adx:19 smap:20 avx512ifma:21 clflushopt:23 clwb:24 "
    "avx512cd:28 sha_ni:29 avx512bw:30 avx512vl:31",
    (7, 0, "ecx"): "avx512vbmi:1 umip:2 pku:3 waitpkg:5 avx512_vbmi2:6 gfni:8 vaes:9 "
    "vpclmulqdq:10 avx512_vnni:11 avx512_bitalg:12 avx512_vpopcntdq:14 la57:16 rdpid:22 "
    "bus_lock_detect:24 cldemote:25 movdiri:27 movdir64b:28",
    (7, 0, "edx"): "fsrm:4 avx512_vp2intersect:8 md_clear:10 serialize:14 amx_bf16:22 "
    "avx512_fp16:23 amx_tile:24 amx_int8:25 spec_ctrl:26 intel_stibp:27 flush_l1d:28 "
    "arch_capabilities:29 ssbd:31",
    (7, 1, "eax"): "avx_vnni:4 avx512_bf16:5 fzrm:10 fsrs:11 fsrc:12",
    (7, 1, "edx"): "",
    (7, 2, "edx"): "",
    (0xD, 1, "eax"): "xsaveopt:0 xsavec:1 xgetbv1:2 xsaves:3",
    (0x4000_0001, 0, "eax"): "kvmclock:0 kvm_nopiodelay:1 kvmclock2:3 kvm_asyncpf:4 "
    "kvm_steal_time:5 kvm_pv_eoi:6 kvm_pv_unhalt:7 kvm_pv_tlb_flush:9 kvm_asyncpf_vmexit:10 "
    "kvm_pv_ipi:11 kvm_poll_control:12 kvm_pv_sched_yield:13 kvm_asyncpf_int:14 "
    "kvm_msi_ext_dest_id:15 kvmclock_stable:24",
    (0x8000_0001, 0, "edx"): "syscall:11 nx:20 mmxext:22 fxsr_opt:25 pdpe1gb:26 rdtscp:27 lm:29",
    (0x8000_0001, 0, "ecx"): "lahf_lm:0 cmp_legacy:1 svm:2 cr8_legacy:4 abm:5 sse4a:6 "
    "misalignsse:7 3dnowprefetch:8 osvw:9 xop:11 fma4:16 tbm:21 topoext:22 perfctr_core:23",
    (0x8000_0007, 0, "edx"): "nonstop_tsc:8",
    (0x8000_0008, 0, "ebx"): "clzero:0 xsaveerptr:2 wbnoinvd:9 ibpb:12 ibrs:14 stibp:15 ssb_no:26",
}  # fmt: skip
FEATURES: dict[str, tuple[Word, int]] = {
    name: (word, 1 << int(bit))
    for word, names in _NAMES.items()
    for name, _, bit in (item.partition(":") for item in names.split())
}
"""By name: where its bit is, and the bit."""

BASE = frozenset(
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse "
    "sse2 ss ht cx16 x2apic tsc_deadline_timer hypervisor syscall nx lm lahf_lm cmp_legacy "
    "nonstop_tsc".split()
) | {name for name, (word, _) in FEATURES.items() if word[0] == 0x4000_0001}
"""What every x86-64 CPU has, and what a guest of KVM is better off with."""

_NEED: dict[str, tuple[str, ...]] = {
    "xsave": ("avx", "pku", "xsaveopt", "xsavec", "xgetbv1", "xsaves", "amx_tile"),
    "avx": ("avx2", "fma", "f16c", "avx512f", "vaes", "vpclmulqdq", "avx_vnni", "xop", "fma4"),
    "avx512f": tuple(n for n in FEATURES if n.startswith("avx512") and n != "avx512f"),
    "amx_tile": ("amx_bf16", "amx_int8"),
}
"""Features that make no sense without another, by that one."""


def offered(supported: list[CpuidEntry]) -> set[str]:
    """The named features among ``supported``; ``hypervisor`` is pykvm's own to show."""
    found = {"hypervisor"}
    entries = {(entry.function, entry.index): entry for entry in supported}
    for name, ((function, index, register), bit) in FEATURES.items():
        entry = entries.get((function, index))
        if entry is not None and getattr(entry, register) & bit:
            found.add(name)
    return found


def with_dependants(names: frozenset[str]) -> set[str]:
    """``names``, and what makes no sense without them."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _NEED.get(name, ())
    return found


def without(entry: CpuidEntry, hidden: set[str], *, nameless: bool) -> CpuidEntry:
    """The leaf without the features ``hidden``; ``nameless``: without bits that have no name."""
    if entry.function == 0xD and "xsave" in hidden:
        return CpuidEntry(entry.function, entry.index, entry.flags, 0, 0, 0, 0)
    values = {register: getattr(entry, register) for register in ("eax", "ebx", "ecx", "edx")}
    for word in _NAMES:
        function, index, register = word
        if (function, index) != (entry.function, entry.index):
            continue
        if nameless:
            values[register] &= sum(bit for at, bit in FEATURES.values() if at == word)
        for name in hidden:
            at, bit = FEATURES[name]
            if at == word:
                values[register] &= ~bit
    return CpuidEntry(entry.function, entry.index, entry.flags, **values)
