#include "virtio_net.h"

#include "host.h"
#include "inet.h"
#include "spin.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TURN = 64,               /* frames either way before the other way is looked at */
    ETHERNET = 14,
    LOOKED_AT = 16,          /* bytes of a frame that the filters want */
    HEADER = 12,             /* bytes of the longer header (5.1.6) */
    GSO_TYPE_AT = 1, GSO_ECN = 0x80, NUM_BUFFERS_AT = 10,
    RETRY_NS = 100000000,    /* how long a TAP that fails is left alone */
};

_Static_assert(sizeof(struct pk_piece) == sizeof(struct iovec), "they are cast into each other");

/* What the thread alone knows. */
struct pk_vnet_work {
    pthread_t thread;
    uint32_t started, stop;  /* stop is atomic */
    struct pk_spin spin;
    uint64_t retry;          /* the TAP failed: leave it alone until then */
    /* Receive chains that were popped and not used yet, with their pieces in one row. */
    uint32_t ahead;
    uint64_t room; /* bytes that they hold */
    struct pk_chain chains[PK_VNET_AHEAD];
    uint32_t pieces_used;
    struct pk_piece pieces[2 * PK_VQ_MAX_PIECES];
    struct pk_piece out[PK_VQ_MAX_PIECES];
    /* A frame that waits for more buffers, or the part of one that does not fit. */
    uint32_t header, held;
    uint8_t rest[HEADER + PK_VNET_FRAME + LOOKED_AT];
};

static const struct iovec *as_iovec(const struct pk_piece *pieces)
{
    return (const struct iovec *)(const void *)pieces;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

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

/* -- transmitting ---------------------------------------------------------------------------- */

static void publish(struct pk_vq *vq, struct pk_call *call)
{
    if (pk_vq_flush(vq))
        pk_call(call);
}

/* The wire loses frames: what the kernel refuses (a header that makes no sense, a TAP that is down) is
 * gone. */
static void send(struct pk_vnet *net, const struct pk_chain *chain, const struct pk_piece *pieces)
{
    if (chain->out_bytes < net->header + (uint64_t)ETHERNET ||
        chain->out_bytes > net->header + (uint64_t)PK_VNET_FRAME || !net->link) {
        net->dropped++;
        return;
    }
    if (net->fd >= 0 && pk_writev(net->fd, as_iovec(pieces), chain->out_count) < 0)
        net->dropped++;
    else
        net->sent++;
}

/* Whether there was anything to send. */
static bool transmit(struct pk_vnet *net)
{
    struct pk_vnet_work *work = net->work;
    struct pk_chain chain;
    uint32_t done = 0;
    while (done < TURN && pk_vq_pop(&net->tx, &chain, work->out) > 0) {
        send(net, &chain, work->out);
        pk_vq_push(&net->tx, &chain, 0);
        done++;
    }
    if (done)
        publish(&net->tx, &net->tx_call);
    return done;
}

/* -- receiving ------------------------------------------------------------------------------- */

/* Forget the first `count` chains ahead. */
static void advance(struct pk_vnet_work *work, uint32_t count)
{
    uint32_t pieces = 0;
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
    uint8_t header[HEADER] = {[NUM_BUFFERS_AT] = (uint8_t)count};
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
    if (count < PK_VQ_MAX_PIECES) {
        *placed = work->room;
        work->pieces[count] = (struct pk_piece){work->rest, sizeof work->rest};
        got = pk_readv(net->fd, as_iovec(work->pieces), count + 1);
    } else { /* more than one call takes */
        *placed = 0;
        got = pk_read(net->fd, work->rest, sizeof work->rest);
    }
    if (got > 0)
        return (uint64_t)got;
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) /* the interface is down, or gone */
        work->retry = now_ns() + RETRY_NS;
    return 0;
}

/* What was read, from `offset` on. */
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
}

/* Whether the driver is to get this frame. Only what the kernel left to be cut may be longer than the
 * MTU (5.1.4.1). */
