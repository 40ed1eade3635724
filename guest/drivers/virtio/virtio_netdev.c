#include "virtio/virtio_netdev.h"

#include "inet.h"
#include "pic.h"
#include "string.h"
#include "virtio/net_control.h"

// Linux's: a queue is started again when a frame of 17 fragments fits, and receive buffers are pages when
// what comes is large.
enum { WAKE = 2 + 17, PAGE = 4096 };
enum { IP = 14, TCP = 34, SUM = 16 };

static struct net card;
static struct {
    unsigned sending, taking; // the pairs whose turn it is
    struct net_frame taken;
} turns[NET_PAIRS]; // of each netdev, by its first pair

static unsigned last(const struct netdev *d) { return d->first + d->queues - 1; }
static unsigned after(const struct netdev *d, unsigned pair) { return pair < last(d) ? pair + 1 : d->first; }
static struct queue *tx(unsigned pair) { return &card.tx[pair].queue; }
static struct queue *rx(unsigned pair) { return &card.rx[pair].queue; }

// A doorbell's requests stay on their pair; before the first of them, those that are full are passed over.
static u8 *buffer(struct netdev *d)
{
    unsigned *sending = &turns[d->first].sending;
    for (unsigned looks = d->unkicked ? 1 : d->queues; looks--; *sending = after(d, *sending)) {
        u8 *found = net_buffer(&card, *sending);
        if (found || d->unkicked)
            return found;
    }
    return NULL;
}

static void queue(struct netdev *d, u8 *frame, const struct request *r)
{
    struct piece more[NETDEV_PARTS];
    u32 length = r->linear - TCP;
    for (unsigned i = 0; i < r->parts; i++) {
        more[i] = (struct piece){(u64)r->part[i].data, r->part[i].length};
        length += r->part[i].length;
    }
    if (r->sum) {
        struct net_header *h = net_header_of(&card, frame);
        h->flags = NET_NEEDS_CSUM;
        h->csum_start = TCP;
        h->csum_offset = SUM;
        if (r->mss) {
            h->gso_type = NET_GSO_TCPV4;
            h->gso_size = r->mss;
            h->header_length = NETDEV_HEADERS;
        }
        put_be16(frame + TCP + SUM, pseudo_sum(frame + IP, length));
    }
    unsigned sending = turns[d->first].sending;
    net_queue_with(&card, sending, frame, r->linear, more, r->parts);
    d->moved[sending]++;
}

static void kick(struct netdev *d)
{
    unsigned *sending = &turns[d->first].sending;
    net_kick(&card, *sending);
    *sending = after(d, *sending);
}

static bool granted(struct netdev *d)
{
    bool room = false, sent = true;
    for (unsigned pair = d->first; pair <= last(d); pair++) {
        room |= net_room(&card, pair) >= (d->polled ? tx(pair)->size / 2u : WAKE);
        sent &= !queue_pending(tx(pair));
    }
    return d->wish == NETDEV_SENT ? sent : room;
}

static bool receive(struct netdev *d, struct received *frame)
{
    unsigned *taking = &turns[d->first].taking, looks = d->queues;
    struct net_frame *taken = &turns[d->first].taken;
    while (!net_receive(&card, *taking, taken)) {
        *taking = after(d, *taking);
        if (!--looks)
            return false;
    }
    *frame = (struct received){.data = taken->part[0].data, .first = taken->part[0].length, .length = taken->length,
                               .checked = taken->header.flags & (NET_NEEDS_CSUM | NET_DATA_VALID)};
    if (taken->header.gso_type != NET_GSO_NONE)
        frame->mss = taken->header.gso_size;
    d->moved[*taking]++;
    return true;
}

static void release(struct netdev *d)
{
    unsigned *taking = &turns[d->first].taking;
    net_release(&card, *taking, &turns[d->first].taken);
    *taking = after(d, *taking);
}

static void quiet(struct netdev *d)
{
    for (unsigned pair = d->first; pair <= last(d); pair++) {
        queue_quiet(rx(pair));
        queue_quiet(tx(pair));
    }
}

static bool remind(struct netdev *d)
{
    bool done = false;
    for (unsigned pair = d->first; pair <= last(d) && d->wish != NETDEV_NOTHING; pair++) {
        u64 pending = queue_pending(tx(pair));
        if (pending)
            done |= queue_listen(tx(pair), (u16)(d->wish == NETDEV_SENT ? pending : pending * 3 / 4 + 1));
    }
    return done;
}

static bool listen(struct netdev *d)
{
    bool frames = false;
    for (unsigned pair = d->first; pair <= last(d); pair++)
        frames |= queue_listen(rx(pair), 1);
    return remind(d) || frames;
}

static u64 kicks(const struct netdev *d)
{
    u64 sum = 0;
    for (unsigned pair = d->first; pair <= last(d); pair++)
        sum += tx(pair)->kicks + rx(pair)->kicks;
    return sum;
}

static bool take_pair(struct netdev *d, const struct netdev *whole, unsigned pair)
{
    static volatile u32 interrupts[NET_PAIRS];
    *d = *whole;
    d->first = turns[pair].sending = turns[pair].taking = pair;
    d->queues = 1;
    d->interrupts = &interrupts[pair];
    rx(pair)->also = tx(pair)->also = &interrupts[pair];
    return d->polled || (virtio_interrupts_here(rx(pair)) && virtio_interrupts_here(tx(pair)));
}

static const struct netdev_driver driver = {buffer, queue,  kick,   granted, receive, release,
                                            quiet,  listen, remind, kicks,   take_pair};

// The card starts with one pair; it is told of more by a command, whose end is looked for.
static bool open_pairs(struct net_options *options, unsigned pairs)
{
    if (pairs <= 1)
        return net_open(&card, 0, options);
    struct net_options several = *options;
    several.pairs = pairs;
    several.wanted |= NET_F_CTRL_VQ | NET_F_MQ;
    if (!net_open(&card, 0, &several))
        return false;
    card.control.polled = true;
    queue_quiet(&card.control);
    return net_use_pairs(&card, (u16)pairs);
}

// A queue's interrupts are counted where virtio_interrupts() puts them.
bool virtio_netdev(struct netdev *d)
{
    struct net_options options = {.transport = &virtio_modern, .wanted = NET_WANTED | NET_F_GUEST_CSUM,
                                  .interrupts = !d->polled};
    if (d->merges) {
        options.wanted |= NET_F_MRG_RXBUF | NET_F_GUEST_TSO4;
        options.rx_buffer = PAGE;
    }
    if (d->polled)
        pic_init();
    if (!open_pairs(&options, d->queues) && !open_pairs(&options, 1))
        return false;
    u64 features = card.device.features;
    d->name = "virtio-net";
    d->driver = &driver;
    d->first = 0;
    d->queues = card.pairs;
    d->interrupts = &card.device.interrupts;
    d->sums = features & NET_F_CSUM;
    d->cuts = d->sums && features & NET_F_HOST_TSO4;
    d->merges = (features & NET_F_MRG_RXBUF) && (features & NET_F_GUEST_TSO4);
    memcpy(d->mac, card.mac, 6);
    return true;
}
