// virtio-net by the legacy transport, through the I/O BAR alone.
#include "clock.h"
#include "io.h"
#include "report.h"
#include "virtio/net.h"

static struct net net;
#define V (&net.device)

int main(void)
{
    static const struct net_options options = {.transport = &virtio_legacy,
                                               .wanted = NET_WANTED & ~F_ANY_LAYOUT};
    const struct virtio_transport *t = &virtio_legacy;
    clock_init();
    if (!report(virtio_open(V, VIRTIO_NET, 0, t), "found", "a card for a legacy driver"))
        return report_summary();
    // A legacy driver goes by the subsystem, and by a revision of 0 (4.1.2.3).
    report(pci_read32(V->pci, PCI_ID) == 0x10001AF4, "identity", "1af4:1000");
    report(pci_read16(V->pci, PCI_SUBSYSTEM + 2) == VIRTIO_NET, "subsystem", "says network card");
    report(pci_bar_size(V->pci, 0) >= 32, "io_bar", "holds registers and configuration");
    report(V->offered & NET_F_MAC && V->offered & F_EVENT_IDX && !(V->offered >> 32), "offer",
           "MAC and event indices, in 32 bits");
    u16 size = t->queue_max(V, 0);
    report(size >= 16 && !(size & (size - 1)), "queues", "of a power of two");
    report(t->queue_max(V, 1000) == 0, "no_queue", "a queue that is not there has size 0");
    t->queue_max(V, 0);
    report(inl(V->io + 8) == 0, "pfn", "0 before the queue is set up");
    report(net_open(&net, 0, &options), "open", "DRIVER_OK without FEATURES_OK; queues by page number");
    report(t->status(V) == (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK), "status", "reads back");
    report(net.header == 10 && net.own_piece, "header", "10 bytes in a descriptor of its own");
    report(!(net.mac[0] & 1), "mac", "the address is that of one station");
    report(net_status(&net) & NET_LINK_UP, "link", "up");
    t->isr_read(V);
    report(t->isr_read(V) == 0, "isr", "is cleared by reading it");
    virtio_reset(V);
    t->queue_max(V, 0);
    report(t->status(V) == 0 && inl(V->io + 8) == 0, "reset", "no status, no queue");
    return report_summary();
}