static bool wanted(struct pk_vnet *net, uint64_t length, uint64_t placed)
{
    uint8_t gso = 0, start[LOOKED_AT];
    if (length > net->standard)
        peek(net->work, placed, GSO_TYPE_AT, &gso, 1);
    if (!net->link || length < net->header + (uint64_t)ETHERNET || length > net->longest ||
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

static bool listening(const struct pk_vnet *net, uint64_t now)
{
    return net->rx_on && net->fd >= 0 && now >= net->work->retry;
}

/* Whether there was anything to receive. */
static bool receive(struct pk_vnet *net)
{
    uint32_t done = 0;
    while (done < TURN && prepare(net) && take(net))
        done++;
    publish(&net->rx, &net->rx_call);
    return done;
}

/* -- the thread ------------------------------------------------------------------------------ */

static bool stopping(const struct pk_vnet *net)
{
    return __atomic_load_n(&net->work->stop, __ATOMIC_ACQUIRE);
}

static bool turn(struct pk_vnet *net, uint64_t now)
{
    bool busy = net->tx_on && transmit(net);
    if (listening(net, now))
        busy |= receive(net);
    return busy;
}

/* Whether no frame can be read before there are more receive buffers. */
static bool starved(const struct pk_vnet *net) { return !net->work->ahead || net->work->held; }

/* Kicks are wanted from now on; true when something came meanwhile. Receive buffers are asked for only
 * where they are missing. */
static bool enable_kicks(struct pk_vnet *net)
{
    bool more = net->tx_on && pk_vq_enable_kicks(&net->tx);
    if (net->rx_on && net->fd >= 0 && starved(net))
        more |= pk_vq_enable_kicks(&net->rx);
    return more;
}

static void disable_kicks(struct pk_vnet *net)
{
    if (net->tx_on)
        pk_vq_disable_kicks(&net->tx);
    if (net->rx_on)
        pk_vq_disable_kicks(&net->rx);
}

static void sleep_on(struct pk_vnet *net, uint64_t now)
{
    struct pk_vnet_work *work = net->work;
    if (!enable_kicks(net) && !stopping(net)) {
        struct pollfd watched[2] = {{.fd = net->kick, .events = POLLIN},
                                    {.fd = net->fd, .events = POLLIN}};
        bool listen = listening(net, now) && !starved(net);
        struct timespec pause = {(time_t)(RETRY_NS / 1000000000), RETRY_NS % 1000000000};
        net->sleeps++;
        ppoll(watched, listen ? 2 : 1, work->retry > now ? &pause : NULL, NULL);
        uint64_t kicks;
        if (watched[0].revents && pk_read(net->kick, &kicks, sizeof kicks) == sizeof kicks)
            net->kicks += kicks;
    }
    disable_kicks(net);
}

static bool broken(const struct pk_vnet *net)
{
    return (net->rx_on && net->rx.error) || (net->tx_on && net->tx.error);
}

/* What was popped goes back, last first. */
static void leave(struct pk_vnet *net)
{
    struct pk_vnet_work *work = net->work;
    while (work->ahead)
        pk_vq_unpop(&net->rx, &work->chains[--work->ahead]);
    work->pieces_used = 0;
    work->room = 0;
    if (net->rx_on)
        publish(&net->rx, &net->rx_call);
    if (!broken(net))
        enable_kicks(net);
}

static void *work(void *opaque)
{
    struct pk_vnet *net = opaque;
    struct pk_spin *spin = &net->work->spin;
    const int files[] = {net->fd, net->kick, net->notice, net->rx_call.fd, net->tx_call.fd,
                         net->rx_call.isr ? pk_isr_vm(net->rx_call.isr) : -1};
    pk_thread_own_files(files, sizeof files / sizeof *files);
    disable_kicks(net);
    while (!stopping(net) && !broken(net)) {
        uint64_t now = now_ns();
        if (turn(net, now)) {
            pk_spin_busy(spin);
        } else if (!net->poll || pk_spin_over(spin, now)) {
            sleep_on(net, now);
            pk_spin_slept(spin, now_ns() - now);
        }
    }
    if (broken(net))
        pk_signal(net->notice);
    return NULL;
}

static bool prepare_work(struct pk_vnet *net)
{
    if (!net->work)
        net->work = calloc(1, sizeof *net->work);
    if (net->work && net->work->header != net->header) { /* another driver's frame */
        net->work->header = net->header;
        net->work->held = 0;
    }
    return net->work;
}

int pk_vnet_start(struct pk_vnet *net)
{
    if (!prepare_work(net))
        return ENOMEM;
    net->work->stop = 0;
    int error = pk_thread_start(&net->work->thread, "virtio-net", work, net);
    net->work->started = !error;
    return error;
}

void pk_vnet_stop(struct pk_vnet *net)
{
    if (!net->work)
        return;
    if (net->work->started) {
        __atomic_store_n(&net->work->stop, 1, __ATOMIC_RELEASE);
        pk_signal(net->kick);
        pthread_join(net->work->thread, NULL);
        net->work->started = 0;
    }
    leave(net);
}

void pk_vnet_free(struct pk_vnet *net)
{
    free(net->work);
    net->work = NULL;
}

void pk_vnet_run(struct pk_vnet *net)
{
    if (!prepare_work(net))
        return;
    while (!broken(net) && turn(net, now_ns()))
        ;
    if (broken(net))
        pk_signal(net->notice);
}
