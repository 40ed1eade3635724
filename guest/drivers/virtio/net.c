#include "virtio/net.h"

#include "pages.h"

// RX_BATCH: buffers given back before the device hears of it. RX_ENTRIES: what absorbs a burst; more would
// only spread the frames over the caches, while a longer TX ring means fewer interrupts.
enum { RX_BATCH = 16, RX_ENTRIES = 1024 };

// Memory for buffers, kept over a reset; all of them are ours.
static void give_buffers(struct net_side *side, u32 stride)
{
    size_t needed = (size_t)side->queue.size * stride;
    if (side->capacity < needed) {
        side->capacity = needed;
        side->buffers = pages_take(needed);
    }
    side->stride = stride;
    side->free_count = 0;
    for (u16 i = side->queue.size; i-- > 0;)
        side->free[side->free_count++] = i;
}

static u8 *buffer(const struct net_side *side, u16 n) { return side->buffers + (size_t)n * side->stride; }

static bool start_pair(struct net *net, unsigned pair, const struct net_options *o)
{
    u16 rx_entries = o->entries ? o->entries : RX_ENTRIES, tx_entries = o->entries ? o->entries : NET_ENTRIES;
    u16 indirect = o->indirect ? o->indirect : NET_PIECES;
    struct net_side *rx = &net->rx[pair], *tx = &net->tx[pair];
    if (!virtio_queue(&net->device, &rx->queue, (u16)(pair * 2), rx_entries, 0) ||
        !virtio_queue(&net->device, &tx->queue, (u16)(pair * 2 + 1), tx_entries, indirect) ||
        rx->queue.size > NET_ENTRIES || tx->queue.size > NET_ENTRIES)
        return false;
    give_buffers(rx, o->rx_buffer ? o->rx_buffer : NET_BUFFER);
    give_buffers(tx, NET_BUFFER);
    queue_quiet(&rx->queue);
    queue_quiet(&tx->queue);
    return true;
}

bool net_prepare(struct net *net, unsigned nth, const struct net_options *o)
{
    struct virtio *v = &net->device;
    if (!virtio_open(v, VIRTIO_NET, nth, o->transport) || !virtio_negotiate(v, o->wanted) ||
        (o->interrupts && !virtio_interrupts(v)))
        return false;
    bool wide = v->features & (F_VERSION_1 | NET_F_MRG_RXBUF);
    net->header = wide ? 12 : 10;
    net->own_piece = !(v->features & (F_VERSION_1 | F_ANY_LAYOUT));
    net->pairs = o->pairs ? o->pairs : 1;
    u16 most = 1;
    if (v->features & NET_F_MQ)
        virtio_config(v, NET_CONFIG_MAX_PAIRS, &most, 2);
    if (net->pairs > most || net->pairs > NET_PAIRS)
        return false;
    for (unsigned pair = 0; pair < net->pairs; pair++)
        if (!start_pair(net, pair, o))
            return false;
    // The control queue comes behind all pairs that the device has, not those in use (5.1.2).
    if (v->features & NET_F_CTRL_VQ && !virtio_queue(v, &net->control, (u16)(most * 2), 64, 8))
        return false;
    if (v->features & NET_F_MAC)
        virtio_config(v, NET_CONFIG_MAC, net->mac, 6);
    return true;
}

void net_start(struct net *net)
{
    virtio_ready(&net->device);
    for (unsigned pair = 0; pair < net->pairs; pair++)
        net_refill(net, pair);
}

bool net_open(struct net *net, unsigned nth, const struct net_options *options)
{
    if (!net_prepare(net, nth, options))
        return false;
    net_start(net);
    return true;
}

bool net_restart_pair(struct net *net, unsigned pair, const struct net_options *options)
{
    if (!start_pair(net, pair, options))
        return false;
    net_refill(net, pair);
    return true;
}

u16 net_status(const struct net *net)
{
    u16 status = NET_LINK_UP;
    if (net->device.features & NET_F_STATUS)
        virtio_config(&net->device, NET_CONFIG_STATUS, &status, 2);
    return status;
}

static void clean(struct net_side *tx)
{
    u64 token;
    u32 length;
    while (queue_take(&tx->queue, &token, &length))
        if (token < NET_ENTRIES)
            tx->free[tx->free_count++] = (u16)token;
}

// Stores, not memset(): twelve bytes for every frame there is.
static void clear_header(const struct net *net, u8 *at)
{
    struct net_header *h = (struct net_header *)at;
    h->flags = h->gso_type = 0;
    h->header_length = h->gso_size = h->csum_start = h->csum_offset = 0;
    if (net->header == sizeof *h)
        h->num_buffers = 0;
}

