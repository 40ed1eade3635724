#include "pci.h"

#include "io.h"

enum { ADDRESS = 0xCF8, DATA = 0xCFC };

static void select(struct pci_device d, u8 offset)
{
    outl(ADDRESS, 1u << 31 | (u32)d.slot << 11 | (offset & 0xFC));
}

u32 pci_read32(struct pci_device d, u8 offset)
{
    select(d, offset);
    return inl(DATA);
}

u16 pci_read16(struct pci_device d, u8 offset)
{
    select(d, offset);
    return inw(DATA + (offset & 2));
}

u8 pci_read8(struct pci_device d, u8 offset)
{
    select(d, offset);
    return inb(DATA + (offset & 3));
}

void pci_write32(struct pci_device d, u8 offset, u32 value)
{
    select(d, offset);
    outl(DATA, value);
}

void pci_write16(struct pci_device d, u8 offset, u16 value)
{
    select(d, offset);
    outw(DATA + (offset & 2), value);
}

bool pci_find(u16 vendor, u16 device, unsigned nth, struct pci_device *found)
{
    for (u8 slot = 0; slot < 32; slot++) {
        struct pci_device d = {slot};
        if (pci_read32(d, 0) == ((u32)device << 16 | vendor) && nth-- == 0) {
            *found = d;
            return true;
        }
    }
    return false;
}

u8 pci_capability(struct pci_device d, u8 kind, u8 after)
{
    if (!(pci_read16(d, PCI_STATUS) & 1 << 4))
        return 0;
    u8 at = (u8)(pci_read8(d, after ? (u8)(after + 1) : PCI_CAPABILITIES) & ~3);
    for (unsigned hops = 0; at && hops < 48; hops++) {
        if (pci_read8(d, at) == kind)
            return at;
        at = (u8)(pci_read8(d, (u8)(at + 1)) & ~3);
    }
    return 0;
}

u64 pci_bar64(struct pci_device d, unsigned bar)
{
    u32 low = pci_read32(d, (u8)(PCI_BAR0 + bar * 4));
    if (low & 1 || (low & 6) != 4)
        return pci_bar(d, bar);
    return (u64)pci_read32(d, (u8)(PCI_BAR0 + bar * 4 + 4)) << 32 | (low & ~15u);
}

u32 pci_bar(struct pci_device d, unsigned bar)
{
    u32 value = pci_read32(d, (u8)(PCI_BAR0 + bar * 4));
    return value & 1 ? value & ~3u : value & ~15u;
}

u32 pci_bar_size(struct pci_device d, unsigned bar)
{
    u8 offset = (u8)(PCI_BAR0 + bar * 4);
    u16 command = pci_read16(d, PCI_COMMAND);
    // Decoding off meanwhile: the ones must not become an address.
    pci_write16(d, PCI_COMMAND, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEM));
    u32 before = pci_read32(d, offset);
    pci_write32(d, offset, ~0u);
    u32 mask = pci_read32(d, offset);
    pci_write32(d, offset, before);
    pci_write16(d, PCI_COMMAND, command);
    mask &= before & 1 ? ~3u : ~15u;
    return mask ? ~mask + 1 : 0;
}
