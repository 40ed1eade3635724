#include "virtio_net_work.h"

#include "inet.h"

#include <errno.h>
#include <string.h>

enum { GSO_TYPE_AT = 1, GSO_ECN = 0x80, NUM_BUFFERS_AT = 10 }; /* in the header (5.1.6) */

/* -- filters --------------------------------------------------------------------------------- */

static bool listed(const uint8_t table[][6], uint32_t count, const uint8_t *address)
{
    for (uint32_t n = 0; n < count; n++)
        if (memcmp(table[n], address, 6) == 0)
            return true;
    return false;
}

bool pk_vnet_accepts(const struct pk_vnet_filter *filter, const uint8_t *frame, uint32_t length)
{
    static const uint8_t broadcast[6] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    if (filter->by_vlan && length >= 16 && pk_be16(frame + 12) == 0x8100) {
        uint32_t vlan = pk_be16(frame + 14) & 0xFFF;
        if (!(filter->vlans[vlan / 8] >> vlan % 8 & 1))
            return false;
    }
    if (filter->promiscuous)
        return true;
    if (memcmp(frame, broadcast, 6) == 0)
        return !filter->no_broadcast;
    if (frame[0] & 1)
        return !filter->no_multicast &&
               (filter->all_multicast || listed(filter->multicast, filter->multicast_count, frame));
    return !filter->no_unicast && (filter->all_unicast || memcmp(frame, filter->mac, 6) == 0 ||
                                   listed(filter->unicast, filter->unicast_count, frame));
}

/* -- pieces ---------------------------------------------------------------------------------- */

/* Copy between `bytes` and the pieces, from `offset` on. */
static void copy(const struct pk_piece *pieces, uint32_t count, uint64_t offset, uint8_t *bytes,
                 uint32_t length, bool into_pieces)
{
    for (uint32_t n = 0; n < count && length; n++) {
        if (offset >= pieces[n].length) {
            offset -= pieces[n].length;
            continue;
        }
        uint64_t part = pieces[n].length - offset;
        if (part > length)
            part = length;
        if (into_pieces)
            memcpy(pieces[n].data + offset, bytes, part);
        else
            memcpy(bytes, pieces[n].data + offset, part);
        bytes += part;
        length -= (uint32_t)part;
        offset = 0;
    }
}

/* -- receiving ------------------------------------------------------------------------------- */

/* Forget the first `count` chains ahead. */
static void advance(struct pk_vnet_work *work, uint32_t count)
{
    uint32_t pieces = 0;
    if (count == work->ahead) { /* as nearly always */
        work->ahead = work->pieces_used = 0;
        work->room = 0;
        return;
    }
    for (uint32_t n = 0; n < count; n++) {
        pieces += work->chains[n].in_count;
        work->room -= work->chains[n].in_bytes;
    }
    work->ahead -= count;
    work->pieces_used -= pieces;
    memmove(work->chains, work->chains + count, work->ahead * sizeof *work->chains);
    memmove(work->pieces, work->pieces + pieces, work->pieces_used * sizeof *work->pieces);
}

/* Whether one frame may have no more buffers than there are ahead. */
static bool full(const struct pk_vnet *net)
{
    const struct pk_vnet_work *work = net->work;
    return work->ahead >= (net->mergeable ? PK_VNET_AHEAD : 1) || work->pieces_used > PK_VQ_MAX_PIECES;
}

/* Have buffers for the longest frame, as far as the driver offers them; false: none at all. */
static bool prepare(struct pk_vnet *net)
{
    struct pk_vnet_work *work = net->work;
    while (work->room < net->longest && !full(net)) {
        struct pk_chain *chain = &work->chains[work->ahead];
        struct pk_piece *pieces = work->pieces + work->pieces_used;
        if (pk_vq_pop(&net->rx, chain, pieces) <= 0)
            break;
        if (chain->out_count) /* readable pieces in a receive buffer: skip them */
            memmove(pieces, pieces + chain->out_count, chain->in_count * sizeof *pieces);
        chain->out_count = 0;
        work->room += chain->in_bytes;
        work->pieces_used += chain->in_count;
        work->ahead++;
    }
    return work->ahead;
}

