"""The 82540EM's registers, with reset values, as chapter 13 of Intel's PCI/PCI-X Family of Gigabit
Ethernet Controllers Software Developer's Manual (317453) has them.
"""

from __future__ import annotations

from pykvm.registers import Access, Register, RegisterMap, fields


def _r(
    name: str, offset: int, access: Access = Access.RW, reset: int = 0, bits: str = "",
    count: int = 1, stride: int = 4, doc: str = "",
) -> Register:  # fmt: skip
    return Register(
        name, offset, 4, access, reset, fields(bits), count=count,
        stride=stride if count > 1 else 0, doc=doc,
    )  # fmt: skip


_INTERRUPTS = "TXDW:0 TXQE:1 LSC:2 RXSEQ:3 RXDMT0:4 RXO:6 RXT0:7 MDAC:9 RXCFG:10 PHYINT:12"
_INTERRUPTS += " GPI0:13 GPI1:14 TXD_LOW:15 SRPD:16"

CTRL = _r(
    "CTRL", 0x00000, reset=0x00000201,
    bits="FD:0 LRST:3 ASDE:5 SLU:6 ILOS:7 SPEED:8:2 FRCSPD:11 FRCDPLX:12 SWDPIN:18:4 SWDPIO:22:4"
    " RST:26 RFCE:27 TFCE:28 VME:30 PHY_RST:31",
)  # fmt: skip
STATUS = _r(
    "STATUS", 0x00008, Access.RO, reset=0x00000280,
    bits="FD:0 LU:1 FUNC:2:2 TXOFF:4 TBIMODE:5 SPEED:6:2 ASDV:8:2 MTXCKOK:10 PCI66:11 BUS64:12"
    " PCIX:13 PCIXSPD:14:2",
)  # fmt: skip
EECD = _r(
    "EECD", 0x00010, reset=0x00000110,
    bits="SK:0 CS:1 DI:2 DO:3 FWE:4:2 REQ:6 GNT:7 PRES:8 SIZE:9",
)  # fmt: skip
EERD = _r("EERD", 0x00014, bits="START:0 DONE:4 ADDR:8:8 DATA:16:16")
CTRL_EXT = _r("CTRL_EXT", 0x00018, bits="GPIEN:0:4 PHYINT:5 SDP:4 ASDCHK:12 EE_RST:13 SPDBYPS:15"
              .replace(" SDP:4", ""))  # fmt: skip
MDIC = _r(
    "MDIC", 0x00020, reset=0x1000_0000, bits="DATA:0:16 REG:16:5 PHY:21:5 OP:26:2 R:28 I:29 E:30"
)
ICR = _r("ICR", 0x000C0, Access.RC, bits=_INTERRUPTS)
ITR = _r("ITR", 0x000C4, bits="INTERVAL:0:16")
ICS = _r("ICS", 0x000C8, Access.WO, bits=_INTERRUPTS)
IMS = _r("IMS", 0x000D0, bits=_INTERRUPTS)
IMC = _r("IMC", 0x000D8, Access.WO, bits=_INTERRUPTS)
RCTL = _r(
    "RCTL", 0x00100,
    bits="EN:1 SBP:2 UPE:3 MPE:4 LPE:5 LBM:6:2 RDMTS:8:2 MO:12:2 BAM:15 BSIZE:16:2 VFE:18 CFIEN:19"
    " CFI:20 DPF:22 PMCF:23 BSEX:25 SECRC:26",
)  # fmt: skip
TCTL = _r("TCTL", 0x00400, bits="EN:1 PSP:3 CT:4:8 COLD:12:10 SWXOFF:22 RTLC:24 NRTU:25")
RXCSUM = _r("RXCSUM", 0x05000, bits="PCSS:0:8 IPOFL:8 TUOFL:9 IPV6OFL:10")
TXDCTL = _r("TXDCTL", 0x03828, bits="PTHRESH:0:6 HTHRESH:8:6 WTHRESH:16:6 GRAN:24 LWTHRESH:25:7")
RXDCTL = _r(
    "RXDCTL", 0x02828, reset=0x0001_0000, bits="PTHRESH:0:6 HTHRESH:8:6 WTHRESH:16:6 GRAN:24"
)

STATISTICS = (
    "CRCERRS ALGNERRC SYMERRS RXERRC MPC SCC ECOL MCC LATECOL _ COLC _ DC TNCRS SEC CEXTERR RLEC _"
    " XONRXC XONTXC XOFFRXC XOFFTXC FCRUC PRC64 PRC127 PRC255 PRC511 PRC1023 PRC1522 GPRC BPRC"
    " MPRC GPTC _ GORCL GORCH GOTCL GOTCH _ _ RNBC RUC RFC ROC RJC MGTPRC MGTPDC MGTPTC TORL"
    " TORH TOTL TOTH TPR TPT PTC64 PTC127 PTC255 PTC511 PTC1023 PTC1522 MPTC BPTC TSCTC TSCTFC"
).split()
"""The statistics registers in order from 0x4000; ``_`` is reserved (13.7)."""

