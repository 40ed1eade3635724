#include "netdev.h"

#include "clock.h"
#include "cpu.h"
#include "inet.h"
#include "interrupts.h"
#include "pic.h"
#include "pit.h"
#include "ring3.h"

enum { PATIENCE_MS = 10000, LOOKS = 64, TICKS_HZ = 20, TIMER = 0 };
enum { IP = 14, TCP = 34, SUM = TCP + 16 };

static void on_tick(struct frame *frame)
{
    (void)frame;
    pic_eoi(TIMER);
}

void netdev_tick(void)
{
    interrupt_set(PIC_VECTOR + TIMER, on_tick);
    pit_start(TICKS_HZ);
    pic_unmask(TIMER);
}

static unsigned take_frames(struct netdev *d)
{
    struct received frame;
    unsigned n = 0;
    while (n < NETDEV_BUDGET && d->driver->receive(d, &frame)) {
        d->deliver(d->to, &frame);
        d->driver->release(d);
        n++;
    }
    return n;
}

// Until there is no work, and then once more: what came before interrupts were on again brings none.
static void poll(struct netdev *d)
{
    unsigned frames;
    do {
        d->polls++;
        d->driver->granted(d);
        frames = take_frames(d);
    } while (frames == NETDEV_BUDGET || d->driver->listen(d));
}

void netdev_start(struct netdev *d)
{
    if (!d->polled)
        poll(d);
}

void netdev_service(struct netdev *d)
{
    if (d->polled) {
        take_frames(d);
    } else if (*d->interrupts != d->seen) {
        d->seen = *d->interrupts;
        d->driver->quiet(d);
        poll(d);
    }
}

void netdev_wait(struct netdev *d)
{
    if (d->polled)
        // Whoever looks all the time takes the ring's memory from the card.
        for (int i = 0; i < LOOKS; i++)
            cpu_pause();
    else
        ring3_wait(d->interrupts, d->seen);
    netdev_service(d);
}

static bool wait_for(struct netdev *d, enum netdev_wish wish)
{
    netdev_flush(d);
    d->wish = wish;
    if (!d->polled && d->driver->remind(d))
        poll(d);
    u64 deadline = deadline_ms(PATIENCE_MS);
    bool granted;
    while (!(granted = d->driver->granted(d)) && !deadline_passed(deadline))
        netdev_wait(d);
    d->wish = NETDEV_NOTHING;
    return granted;
}

u8 *netdev_buffer(struct netdev *d)
{
    u8 *buffer = d->driver->buffer(d);
    if (!buffer && wait_for(d, NETDEV_ROOM))
        buffer = d->driver->buffer(d);
    return buffer;
}

bool netdev_drain(struct netdev *d) { return wait_for(d, NETDEV_SENT); }

// In software, for a card that does not finish checksums.
static void finish_sum(u8 *buffer, const struct request *r)
{
    u32 length = r->linear - TCP;
    for (unsigned i = 0; i < r->parts; i++)
        length += r->part[i].length;
    put_be16(buffer + SUM, 0);
    u32 sum = ones_sum(buffer + TCP, r->linear - TCP, pseudo_sum(buffer + IP, length));
    bool odd = r->linear & 1;
    for (unsigned i = 0; i < r->parts; i++) {
        u16 part = ones_sum(r->part[i].data, r->part[i].length, 0);
        sum += odd ? (u16)(part << 8 | part >> 8) : part;
        odd ^= r->part[i].length & 1;
    }
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    put_be16(buffer + SUM, (u16)~sum);
}

void netdev_queue(struct netdev *d, u8 *buffer, const struct request *r)
{
    if (r->sum && !d->sums) {
        struct request whole = *r;
        finish_sum(buffer, r);
        whole.sum = false;
        d->driver->queue(d, buffer, &whole);
    } else {
        d->driver->queue(d, buffer, r);
    }
    if (++d->unkicked >= d->batch)
        netdev_flush(d);
}

void netdev_flush(struct netdev *d)
{
    if (!d->unkicked)
        return;
    d->unkicked = 0;
    d->driver->kick(d);
}