/* Use as many chains as `length` bytes fill. */
static void deliver(struct pk_vnet *net, uint64_t length)
{
    struct pk_vnet_work *work = net->work;
    uint32_t count = 0;
    for (uint64_t covered = 0; covered < length; count++)
        covered += work->chains[count].in_bytes;
    uint8_t header[VNET_HEADER] = {[NUM_BUFFERS_AT] = (uint8_t)count};
    uint32_t kept = net->plain ? 0 : NUM_BUFFERS_AT;
    copy(work->pieces, work->pieces_used, kept, header + kept, net->header - kept, true);
    for (uint32_t n = 0; n < count; n++) {
        uint64_t part = work->chains[n].in_bytes < length ? work->chains[n].in_bytes : length;
        pk_vq_push(&net->rx, &work->chains[n], (uint32_t)part);
        length -= part;
    }
    advance(work, count);
    net->received++;
}

/* Read a frame behind its header into the chains ahead, and what they have no room for into `rest`; its
 * length, 0 when there is none now. The first `*placed` bytes are in the chains. */
static uint64_t read_frame(struct pk_vnet *net, uint64_t *placed)
{
    struct pk_vnet_work *work = net->work;
    uint32_t count = work->pieces_used;
    ssize_t got;
    if (count == 1 && work->room > net->longest) { /* what is cut short is dropped: the cheaper call will do */
        *placed = work->room;
        got = pk_read(net->fd, work->pieces[0].data, work->pieces[0].length);
    } else if (count < PK_VQ_MAX_PIECES) {
        *placed = work->room;
        work->pieces[count] = (struct pk_piece){work->rest, sizeof work->rest};
        got = pk_readv(net->fd, vnet_iovec(work->pieces), count + 1);
    } else { /* more than one call takes */
        *placed = 0;
        got = pk_read(net->fd, work->rest, sizeof work->rest);
    }
    if (got > 0)
        return (uint64_t)got;
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) /* the interface is down, or gone */
        work->retry = pk_now() + VNET_RETRY_NS;
    return 0;
}

/* What was read, from `offset` on. It may lie where the driver changes it: it is fetched once, and the copy
 * is what is decided on. */
static void peek(const struct pk_vnet_work *work, uint64_t placed, uint32_t offset, uint8_t *bytes,
                 uint32_t length)
{
    for (uint32_t n = 0; n < length; n++) {
        uint64_t at = offset + n;
        if (at < placed)
            copy(work->pieces, work->pieces_used, at, bytes + n, 1, false);
        else
            bytes[n] = work->rest[at - placed];
    }
    __asm__ volatile("" : : "r"(bytes) : "memory");
}

/* Whether the driver is to get this frame. Only what the kernel left to be cut may be longer than the
 * MTU (5.1.4.1). */
static bool wanted(struct pk_vnet *net, uint64_t length, uint64_t placed)
{
    uint8_t gso = 0, start[VNET_LOOKED_AT];
    if (length > net->standard)
        peek(net->work, placed, GSO_TYPE_AT, &gso, 1);
    if (!net->link || length < net->header + (uint64_t)VNET_ETHERNET || length > net->longest ||
        (length > net->standard && !(gso & ~GSO_ECN))) {
        net->dropped++;
        return false;
    }
    if (net->filter.promiscuous && !net->filter.by_vlan)
        return true;
    peek(net->work, placed, net->header, start, sizeof start);
    if (pk_vnet_accepts(&net->filter, start, (uint32_t)(length - net->header)))
        return true;
    net->filtered++;
    return false;
}

/* Take one frame; false when there is none now, or none that fits into what is offered by now: it waits. */
static bool take(struct pk_vnet *net)
{
    struct pk_vnet_work *work = net->work;
    uint64_t placed = 0, length = work->held;
    if (!length) {
        length = read_frame(net, &placed);
        if (!length)
            return false;
        if (!wanted(net, length, placed))
            return true;
    }
    if (length <= work->room) {
        if (length > placed)
            copy(work->pieces, work->pieces_used, placed, work->rest, (uint32_t)(length - placed), true);
        work->held = 0;
        deliver(net, length);
        return true;
    }
    if (full(net)) {
        work->held = 0;
        net->dropped++;
        return true;
    }
    if (!work->held) { /* all of it to where no driver sees it */
        memmove(work->rest + placed, work->rest, length - placed);
        copy(work->pieces, work->pieces_used, 0, work->rest, (uint32_t)placed, false);
        work->held = (uint32_t)length;
    }
    return false;
}

bool pk_vnet_receive(struct pk_vnet *net)
{
    uint32_t done = 0;
    while (done < VNET_TURN && prepare(net) && take(net))
        done++;
    vnet_publish(&net->rx, &net->rx_call);
    pk_tally(&net->work->worker.counts.batches, done > 0);
    return done;
}
