"""The configuration space of a type-0 function (PCI Local Bus Specification 3.0, chapter 6)."""

from __future__ import annotations

from pykvm.registers import Access, Field, Register, RegisterMap

COMMAND = Register(
    "COMMAND", 0x04, 2, doc="what the function may do (6.2.2)",
    fields=(
        Field("IO", 0, doc="answers I/O space"),
        Field("MEM", 1, doc="answers memory space"),
        Field("MASTER", 2, doc="may do DMA and send MSI"),
        Field("SPECIAL", 3),
        Field("MWI", 4),
        Field("SNOOP", 5),
        Field("PERR", 6),
        Field("SERR", 8),
        Field("FAST", 9),
        Field("INTX_DIS", 10, doc="INTx# is not driven"),
    ),
)  # fmt: skip
STATUS = Register(
    "STATUS", 0x06, 2, Access.W1C, doc="6.2.3",
    fields=(
        Field("INTX", 3, doc="an interrupt is pending"),
        Field("CAP", 4, doc="there is a list of capabilities"),
        Field("66MHZ", 5),
        Field("FAST", 7),
        Field("MDPERR", 8),
        Field("DEVSEL", 9, 2),
        Field("STA", 11),
        Field("RTA", 12),
        Field("RMA", 13),
        Field("SSE", 14),
        Field("DPE", 15),
    ),
)  # fmt: skip

CONFIG = RegisterMap(
    "PCI configuration space",
    [
        Register("VENDOR", 0x00, 2, Access.RO),
        Register("DEVICE", 0x02, 2, Access.RO),
        COMMAND,
        STATUS,
        Register("REVISION", 0x08, 1, Access.RO),
        Register("CLASS", 0x09, 3, Access.RO),
        Register("CACHE_LINE", 0x0C, 1),
        Register("LATENCY", 0x0D, 1),
        Register("HEADER_TYPE", 0x0E, 1, Access.RO),
        Register("BIST", 0x0F, 1, Access.RO),
        Register("BAR", 0x10, 4, count=6, stride=4),
        Register("SUBSYS_VENDOR", 0x2C, 2, Access.RO),
        Register("SUBSYS", 0x2E, 2, Access.RO),
        Register("ROM", 0x30, 4, fields=(Field("EN", 0), Field("ADDR", 11, 21))),
        Register("CAP_PTR", 0x34, 1, Access.RO),
        Register("INT_LINE", 0x3C, 1),
        Register("INT_PIN", 0x3D, 1, Access.RO),
    ],
)

BAR0 = CONFIG["BAR"].offset
ROM = CONFIG["ROM"].offset
CAP_PTR = CONFIG["CAP_PTR"].offset
INT_LINE = CONFIG["INT_LINE"].offset
INT_PIN = CONFIG["INT_PIN"].offset

BAR_IO = 0x1
BAR_MEM64 = 0x4
BAR_PREFETCH = 0x8
ROM_ENABLE = 0x1

CAP_MSI = 0x05
CAP_MSIX = 0x11
