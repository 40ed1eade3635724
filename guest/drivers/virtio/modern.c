// The modern transport (VIRTIO 1.2, 4.1): memory BARs, found through capabilities.
#include "clock.h"
#include "io.h"
#include "virtio/common.h"
#include "virtio/virtio.h"

static bool open(struct virtio *v)
{
    v->common = v->notify = v->isr = v->config = 0;
    for (u8 at = 0; (at = pci_capability(v->pci, PCI_CAP_VENDOR, at));) {
        u8 bar = pci_read8(v->pci, (u8)(at + CAP_BAR));
        if (bar > 5 || pci_read32(v->pci, (u8)(PCI_BAR0 + bar * 4)) & 1)
            continue; // reserved, or a way through ports that this driver does not go
        u64 address = pci_bar64(v->pci, bar) + pci_read32(v->pci, (u8)(at + CAP_OFFSET));
        u8 type = pci_read8(v->pci, (u8)(at + CAP_TYPE));
        u64 *where = type == CAP_COMMON   ? &v->common
                     : type == CAP_NOTIFY ? &v->notify
                     : type == CAP_ISR    ? &v->isr
                     : type == CAP_DEVICE ? &v->config
                                          : NULL;
        if (!where || *where)
            continue; // of several, the first is the preferred one
        *where = address;
        if (type == CAP_NOTIFY)
            v->notify_multiplier = pci_read32(v->pci, (u8)(at + CAP_NOTIFY_MULTIPLIER));
    }
    u16 command = pci_read16(v->pci, PCI_COMMAND);
    pci_write16(v->pci, PCI_COMMAND, command | PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
    return v->common && v->notify && v->isr;
}

static u64 offered(const struct virtio *v)
{
    mmio_write32(v->common + DEVICE_FEATURE_SELECT, 0);
    u64 low = mmio_read32(v->common + DEVICE_FEATURE);
    mmio_write32(v->common + DEVICE_FEATURE_SELECT, 1);
    return (u64)mmio_read32(v->common + DEVICE_FEATURE) << 32 | low;
}

static void accept(const struct virtio *v, u64 features)
{
    for (u32 half = 0; half < 2; half++) {
        mmio_write32(v->common + DRIVER_FEATURE_SELECT, half);
        mmio_write32(v->common + DRIVER_FEATURE, (u32)(features >> half * 32));
    }
}

static u8 status(const struct virtio *v) { return mmio_read8(v->common + DEVICE_STATUS); }
static void set_status(const struct virtio *v, u8 value) { mmio_write8(v->common + DEVICE_STATUS, value); }
static u8 generation(const struct virtio *v) { return mmio_read8(v->common + CONFIG_GENERATION); }
static u8 isr_read(const struct virtio *v) { return mmio_read8(v->isr); }

// Fields are read with their own width (4.1.3.1); what is no field of 2 or 4 bytes, bytewise.
static void config_read(const struct virtio *v, u16 offset, void *out, u16 size)
{
    u64 at = v->config + offset;
    if (size == 2 && offset % 2 == 0)
        *(u16 *)out = mmio_read16(at);
    else if (size % 4 == 0 && offset % 4 == 0)
        for (u16 i = 0; i < size; i += 4)
            *(u32 *)((u8 *)out + i) = mmio_read32(at + i);
    else
        for (u16 i = 0; i < size; i++)
            ((u8 *)out)[i] = mmio_read8(at + i);
}

static void config_write(const struct virtio *v, u16 offset, const void *in, u16 size)
{
    for (u16 i = 0; i < size; i++)
        mmio_write8(v->config + offset + i, ((const u8 *)in)[i]);
}

static u16 queue_max(const struct virtio *v, u16 index)
{
    mmio_write16(v->common + QUEUE_SELECT, index);
    return mmio_read16(v->common + QUEUE_SIZE);
}

static u16 queue_size(u16 max, u16 wanted) { return wanted && wanted < max ? wanted : max; }

// Addresses are written as two halves: a 64-bit access is not promised.
static void write64(u64 at, u64 value)
{
    mmio_write32(at, (u32)value);
    mmio_write32(at + 4, (u32)(value >> 32));
}

static bool queue_start(const struct virtio *v, struct queue *q, u16 vector)
{
    mmio_write16(v->common + QUEUE_SELECT, q->index);
    mmio_write16(v->common + QUEUE_SIZE, q->size);
    write64(v->common + QUEUE_DESC, q->descriptors);
    write64(v->common + QUEUE_DRIVER, q->driver);
    write64(v->common + QUEUE_DEVICE, q->device_area);
    mmio_write16(v->common + QUEUE_MSIX_VECTOR, vector);
    if (mmio_read16(v->common + QUEUE_MSIX_VECTOR) != vector)
        return false;
    q->port = 0;
    q->doorbell = v->notify + (u64)mmio_read16(v->common + QUEUE_NOTIFY_OFF) * v->notify_multiplier;
    mmio_write16(v->common + QUEUE_ENABLE, 1);
    return mmio_read16(v->common + QUEUE_ENABLE) == 1;
}

static bool queue_reset(const struct virtio *v, u16 index)
{
    mmio_write16(v->common + QUEUE_SELECT, index);
    mmio_write16(v->common + QUEUE_RESET, 1);
    u64 deadline = deadline_ms(1000);
    while (mmio_read16(v->common + QUEUE_RESET))
        if (deadline_passed(deadline))
            return false;
    return mmio_read16(v->common + QUEUE_ENABLE) == 0;
}

static bool config_vector(const struct virtio *v, u16 vector)
{
    mmio_write16(v->common + CONFIG_MSIX_VECTOR, vector);
    return mmio_read16(v->common + CONFIG_MSIX_VECTOR) == vector;
}

const struct virtio_transport virtio_modern = {
    .name = "modern", .open = open, .offered = offered, .accept = accept, .status = status,
    .set_status = set_status, .config_read = config_read, .config_write = config_write,
    .generation = generation, .queue_max = queue_max, .queue_size = queue_size,
    .queue_start = queue_start, .queue_reset = queue_reset, .config_vector = config_vector,
    .isr_read = isr_read,
};
