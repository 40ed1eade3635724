// The legacy transport (VIRTIO 1.2, 4.1.4.8 and the legacy sections of chapter 2): the I/O BAR alone.
#include "io.h"
#include "virtio/virtio.h"

enum {
    DEVICE_FEATURES = 0x00, DRIVER_FEATURES = 0x04, QUEUE_PFN = 0x08, QUEUE_SIZE = 0x0C, QUEUE_SELECT = 0x0E,
    QUEUE_NOTIFY = 0x10, DEVICE_STATUS = 0x12, ISR = 0x13,
    CONFIG = 0x14, // where it is while MSI-X is off, as this driver leaves it
};
enum { PFN_SHIFT = 12 };

static bool open(struct virtio *v)
{
    u32 id = pci_read32(v->pci, PCI_ID) >> 16;
    if (id < 0x1000 || id > 0x103F || pci_read8(v->pci, PCI_REVISION) || !(pci_read32(v->pci, PCI_BAR0) & 1))
        return false;
    v->io = (u16)pci_bar(v->pci, 0);
    u16 command = pci_read16(v->pci, PCI_COMMAND);
    pci_write16(v->pci, PCI_COMMAND, command | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
    return true;
}

static u64 offered(const struct virtio *v) { return inl(v->io + DEVICE_FEATURES); }
static void accept(const struct virtio *v, u64 features) { outl(v->io + DRIVER_FEATURES, (u32)features); }
static u8 status(const struct virtio *v) { return inb(v->io + DEVICE_STATUS); }
static void set_status(const struct virtio *v, u8 value) { outb(v->io + DEVICE_STATUS, value); }
static u8 isr_read(const struct virtio *v) { return inb(v->io + ISR); }
static u8 generation(const struct virtio *v) { return (void)v, 0; }

// Legacy fields have the guest's byte order and may be read bytewise.
static void config_read(const struct virtio *v, u16 offset, void *out, u16 size)
{
    for (u16 i = 0; i < size; i++)
        ((u8 *)out)[i] = inb((u16)(v->io + CONFIG + offset + i));
}

static void config_write(const struct virtio *v, u16 offset, const void *in, u16 size)
{
    for (u16 i = 0; i < size; i++)
        outb((u16)(v->io + CONFIG + offset + i), ((const u8 *)in)[i]);
}

static u16 queue_max(const struct virtio *v, u16 index)
{
    outw(v->io + QUEUE_SELECT, index);
    return inw(v->io + QUEUE_SIZE);
}

// The device dictates it.
static u16 queue_size(u16 max, u16 wanted) { return (void)wanted, max; }

static bool queue_start(const struct virtio *v, struct queue *q, u16 vector)
{
    outw(v->io + QUEUE_SELECT, q->index);
    outl(v->io + QUEUE_PFN, (u32)(q->descriptors >> PFN_SHIFT));
    q->port = v->io + QUEUE_NOTIFY;
    return vector == NO_VECTOR && inl(v->io + QUEUE_PFN) == q->descriptors >> PFN_SHIFT;
}

static bool queue_reset(const struct virtio *v, u16 index) { return (void)v, (void)index, false; }
static bool config_vector(const struct virtio *v, u16 vector) { return (void)v, vector == NO_VECTOR; }

const struct virtio_transport virtio_legacy = {
    .name = "legacy", .open = open, .offered = offered, .accept = accept, .status = status,
    .set_status = set_status, .config_read = config_read, .config_write = config_write,
    .generation = generation, .queue_max = queue_max, .queue_size = queue_size,
    .queue_start = queue_start, .queue_reset = queue_reset, .config_vector = config_vector,
    .isr_read = isr_read,
};
