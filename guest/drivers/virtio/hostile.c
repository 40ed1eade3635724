#include "virtio/hostile.h"

#include "clock.h"
#include "cmdline.h"
#include "report.h"
#include "string.h"

enum { ENTRIES = 64, MOMENT_MS = 10 };

struct net victim, witness;

static bool start(struct net *net, unsigned nth, const struct virtio_transport *transport, u64 features,
                  u32 rx_buffer)
{
    struct net_options o = {.transport = transport, .wanted = NET_WANTED | features, .entries = ENTRIES,
                            .rx_buffer = rx_buffer};
    return net_open(net, nth, &o);
}

void hostile_start(u64 features, u32 rx_buffer) { start(&victim, 0, &virtio_modern, features, rx_buffer); }

bool hostile_start_legacy(void) { return start(&victim, 0, &virtio_legacy, 0, 0); }

int hostile_run(const struct hostile_group *groups, size_t count)
{
    char only[16] = "";
    cmdline_get("only", only, sizeof only);
    clock_init();
    bool opened = start(&victim, 0, &virtio_modern, 0, 0) && start(&witness, 1, &virtio_modern, 0, 0);
    if (!report(opened, "hostile_open", "two cards"))
        return report_summary();
    for (size_t i = 0; i < count; i++)
        if (!*only || strcmp(only, groups[i].name) == 0)
            groups[i].run();
    hostile_start(0, 0);
    report(net_loop_works(&victim, 1000), "recovered", "after a reset the first card works, too");
    return report_summary();
}

void victim_sends(u32 size)
{
    u8 *out = net_buffer(&victim, 0);
    if (!out)
        return;
    net_loop_write(&victim, out, size, 0);
    net_queue(&victim, 0, out, size);
    net_kick(&victim, 0);
}

void survived(const char *name)
{
    u64 deadline = deadline_ms(MOMENT_MS);
    while (!deadline_passed(deadline))
        ;
    victim.device.transport->isr_read(&victim.device);
    report(net_loop_works(&witness, 200), name, "the other card works");
}

void raw_descriptor(struct queue *q, u16 n, u64 address, u32 length, u16 flags, u16 next)
{
    ((struct descriptor *)q->descriptors)[n] = (struct descriptor){address, length, flags, next};
}

void raw_offer(struct queue *q, u16 head)
{
    ((volatile struct avail_ring *)q->driver)->heads[q->avail++ & (q->size - 1)] = head;
}

void raw_index(struct queue *q, u16 index)
{
    order();
    ((volatile struct avail_ring *)q->driver)->index = index;
}

void raw_kick(struct queue *q)
{
    raw_index(q, q->avail);
    queue_notify(q);
}
