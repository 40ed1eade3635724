#include "virtio/virtio.h"

#include "clock.h"
#include "string.h"

const struct virtio_transport *virtio_transport(const char *name)
{
    static const struct virtio_transport *const all[] = {&virtio_legacy, &virtio_modern};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

// A transitional ID says what the device is by its place in a list, a modern one by its number (4.1.2).
static u16 type_of(u16 id)
{
    static const u16 transitional[] = {
        [0] = VIRTIO_NET, [1] = VIRTIO_BLK, [3] = VIRTIO_CONSOLE, [5] = VIRTIO_RNG};
    if (id >= 0x1040 && id < 0x1080)
        return (u16)(id - 0x1040);
    return id >= 0x1000 && id - 0x1000u < ARRAY_SIZE(transitional) ? transitional[id - 0x1000] : 0;
}

static bool find(struct virtio *v, u16 type, unsigned nth)
{
    for (u8 slot = 0; slot < 32; slot++) {
        v->pci = (struct pci_device){slot};
        u32 id = pci_read32(v->pci, PCI_ID);
        if ((id & 0xFFFF) == VIRTIO_VENDOR && type_of((u16)(id >> 16)) == type && nth-- == 0)
            return true;
    }
    return false;
}

bool virtio_open(struct virtio *v, u16 type, unsigned nth, const struct virtio_transport *transport)
{
    v->transport = transport;
    v->features = 0;
    v->msix.vectors = 0;
    v->wired = false;
    memset(v->queues, 0, sizeof v->queues);
    if (!transport || !find(v, type, nth) || !transport->open(v))
        return false;
    virtio_reset(v);
    transport->set_status(v, STATUS_ACKNOWLEDGE);
    transport->set_status(v, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    v->offered = transport->offered(v);
    return transport->status(v) == (STATUS_ACKNOWLEDGE | STATUS_DRIVER);
}

bool virtio_negotiate(struct virtio *v, u64 wanted)
{
    const struct virtio_transport *t = v->transport;
    if (t == &virtio_modern)
        wanted |= F_VERSION_1;
    v->features = v->offered & wanted;
    t->accept(v, v->features);
    if (t == &virtio_legacy)
        return true;
    if (!(v->features & F_VERSION_1))
        return false;
    t->set_status(v, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    return t->status(v) & STATUS_FEATURES_OK;
}

bool virtio_queue(struct virtio *v, struct queue *q, u16 index, u16 size, u16 indirect)
{
    u16 max = v->transport->queue_max(v, index);
    if (!max || index >= VIRTIO_QUEUES)
        return false;
    q->device = v;
    q->index = index;
    q->event_idx = v->features & F_EVENT_IDX;
    queue_create(q, v->features & F_RING_PACKED ? &queue_packed : &queue_split,
                 v->transport->queue_size(max, size), v->features & F_INDIRECT_DESC ? indirect : 0);
    v->queues[index] = q;
    q->polled = !v->msix.vectors && !v->wired;
    if (q->polled)
        queue_quiet(q);
    // Entry 0 is for configuration changes; queues share the last when there are not enough.
    u16 last = (u16)(v->msix.vectors - 1), vector = (u16)(index + 1 < last ? index + 1 : last);
    return v->transport->queue_start(v, q, v->msix.vectors ? vector : NO_VECTOR);
}

void virtio_ready(struct virtio *v)
{
    v->transport->set_status(v, v->transport->status(v) | STATUS_DRIVER_OK);
}

void virtio_reset(struct virtio *v)
{
    v->transport->set_status(v, 0);
    u64 deadline = deadline_ms(1000);
    while (v->transport->status(v) && !deadline_passed(deadline))
        ;
}

void virtio_config(const struct virtio *v, u16 offset, void *out, u16 size)
{
    u8 before;
    do {
        before = v->transport->generation(v);
        v->transport->config_read(v, offset, out, size);
    } while (before != v->transport->generation(v));
}
