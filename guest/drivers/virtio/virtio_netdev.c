#include "virtio/virtio_netdev.h"

#include "inet.h"
#include "pic.h"
#include "string.h"
#include "virtio/net.h"

// Linux's: a queue is started again when a frame of 17 fragments fits, and receive buffers are pages when
// what comes is large.
enum { WAKE = 2 + 17, PAGE = 4096 };
enum { IP = 14, TCP = 34, SUM = 16 };

static struct net card;
static struct net_frame taken;

static struct queue *tx(void) { return &card.tx[0].queue; }
static struct queue *rx(void) { return &card.rx[0].queue; }

static u8 *buffer(struct netdev *d)
{
    (void)d;
    return net_buffer(&card, 0);
}

static void queue(struct netdev *d, u8 *frame, const struct request *r)
{
    (void)d;
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
    net_queue_with(&card, 0, frame, r->linear, more, r->parts);
}

static void kick(struct netdev *d) { (void)d, net_kick(&card, 0); }

static bool granted(struct netdev *d)
{
    unsigned room = net_room(&card, 0);
    return d->wish == NETDEV_SENT ? !queue_pending(tx()) : room >= (d->polled ? tx()->size / 2u : WAKE);
}

static bool receive(struct netdev *d, struct received *frame)
{
    (void)d;
    if (!net_receive(&card, 0, &taken))
        return false;
    *frame = (struct received){.data = taken.part[0].data, .first = taken.part[0].length, .length = taken.length,
                               .checked = taken.header.flags & (NET_NEEDS_CSUM | NET_DATA_VALID)};
    if (taken.header.gso_type != NET_GSO_NONE)
        frame->mss = taken.header.gso_size;
    return true;
}

static void release(struct netdev *d) { (void)d, net_release(&card, 0, &taken); }

static void quiet(struct netdev *d)
{
    (void)d;
    queue_quiet(rx());
    queue_quiet(tx());
}

static bool remind(struct netdev *d)
{
    u64 pending = queue_pending(tx());
    if (d->wish == NETDEV_NOTHING || !pending)
        return false;
    return queue_listen(tx(), (u16)(d->wish == NETDEV_SENT ? pending : pending * 3 / 4 + 1));
}

static bool listen(struct netdev *d)
{
    bool frames = queue_listen(rx(), 1);
    return remind(d) || frames;
}

static u64 kicks(const struct netdev *d) { return (void)d, tx()->kicks + rx()->kicks; }

static const struct netdev_driver driver = {buffer, queue, kick, granted, receive, release, quiet, listen, remind, kicks};

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
    if (!net_open(&card, 0, &options))
        return false;
    u64 features = card.device.features;
    d->name = "virtio-net";
    d->driver = &driver;
    d->interrupts = &card.device.interrupts;
    d->sums = features & NET_F_CSUM;
    d->cuts = d->sums && features & NET_F_HOST_TSO4;
    d->merges = (features & NET_F_MRG_RXBUF) && (features & NET_F_GUEST_TSO4);
    memcpy(d->mac, card.mac, 6);
    return true;
}
