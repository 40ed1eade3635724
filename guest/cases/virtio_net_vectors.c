// MSI-X of virtio-net: a vector for each queue, masks and pending bits, and a queue without one. Keys:
// net_options.h.
#include "clock.h"
#include "cpu.h"
#include "report.h"
#include "ring3.h"
#include "virtio/common.h"
#include "virtio/net_loop.h"
#include "virtio/net_options.h"

enum { SOON_MS = 2000, NEVER_MS = 30, SIZE = 64 };
enum { RX = 0, TX = 1 };

static struct net net;
#define V (&net.device)

static volatile u32 *count(u16 queue) { return &V->queues[queue]->interrupts; }

// Sends a frame and waits until it is back and reported sent. One queue alone asks for an interrupt.
static u64 send_asking(u64 asking)
{
    static struct net_frame frame;
    u8 *out = net_buffer(&net, 0);
    queue_quiet(V->queues[1 - asking]);
    if (!out || queue_listen(V->queues[asking], 1))
        return false;
    net_loop_write(&net, out, SIZE, 1);
    net_queue(&net, 0, out, SIZE);
    net_kick(&net, 0);
    u64 deadline = deadline_ms(SOON_MS);
    while (!net_receive(&net, 0, &frame))
        if (deadline_passed(deadline))
            return false;
    net_release(&net, 0, &frame);
    while (!net_sent(&net, 0))
        if (deadline_passed(deadline))
            return false;
    return true;
}

// Does this queue's vector fire, or not, for a frame; and the other's never?
static bool fires(u16 queue, bool wanted)
{
    u32 before = *count(queue), other = *count(1 - queue);
    u32 ms = wanted ? SOON_MS : NEVER_MS;
    return ring3_call(send_asking, queue) && wait_count(count(queue), before + 1, ms) == wanted &&
           *count(queue) == before + wanted && *count(1 - queue) == other;
}

static u16 vector(u16 queue, u16 value)
{
    mmio_write16(V->common + QUEUE_SELECT, queue);
    mmio_write16(V->common + QUEUE_MSIX_VECTOR, value);
    return mmio_read16(V->common + QUEUE_MSIX_VECTOR);
}

int main(void)
{
    struct net_options options = net_options();
    options.interrupts = true;
    clock_init();
    if (!net_open_checked(&net, &options))
        return report_summary();
    if (!report(V->msix.vectors >= 3, "offer", "a vector for each queue and one for the configuration"))
        return report_summary();
    fires(RX, true); // a queue's first notification may come unasked
    fires(TX, true);
    report(fires(RX, true), "rx", "receiving fires the receive queue's vector alone");
    report(fires(TX, true), "tx", "sending fires the transmit queue's vector alone");

    msix_mask(&V->msix, RX + 1, true);
    report(fires(RX, false), "mask", "a masked vector does not fire");
    report(msix_pending(&V->msix, RX + 1) && !msix_pending(&V->msix, TX + 1),
           "pending", "but waits, and says so");
    u32 before = *count(RX);
    msix_mask(&V->msix, RX + 1, false);
    report(wait_count(count(RX), before + 1, SOON_MS) && !msix_pending(&V->msix, RX + 1), "unmask",
           "lets it through");

    u16 control = pci_read16(V->pci, (u8)(V->msix.capability + 2));
    pci_write16(V->pci, (u8)(V->msix.capability + 2), control | 1 << 14);
    bool silent = fires(TX, false);
    before = *count(TX);
    pci_write16(V->pci, (u8)(V->msix.capability + 2), control);
    report(silent && wait_count(count(TX), before + 1, SOON_MS),
           "function_mask", "holds all of them back for a while");

    report(vector(RX, NO_VECTOR) == NO_VECTOR && fires(RX, false),
           "no_vector", "a queue without one is silent");
    report(vector(RX, 1000) == NO_VECTOR, "vector_wrong", "one that is not there is refused");
    report(vector(RX, RX + 1) == RX + 1 && fires(RX, true), "vector_again", "it may have one again");
    return report_summary();
}