STATISTICS_BASE = 0x4000
STATISTICS_WIDE = frozenset(("GORC", "GOTC", "TOR", "TOT"))
"""64-bit counters: reading the high half clears both."""

_PLAIN = [
    _r("FLA", 0x0001C),
    _r("FCAL", 0x00028, reset=0x00C28001),
    _r("FCAH", 0x0002C, reset=0x00000100),
    _r("FCT", 0x00030, reset=0x00008808),
    _r("VET", 0x00038, reset=0x00008100),
    _r("FCTTV", 0x00170),
    _r("TXCW", 0x00178),
    _r("RXCW", 0x00180, Access.RO),
    _r("TIPG", 0x00410, reset=0x00602008),
    _r("AIT", 0x00458),
    _r("LEDCTL", 0x00E00, reset=0x07068302),
    _r("PBA", 0x01000, reset=0x00100030),
    _r("FCRTL", 0x02160),
    _r("FCRTH", 0x02168),
    _r("RDBAL", 0x02800),
    _r("RDBAH", 0x02804),
    _r("RDLEN", 0x02808),
    _r("RDH", 0x02810),
    _r("RDT", 0x02818),
    _r("RDTR", 0x02820, bits="DELAY:0:16 FPD:31"),
    _r("RADV", 0x0282C),
    _r("RSRPD", 0x02C00),
    _r("TDFH", 0x03410),
    _r("TDFT", 0x03418),
    _r("TDFHS", 0x03420),
    _r("TDFTS", 0x03428),
    _r("TDFPC", 0x03430),
    _r("RDFH", 0x02410),
    _r("RDFT", 0x02418),
    _r("RDFHS", 0x02420),
    _r("RDFTS", 0x02428),
    _r("RDFPC", 0x02430),
    _r("TDBAL", 0x03800),
    _r("TDBAH", 0x03804),
    _r("TDLEN", 0x03808),
    _r("TDH", 0x03810),
    _r("TDT", 0x03818),
    _r("TIDV", 0x03820),
    _r("TADV", 0x0382C),
    _r("TSPMT", 0x03830, reset=0x01000400),
    _r("MTA", 0x05200, count=128),
    _r("RAL", 0x05400, count=16, stride=8),
    _r("RAH", 0x05404, count=16, stride=8, bits="ADDR:0:16 AS:16:2 AV:31"),
    _r("VFTA", 0x05600, count=128),
    _r("WUC", 0x05800),
    _r("WUFC", 0x05808),
    _r("WUS", 0x05810),
    _r("MANC", 0x05820),
    _r("IPAV", 0x05838),
    _r("IP4AT", 0x05840, count=8),
    _r("WUPL", 0x05900, Access.RO),
    _r("PBM", 0x10000, count=0x4000, doc="packet buffer memory"),
]

REGISTERS = RegisterMap(
    "82540EM",
    [
        CTRL, STATUS, EECD, EERD, CTRL_EXT, MDIC, ICR, ITR, ICS, IMS, IMC, RCTL, TCTL, RXCSUM,
        TXDCTL, RXDCTL, *_PLAIN,
        *(
            _r(name, STATISTICS_BASE + 4 * n, Access.RC)
            for n, name in enumerate(STATISTICS)
            if name != "_"
        ),
    ],
)  # fmt: skip

WINDOW = 0x20000

MASKS = {
    # what a write keeps: rings are 16-byte aligned and a multiple of 128 bytes long (3.2.6, 3.4)
    "RDBAL": 0xFFFF_FFF0,
    "TDBAL": 0xFFFF_FFF0,
    "RDLEN": 0x000F_FF80,
    "TDLEN": 0x000F_FF80,
    "RDH": 0xFFFF,
    "RDT": 0xFFFF,
    "TDH": 0xFFFF,
    "TDT": 0xFFFF,
    "RDTR": 0xFFFF,
    "RADV": 0xFFFF,
    "TIDV": 0xFFFF,
    "TADV": 0xFFFF,
    "ITR": 0xFFFF,
    "VET": 0xFFFF,
}


class Cause:
    """Bits of ICR, ICS, IMS and IMC."""

    TXDW, TXQE, LSC, RXDMT0, RXO, RXT0, MDAC, TXD_LOW = (
        ICR[name].mask
        for name in ("TXDW", "TXQE", "LSC", "RXDMT0", "RXO", "RXT0", "MDAC", "TXD_LOW")
    )
    ALL = sum(f.mask for f in ICR.fields)
