// Memory addresses with neither RAM nor a device. (QEMU's "pc" reads zeros there; a PCI bus, where
// nobody answers, reads ones.)
#include "io.h"
#include "report.h"

#define NOWHERE 0xe0000000u

int main(void)
{
    report(mmio_read8(NOWHERE) == 0xff, "mmio8", "reads all ones");
    report(mmio_read16(NOWHERE) == 0xffff, "mmio16", "reads all ones");
    report(mmio_read32(NOWHERE) == 0xffffffff, "mmio32", "reads all ones");
    report(mmio_read64(NOWHERE) == ~0ull, "mmio64", "reads all ones");
    report(mmio_read64(NOWHERE + 0xffc) == ~0ull, "mmio_page", "and across a page");
    mmio_write8(NOWHERE, 0);
    mmio_write16(NOWHERE, 0);
    mmio_write32(NOWHERE, 0);
    mmio_write64(NOWHERE, 0);
    report(mmio_read64(NOWHERE) == ~0ull, "mmio_write", "writes are swallowed");
    return report_summary();
}
