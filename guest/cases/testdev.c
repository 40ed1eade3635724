// QEMU's pc-testdev and pci-testdev, as kvm-unit-tests uses them.
#include "clock.h"
#include "interrupts.h"
#include "io.h"
#include "ioapic.h"
#include "lapic.h"
#include "pci.h"
#include "pic.h"
#include "report.h"
#include "string.h"

#define LATCH       0xe0
#define FLUSH       0xe4
#define LATCH_BYTES 0xe8
#define LINES       0x2000
#define MEMORY      0xff000000
#define LINE        5
#define VECTOR      0x45

static volatile u32 came;

static void on_line(struct frame *f)
{
    (void)f;
    came++;
    lapic_eoi();
}

static void ports(void)
{
    outl(LATCH, 0x12345678);
    report(inl(LATCH) == 0x12345678 && inw(LATCH + 2) == 0x1234, "testdev_latch", "it keeps what is written");
    outb(LATCH + 1, 0xab);
    report(inl(LATCH_BYTES) == 0x1234ab78, "testdev_bytes", "and is seen again behind a narrow bus");
    outl(FLUSH, 0x1000);
    report(inl(LATCH) == 0x1234ab78, "testdev_flush", "flushing a page changes nothing");
    mmio_write32(MEMORY + 0x1234, 0xcafe);
    report(mmio_read8(MEMORY + 0x1234) == 0xfe, "testdev_memory", "memory that is a device");
}

static void lines(void)
{
    clock_init();
    pic_init();
    lapic_init();
    interrupt_set(VECTOR, on_line);
    ioapic_route(LINE, VECTOR, lapic_id());
    outb(LINES + LINE, 1);
    report(wait_count(&came, 1, 2000), "testdev_line", "a line goes up");
    outb(LINES + LINE, 0);
    outb(LINES + LINE, 1);
    report(wait_count(&came, 2, 2000), "testdev_line_again", "and again");
    outb(LINES + LINE, 0);
}

// QEMU, docs/specs/pci-testdev: what both windows begin with.
enum { TEST = 0, WIDTH = 1, OFFSET = 4, DATA = 8, COUNT = 12, NAME = 16 };
enum { NO_EVENTFD, WILDCARD, DATAMATCH, NO_SUCH_TEST };

static void counted(void)
{
    struct pci_device d;
    if (!report(pci_find(0x1b36, 0x0005, 0, &d), "testdev_pci", "pci-testdev is found"))
        return;
    u64 memory = pci_bar(d, 0);
    u16 io = (u16)pci_bar(d, 1);

    mmio_write8(memory + TEST, NO_EVENTFD);
    u64 target = memory + mmio_read32(memory + OFFSET);
    u8 data = mmio_read8(memory + DATA);
    mmio_write8(target, data);
    mmio_write8(target, (u8)~data);
    mmio_write8(target, data);
    report(mmio_read8(memory + WIDTH) == 1 && mmio_read8(memory + COUNT) == 2 && mmio_read8(memory + NAME) == 'm',
           "testdev_mmio", "writes of the right byte are counted");

    outb(io + TEST, NO_EVENTFD);
    outb((u16)(io + inl(io + OFFSET)), inb(io + DATA));
    report(inb(io + COUNT) == 1 && inb(io + NAME) == 'p', "testdev_portio", "ports count for themselves");

    outb(io + TEST, NO_SUCH_TEST);
    report(inb(io + WIDTH) == 0, "testdev_end", "there is no fourth test");
}

int main(void)
{
    ports();
    lines();
    counted();
    return report_summary();
}
