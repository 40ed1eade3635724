// Registers of the 82540EM (Intel 8254x Software Developer's Manual, chapter 13).
#pragma once

enum {
    CTRL = 0x0000, STATUS = 0x0008, EERD = 0x0014, MDIC = 0x0020,
    ICR = 0x00C0, ITR = 0x00C4, ICS = 0x00C8, IMS = 0x00D0, IMC = 0x00D8,
    RCTL = 0x0100, TCTL = 0x0400, TIPG = 0x0410,
    RDBAL = 0x2800, RDBAH = 0x2804, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818, RDTR = 0x2820,
    TDBAL = 0x3800, TDBAH = 0x3804, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818,
    RADV = 0x282C, TIDV = 0x3820, TADV = 0x382C,
    MPC = 0x4010, GPRC = 0x4074, BPRC = 0x4078, MPRC = 0x407C, GPTC = 0x4080, ROC = 0x40AC,
    TORL = 0x40C0, TORH = 0x40C4, TOTL = 0x40C8, TOTH = 0x40CC, TPR = 0x40D0, TPT = 0x40D4,
    PTC64 = 0x40D8, RXCSUM = 0x5000, MTA = 0x5200, RAL0 = 0x5400, RAH0 = 0x5404, VFTA = 0x5600,
};

enum {
    CTRL_SLU = 1 << 6, CTRL_RST = 1 << 26, CTRL_VME = 1 << 30,
    STATUS_LU = 1 << 1,
    EERD_START = 1 << 0, EERD_DONE = 1 << 4,
    ICR_TXDW = 1 << 0, ICR_LSC = 1 << 2, ICR_RXDMT0 = 1 << 4, ICR_RXT0 = 1 << 7,
    RXCSUM_IPOFL = 1 << 8, RXCSUM_TUOFL = 1 << 9,
    RCTL_EN = 1 << 1, RCTL_UPE = 1 << 3, RCTL_MPE = 1 << 4, RCTL_LPE = 1 << 5, RCTL_LBM = 1 << 6,
    RCTL_BAM = 1 << 15, RCTL_BSIZE = 1 << 16, RCTL_VFE = 1 << 18,
    RCTL_SECRC = 1 << 26,
    TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3,
};

// Legacy transmit command (3.3.3) and descriptor status (3.2.3).
enum { TX_EOP = 0x01, TX_IFCS = 0x02, TX_IC = 0x04, TX_RS = 0x08, TX_VLE = 0x40, TX_IDE = 0x80 };
enum { DD = 0x01, RX_EOP = 0x02, RX_IXSM = 0x04, RX_VP = 0x08, RX_TCPCS = 0x20, RX_IPCS = 0x40 };
enum { RX_TCPE = 0x20, RX_IPE = 0x40 };

// Context and data descriptors (3.3.6, 3.3.7).
enum { TUCMD_TCP = 0x01, TUCMD_IPV4 = 0x02, TUCMD_TSE = 0x04 };
enum { DCMD_TSE = 0x04, DCMD_DEXT = 0x20, POPTS_IXSM = 0x01, POPTS_TXSM = 0x02 };
