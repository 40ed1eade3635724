"""The 16550A's registers (National Semiconductor PC16550D datasheet, section 8).

Bank 1 is what DLAB in LCR selects: the divisor latch in place of RBR, THR and IER.
"""

from __future__ import annotations

from pykvm.registers import Access, Field, Register, RegisterMap

DIVISOR_BANK = 1

IER = Register(
    "IER", 1, bank=0, doc="interrupt enable (8.8)",
    fields=(
        Field("ERBFI", 0, doc="received data available, and character time-out"),
        Field("ETBEI", 1, doc="transmitter holding register empty"),
        Field("ELSI", 2, doc="receiver line status"),
        Field("EDSSI", 3, doc="modem status"),
    ),
)  # fmt: skip
IIR = Register(
    "IIR", 2, access=Access.RO, reset=0x01, doc="interrupt identification (8.6)",
    fields=(
        Field("ID", 0, 4, {0x1: "none", 0x6: "line", 0x4: "data", 0xC: "timeout", 0x2: "thre",
                           0x0: "modem"}),
        Field("FIFO", 6, 2, {0: "off", 3: "on"}),
    ),
)  # fmt: skip
FCR = Register(
    "FCR", 2, access=Access.WO, doc="FIFO control (8.5)",
    fields=(
        Field("ENABLE", 0),
        Field("RX_RESET", 1),
        Field("TX_RESET", 2),
        Field("DMA", 3),
        Field("TRIGGER", 6, 2, {0: "1", 1: "4", 2: "8", 3: "14"}),
    ),
)  # fmt: skip
LCR = Register(
    "LCR", 3, doc="line control (8.1)",
    fields=(
        Field("WLS", 0, 2, {0: "5", 1: "6", 2: "7", 3: "8"}),
        Field("STB", 2),
        Field("PEN", 3),
        Field("EPS", 4),
        Field("STICK", 5),
        Field("BREAK", 6),
        Field("DLAB", 7),
    ),
)  # fmt: skip
MCR = Register(
    "MCR", 4, doc="modem control (8.7)",
    fields=(
        Field("DTR", 0),
        Field("RTS", 1),
        Field("OUT1", 2),
        Field("OUT2", 3, doc="on a PC, the gate of the interrupt line"),
        Field("LOOP", 4),
    ),
)  # fmt: skip
LSR = Register(
    "LSR", 5, access=Access.RC, reset=0x60, doc="line status (8.4)",
    fields=(
        Field("DR", 0),
        Field("OE", 1),
        Field("PE", 2),
        Field("FE", 3),
        Field("BI", 4),
        Field("THRE", 5),
        Field("TEMT", 6),
        Field("FIFO_ERR", 7),
    ),
)  # fmt: skip
MSR = Register(
    "MSR", 6, access=Access.RC, reset=0xB0, doc="modem status (8.9); CTS, DSR and DCD are on",
    fields=(
        Field("DCTS", 0),
        Field("DDSR", 1),
        Field("TERI", 2),
        Field("DDCD", 3),
        Field("CTS", 4),
        Field("DSR", 5),
        Field("RI", 6),
        Field("DCD", 7),
    ),
)  # fmt: skip

REGISTERS = RegisterMap(
    "16550A",
    [
        Register("RBR", 0, access=Access.RO, bank=0, doc="received byte"),
        Register("THR", 0, access=Access.WO, bank=0, doc="byte to send"),
        Register("DLL", 0, bank=DIVISOR_BANK, reset=0x0C, doc="divisor latch, low (9600 baud)"),
        IER,
        Register("DLM", 1, bank=DIVISOR_BANK, doc="divisor latch, high"),
        IIR,
        FCR,
        LCR,
        MCR,
        LSR,
        MSR,
        Register("SCR", 7, doc="scratch"),
    ],
)
