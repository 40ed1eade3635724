"""The CPU's own registers, as crash reports decode them (Intel SDM volume 3, chapter 2)."""

from __future__ import annotations

from pykvm.registers import Register, fields

RFLAGS = Register(
    "RFLAGS", 0, 8,
    fields=fields("CF:0 PF:2 AF:4 ZF:6 SF:7 TF:8 IF:9 DF:10 OF:11 IOPL:12:2 NT:14 RF:16 VM:17 AC:18"
                 " VIF:19 VIP:20 ID:21"),
)  # fmt: skip
CR0 = Register(
    "CR0", 0, 8, fields=fields("PE:0 MP:1 EM:2 TS:3 ET:4 NE:5 WP:16 AM:18 NW:29 CD:30 PG:31")
)
CR4 = Register(
    "CR4", 0, 8,
    fields=fields("VME:0 PVI:1 TSD:2 DE:3 PSE:4 PAE:5 MCE:6 PGE:7 PCE:8 OSFXSR:9 OSXMMEXCPT:10"
                 " UMIP:11 LA57:12 VMXE:13 SMXE:14 FSGSBASE:16 PCIDE:17 OSXSAVE:18 SMEP:20 SMAP:21"
                 " PKE:22"),
)  # fmt: skip
EFER = Register("EFER", 0, 8, fields=fields("SCE:0 LME:8 LMA:10 NXE:11 SVME:12"))

EXCEPTIONS = {
    0: "#DE divide error",
    1: "#DB debug",
    2: "NMI",
    3: "#BP breakpoint",
    4: "#OF overflow",
    5: "#BR bound range",
    6: "#UD invalid opcode",
    7: "#NM no coprocessor",
    8: "#DF double fault",
    10: "#TS invalid TSS",
    11: "#NP segment not present",
    12: "#SS stack fault",
    13: "#GP general protection",
    14: "#PF page fault",
    16: "#MF x87 error",
    17: "#AC alignment check",
    18: "#MC machine check",
    19: "#XM SIMD error",
}