u8 *net_buffer(struct net *net, unsigned pair)
{
    struct net_side *tx = &net->tx[pair];
    // Looking at what was sent costs: only when there is no room without.
    if (!tx->free_count || tx->queue.room < 2)
        clean(tx);
    if (!tx->free_count || tx->queue.room < 2)
        return NULL;
    u8 *at = buffer(tx, tx->free[tx->free_count - 1]);
    clear_header(net, at);
    return at + net->header;
}

struct net_header *net_header_of(const struct net *net, u8 *frame)
{
    return (struct net_header *)(frame - net->header);
}

bool net_queue_with(struct net *net, unsigned pair, u8 *frame, u32 length, const struct piece *more, unsigned count)
{
    struct net_side *tx = &net->tx[pair];
    u64 at = (u64)frame - net->header;
    struct piece pieces[2 + NET_MORE] = {{at, net->header + length}};
    unsigned n = 1;
    if (net->own_piece) {
        pieces[0].length = net->header;
        pieces[n++] = (struct piece){(u64)frame, length};
    }
    for (unsigned i = 0; i < count && i < NET_MORE; i++)
        pieces[n++] = more[i];
    // The buffer is the one that net_buffer() gave.
    bool added = queue_add(&tx->queue, pieces, n, 0, tx->free[tx->free_count - 1]);
    tx->free_count = (u16)(tx->free_count - added);
    return added;
}

void net_queue(struct net *net, unsigned pair, u8 *frame, u32 length)
{
    net_queue_with(net, pair, frame, length, NULL, 0);
}

void net_kick(struct net *net, unsigned pair) { queue_kick(&net->tx[pair].queue); }

unsigned net_room(struct net *net, unsigned pair)
{
    clean(&net->tx[pair]);
    return net->tx[pair].queue.room;
}

bool net_sent(struct net *net, unsigned pair)
{
    clean(&net->tx[pair]);
    return queue_pending(&net->tx[pair].queue) == 0;
}

bool net_queue_pieces(struct net *net, unsigned pair, const struct piece *pieces, unsigned count)
{
    return queue_add(&net->tx[pair].queue, pieces, count, 0, ~0ull);
}

static u16 take_buffer(struct net_side *rx, u32 *length)
{
    u64 token = 0;
    return queue_take(&rx->queue, &token, length) ? (u16)token : 0xFFFF;
}

bool net_receive(struct net *net, unsigned pair, struct net_frame *frame)
{
    struct net_side *rx = &net->rx[pair];
    u32 length;
    u16 n = take_buffer(rx, &length);
    if (n == 0xFFFF)
        return false;
    frame->header = *(struct net_header *)buffer(rx, n);
    if (net->header < sizeof frame->header)
        frame->header.num_buffers = 1;
    unsigned buffers = net->device.features & NET_F_MRG_RXBUF ? frame->header.num_buffers : 1;
    frame->part[0].data = buffer(rx, n) + net->header;
    frame->part[0].length = length < net->header ? 0 : length - net->header;
    frame->part[0].buffer = n;
    frame->length = frame->part[0].length;
    frame->parts = 1;
    while (frame->parts < buffers && frame->parts < NET_PARTS) {
        n = take_buffer(rx, &length);
        if (n == 0xFFFF) { // a frame's buffers must be used all at once (5.1.6.4)
            net->torn++;
            break;
        }
        frame->part[frame->parts].data = buffer(rx, n);
        frame->part[frame->parts].length = length;
        frame->part[frame->parts++].buffer = n;
        frame->length += length;
    }
    return true;
}

// Every buffer that is ours goes to the device.
static void offer(struct net *net, struct net_side *rx)
{
    while (rx->free_count) {
        u16 n = rx->free[rx->free_count - 1];
        u64 at = (u64)buffer(rx, n);
        struct piece pieces[2] = {{at, rx->stride}, {at + net->header, rx->stride - net->header}};
        if (net->own_piece)
            pieces[0].length = net->header;
        if (!queue_add(&rx->queue, pieces, 0, net->own_piece ? 2 : 1, n))
            return;
        rx->free_count--;
    }
}

void net_release(struct net *net, unsigned pair, const struct net_frame *frame)
{
    struct net_side *rx = &net->rx[pair];
    for (unsigned i = 0; i < frame->parts; i++)
        rx->free[rx->free_count++] = frame->part[i].buffer;
    if (rx->free_count >= RX_BATCH)
        net_refill(net, pair);
}

void net_refill(struct net *net, unsigned pair)
{
    offer(net, &net->rx[pair]);
    queue_kick(&net->rx[pair].queue);
}
