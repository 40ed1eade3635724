#include "msix.h"

#include "io.h"
#include "lapic.h"

enum { CONTROL = 2, TABLE = 4, PENDING = 8, ENABLE = 1 << 15, FUNCTION_MASK = 1 << 14 };
enum { ADDRESS_LOW = 0, ADDRESS_HIGH = 4, DATA = 8, VECTOR_CONTROL = 12, ENTRY = 16 };

static u64 place(struct pci_device d, u8 offset)
{
    u32 where = pci_read32(d, offset);
    return pci_bar64(d, where & 7) + (where & ~7u);
}

bool msix_open(struct msix *m, struct pci_device d)
{
    u8 at = pci_capability(d, PCI_CAP_MSIX, 0);
    if (!at)
        return false;
    *m = (struct msix){.pci = d, .capability = at, .table = place(d, (u8)(at + TABLE)),
                       .pending = place(d, (u8)(at + PENDING))};
    u16 control = pci_read16(d, (u8)(at + CONTROL));
    m->vectors = (u16)((control & 0x7FF) + 1);
    for (u16 n = 0; n < m->vectors; n++)
        msix_mask(m, n, true);
    pci_write16(d, (u8)(at + CONTROL), (u16)((control & ~FUNCTION_MASK) | ENABLE));
    return true;
}

void msix_set(const struct msix *m, u16 n, u8 vector)
{
    u64 entry = m->table + n * ENTRY;
    msix_mask(m, n, true);
    mmio_write32(entry + ADDRESS_LOW, 0xFEE00000u | lapic_id() << 12);
    mmio_write32(entry + ADDRESS_HIGH, 0);
    mmio_write32(entry + DATA, vector); // fixed, edge (SDM vol. 3, 11.11.2)
    msix_mask(m, n, false);
}

void msix_mask(const struct msix *m, u16 n, bool masked)
{
    mmio_write32(m->table + n * ENTRY + VECTOR_CONTROL, masked);
}

bool msix_pending(const struct msix *m, u16 n)
{
    return mmio_read32(m->pending + n / 32 * 4) >> n % 32 & 1;
}
