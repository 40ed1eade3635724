// virtio-net by the modern transport: what it is, what it offers, how negotiation goes.
#include "clock.h"
#include "cmdline.h"
#include "report.h"
#include "string.h"
#include "virtio/common.h"
#include "virtio/net.h"

static struct net net;
#define V (&net.device)
enum { NOBODY = 1000 }; // a queue's number

static void identity(void)
{
    u32 id = pci_read32(V->pci, PCI_ID) >> 16, class = pci_read32(V->pci, PCI_REVISION);
    report(id == 0x1000 || id == 0x1041, "identity", "virtio-net, transitional or modern");
    report(class >> 16 == 0x0200 && (id == 0x1000 || (class & 0xFF) >= 1), "class",
           "an Ethernet card; a modern one has revision 1 or more");
    unsigned found = 0;
    bool inside = true;
    for (u8 at = 0; (at = pci_capability(V->pci, PCI_CAP_VENDOR, at));) {
        u8 type = pci_read8(V->pci, (u8)(at + CAP_TYPE)), bar = pci_read8(V->pci, (u8)(at + CAP_BAR));
        found |= 1u << type;
        if (type == CAP_PCI)
            continue;
        u64 end = (u64)pci_read32(V->pci, (u8)(at + CAP_OFFSET)) + pci_read32(V->pci, (u8)(at + CAP_LENGTH));
        inside = inside && bar <= 5 && end <= pci_bar_size(V->pci, bar);
    }
    report((found & 0x1E) == 0x1E && inside, "capabilities", "all four structures, inside their BARs");
    report(found & 1 << CAP_PCI, "capability_pci", "and the way through configuration space");
}

// Does FEATURES_OK stay set for these?
static bool accepts(u64 features)
{
    const struct virtio_transport *t = V->transport;
    virtio_reset(V);
    t->set_status(V, STATUS_ACKNOWLEDGE);
    t->set_status(V, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    t->accept(V, features);
    t->set_status(V, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    return t->status(V) & STATUS_FEATURES_OK;
}

static void negotiation(void)
{
    report(V->offered & F_VERSION_1 && V->offered & NET_F_MAC && V->offered & F_INDIRECT_DESC &&
               V->offered & F_EVENT_IDX, "offer", "VERSION_1, MAC, indirect descriptors and event indices");
    report(accepts(V->offered), "features_ok", "all that is offered may be taken");
    report(accepts(F_VERSION_1), "features_few", "or nothing but VERSION_1");
    if (cmdline_u64("strict", 0)) {
        report(!accepts(V->offered & ~F_VERSION_1), "version_1", "but not without it");
        report(!accepts(V->offered | FEATURE(50)), "unoffered", "nor what is not offered");
    }
    virtio_reset(V);
    report(V->transport->status(V) == 0, "reset", "status 0 after a reset");
    mmio_write32(V->common + DEVICE_FEATURE_SELECT, 2);
    report(mmio_read32(V->common + DEVICE_FEATURE) == 0, "feature_select", "no features beyond bit 63");
}

static void queues(void)
{
    const struct virtio_transport *t = V->transport;
    u16 count = mmio_read16(V->common + NUM_QUEUES), size = t->queue_max(V, 0);
    report(count >= 2 && size >= 16 && !(size & (size - 1)), "queues", "two or more, of a power of two");
    report(t->queue_max(V, NOBODY) == 0, "no_queue", "a queue that is not there has size 0");
    mmio_write16(V->common + QUEUE_SELECT, 0);
    report(mmio_read16(V->common + QUEUE_ENABLE) == 0, "queue_off", "queues start disabled");
    mmio_write32(V->common + QUEUE_DESC, 0x12345000);
    mmio_write32(V->common + QUEUE_DESC + 4, 0x1);
    mmio_write16(V->common + QUEUE_SELECT, 1);
    u32 other = mmio_read32(V->common + QUEUE_DESC);
    mmio_write16(V->common + QUEUE_SELECT, 0);
    report(mmio_read32(V->common + QUEUE_DESC) == 0x12345000 && mmio_read32(V->common + QUEUE_DESC + 4) == 1 &&
               other == 0, "queue_addresses", "each queue has its own");
    virtio_reset(V);
    mmio_write16(V->common + QUEUE_SELECT, 0);
    report(mmio_read32(V->common + QUEUE_DESC) == 0 && t->queue_max(V, 0) == size,
           "queue_reset", "gone after a reset");
}

static void configuration(const struct net_options *options)
{
    report(net_open(&net, 0, options), "open", "DRIVER_OK");
    char wanted[20] = "";
    if (cmdline_get("mac", wanted, sizeof wanted)) {
        char got[20];
        for (unsigned i = 0; i < 6; i++) {
            got[i * 3] = "0123456789abcdef"[net.mac[i] >> 4];
            got[i * 3 + 1] = "0123456789abcdef"[net.mac[i] & 15];
            got[i * 3 + 2] = i == 5 ? '\0' : ':';
        }
        report(strcmp(wanted, got) == 0, "mac", "%s", got);
    }
    report(!(net.mac[0] & 1), "mac_unicast", "the address is that of one station");
    report(net_status(&net) & NET_LINK_UP, "link", "up");
    u8 generation = V->transport->generation(V);
    report(V->transport->generation(V) == generation, "generation", "stands still while nothing changes");
    report(net.header == 12, "header", "12 bytes, with num_buffers");
}

int main(void)
{
    static const struct net_options options = {.transport = &virtio_modern, .wanted = NET_WANTED};
    clock_init();
    if (!report(virtio_open(V, VIRTIO_NET, 0, &virtio_modern), "found", "a card for a modern driver"))
        return report_summary();
    identity();
    negotiation();
    queues();
    configuration(&options);
    return report_summary();
}
