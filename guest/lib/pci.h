// PCI configuration space by mechanism #1 (PCI 3.0, 3.2.2.3.2): ports 0xCF8 and 0xCFC.
#pragma once
#include "types.h"

struct pci_device {
    u8 slot; // on bus 0, function 0
};

enum {
    PCI_ID = 0x00, PCI_COMMAND = 0x04, PCI_STATUS = 0x06, PCI_REVISION = 0x08, PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM = 0x2C, PCI_CAPABILITIES = 0x34, PCI_INT_LINE = 0x3C,
};
enum { PCI_COMMAND_IO = 1, PCI_COMMAND_MEM = 2, PCI_COMMAND_MASTER = 4 };
enum { PCI_CAP_VENDOR = 0x09, PCI_CAP_MSIX = 0x11 };

u32 pci_read32(struct pci_device d, u8 offset);
u16 pci_read16(struct pci_device d, u8 offset);
u8 pci_read8(struct pci_device d, u8 offset);
void pci_write32(struct pci_device d, u8 offset, u32 value);
void pci_write16(struct pci_device d, u8 offset, u16 value);

// The nth device (from 0) with these IDs; false if there is none.
bool pci_find(u16 vendor, u16 device, unsigned nth, struct pci_device *found);

// The next capability of this kind behind offset `after` (0: the first one), or 0. At most 48 hops:
// a list that runs in a circle ends, too.
u8 pci_capability(struct pci_device d, u8 kind, u8 after);

// The base address in a BAR, of either width, without its flag bits.
u64 pci_bar64(struct pci_device d, unsigned bar);

// The same of a BAR of 32 bits, and its size, found by writing ones.
u32 pci_bar(struct pci_device d, unsigned bar);
u32 pci_bar_size(struct pci_device d, unsigned bar);
