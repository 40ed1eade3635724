#include "virtio/net_options.h"

#include "cmdline.h"
#include "report.h"

struct net_options net_options(void)
{
    char transport[8] = "modern";
    cmdline_get("transport", transport, sizeof transport);
    struct net_options o = {.transport = virtio_transport(transport), .wanted = NET_WANTED,
                            .entries = (u16)cmdline_u64("entries", 0), .rx_buffer = (u32)cmdline_u64("buffer", 0),
                            .interrupts = cmdline_u64("irq", 0)};
    if (cmdline_u64("packed", 0))
        o.wanted |= F_RING_PACKED;
    if (!cmdline_u64("event_idx", 1))
        o.wanted &= ~F_EVENT_IDX;
    if (!cmdline_u64("indirect", 1))
        o.wanted &= ~F_INDIRECT_DESC;
    if (cmdline_u64("merge", 0))
        o.wanted |= NET_F_MRG_RXBUF;
    if (cmdline_u64("tso", 0))
        o.wanted |= NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6;
    return o;
}

bool net_open_checked(struct net *net, const struct net_options *options)
{
    bool opened = net_open(net, 0, options);
    u64 asked = options->wanted & (F_RING_PACKED | F_EVENT_IDX);
    bool as_asked = (net->device.features & (F_RING_PACKED | F_EVENT_IDX)) == asked;
    return report(opened && as_asked, "open", "a card, %s, %s ring",
                  options->transport ? options->transport->name : "no transport",
                  net->device.features & F_RING_PACKED ? "packed" : "split");
}
