// Who gets a virtio device's interrupts: a counter for each queue.
#include "cpu.h"
#include "interrupts.h"
#include "lapic.h"
#include "pic.h"
#include "virtio/virtio.h"

enum { DEVICES = 4, VECTORS = 16, FIRST_VECTOR = 0x50 };

static struct virtio *devices[DEVICES]; // by messages: device n has FIRST_VECTOR + n * VECTORS and on
static bool pic_ready;

static void count(struct queue *q)
{
    q->interrupts++;
    if (q->also)
        ++*q->also;
}

static void on_message(struct frame *frame)
{
    unsigned n = (unsigned)frame->vector - FIRST_VECTOR;
    struct virtio *v = devices[n / VECTORS];
    u16 entry = n % VECTORS, last = (u16)(v->msix.vectors - 1);
    __atomic_fetch_add(&v->interrupts, 1, __ATOMIC_RELAXED); // several processors may take one each
    v->config_changes += entry == 0;
    // Entry n + 1 is queue n's; the last is that of all further ones, too.
    for (u16 i = entry ? (u16)(entry - 1) : last ? VIRTIO_QUEUES : 0; i < VIRTIO_QUEUES; i++) {
        if (v->queues[i])
            count(v->queues[i]);
        if (entry != last)
            break;
    }
    lapic_eoi();
}

static void on_wire(struct frame *frame)
{
    u8 line = (u8)(frame->vector - PIC_VECTOR);
    for (unsigned n = 0; n < DEVICES; n++) {
        struct virtio *v = devices[n];
        if (!v || !v->wired || pci_read8(v->pci, PCI_INT_LINE) != line)
            continue;
        u8 isr = v->transport->isr_read(v); // takes the level away
        v->interrupts += isr != 0;
        v->config_changes += isr >> 1 & 1;
        for (u16 i = 0; isr & 1 && i < VIRTIO_QUEUES; i++)
            if (v->queues[i])
                v->queues[i]->interrupts++;
    }
    pic_eoi(line);
}

bool virtio_interrupts_here(const struct queue *q)
{
    const struct virtio *v = q->device;
    u16 entry = (u16)(q->index + 1);
    unsigned n = 0;
    while (n < DEVICES && devices[n] != v)
        n++;
    if (n == DEVICES || entry + 1 >= v->msix.vectors)
        return false;
    msix_set(&v->msix, entry, (u8)(FIRST_VECTOR + n * VECTORS + entry));
    return true;
}

bool virtio_interrupts(struct virtio *v)
{
    unsigned n = 0;
    while (n < DEVICES && devices[n] && devices[n] != v)
        n++;
    if (n == DEVICES)
        return false;
    devices[n] = v;
    v->interrupts = v->config_changes = 0;
    if (!pic_ready)
        pic_init(); // for messages, too: what firmware left there may not interrupt us
    pic_ready = true;
    if (v->transport == &virtio_modern && msix_open(&v->msix, v->pci)) {
        lapic_init();
        if (v->msix.vectors > VECTORS)
            v->msix.vectors = VECTORS;
        for (u16 entry = 0; entry < v->msix.vectors; entry++) {
            interrupt_set(FIRST_VECTOR + n * VECTORS + entry, on_message);
            msix_set(&v->msix, entry, (u8)(FIRST_VECTOR + n * VECTORS + entry));
        }
        return v->transport->config_vector(v, 0);
    }
    v->wired = true;
    u8 line = pci_read8(v->pci, PCI_INT_LINE);
    interrupt_set(PIC_VECTOR + line, on_wire);
    pic_unmask(line);
    return true;
}
