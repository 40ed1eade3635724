#include "e1000_card.h"
#include "host.h"
#include "inet.h"
#include "pieces.h"

#include <linux/virtio_net.h>

enum {
    MOST_PIECES = 64,   /* of one frame; more are copied together */
    MOST_GSO = 65535,   /* bytes of IP packet that one GSO write takes */
    WRITE_BACK = 16,    /* frames to a write-back */
    MOST_SEGMENTS = 2048, /* of one request; more make the card work for nothing */
    BIG_WRITE = 4,      /* how much more a GSO write costs than that of a frame */
    MERGED = 8,         /* frames in it that cost as much as one written by itself */
};

/* Command bits (manual, 3.3.3, 3.3.6, 3.3.7); TSE and IC share a bit. */
enum { EOP = 0x01, IC = 0x04, TSE = 0x04, RS = 0x08, RPS = 0x10, DEXT = 0x20, VLE = 0x40, IDE = 0x80 };
enum { TYPE_DATA = 1, IXSM = 0x01, TXSM = 0x02, TCP = 0x01, IPV4 = 0x02, DD = 0x01 };

/* One frame in the making. Its data stays in guest memory until something has to be changed in it,
 * or until the walk ends inside it. */
struct frame {
    struct iovec pieces[MOST_PIECES];
    uint32_t count, length;
    uint32_t first; /* its first descriptor */
    bool started, bad, segment;
    uint8_t popts;
    int32_t vlan; /* -1: no tag */
    bool legacy_sum;
    uint8_t css, cso;
};

/* What a walk has to report when it is over. */
struct report {
    uint32_t work;  /* roughly, in writes of a plain frame: what a turn is measured by */
    bool reported;  /* a descriptor with RS was written back */
    bool immediate; /* ... one that allows no delay */
};

/* The pieces stay as they are: clearing them would cost as much as the rest of a short frame. */
static void renew(struct frame *frame)
{
    frame->count = frame->length = 0;
    frame->started = frame->bad = frame->segment = frame->legacy_sum = false;
    frame->popts = frame->css = frame->cso = 0;
    frame->vlan = -1;
}

/* -- the pieces of a frame ------------------------------------------------------------------- */

/* Copy the pieces together, into the buffer that outlives the walk. */
static uint8_t *flatten(struct pk_e1000 *card, struct frame *frame)
{
    uint8_t *to = card->unfinished.data;
    uint32_t done = 0;
    for (uint32_t i = 0; i < frame->count; i++) {
        const struct iovec *piece = &frame->pieces[i];
        if (piece->iov_base != to + done)
            memcpy(to + done, piece->iov_base, piece->iov_len);
        done += (uint32_t)piece->iov_len;
    }
    frame->count = done > 0;
    frame->pieces[0] = (struct iovec){to, done};
    return to;
}

static void gather(struct pk_e1000 *card, struct frame *frame, uint64_t address, uint32_t length)
{
    if (frame->bad || !length)
        return;
    uint8_t *data = NULL;
    if (frame->length + length > SENDABLE)
        pk_e1000_complain(card, PK_E1000_TOO_LONG);
    else if (!(data = pk_guest_ptr(card->memory, address, length, false)))
        pk_e1000_complain(card, PK_E1000_NO_RAM);
    if (!data) { /* the frame is dropped at its end */
        frame->bad = true;
        frame->count = frame->length = 0;
        return;
    }
    if (frame->count == MOST_PIECES)
        flatten(card, frame);
    frame->pieces[frame->count++] = (struct iovec){data, length};
    frame->length += length;
}

/* -- sending --------------------------------------------------------------------------------- */

static void count_frames(struct pk_e1000 *card, const uint8_t *frame, uint32_t length, uint32_t number)
{
    count(card, pk_e1000_size_counter(E_PTC64, length), number);
    count(card, E_TPT, number);
    count(card, E_GPTC, number);
    count_wide(card, E_TOTL, (length + FCS) * number);
    count_wide(card, E_GOTCL, (length + FCS) * number);
    if (frame[0] & 1)
        count(card, is_broadcast(frame) ? E_BPTC : E_MPTC, number);
}

/* The wire loses frames: a TAP that is down or full is not the guest's fault. */
static void put_now(const struct pk_e1000 *card, const struct iovec *pieces, uint32_t count)
{
    if (card->fd >= 0 && pk_writev(card->fd, pieces, count) < 0)
        return;
}

static bool holding(const struct pk_e1000 *card) { return card->train && card->train->frames; }

/* Send the frames that wait for more of their flow. */
static void send_train(struct pk_e1000 *card)
{
    if (holding(card))
        put_now(card, card->train->pieces, pk_train_end(card->train));
}

static void put(struct pk_e1000 *card, const struct iovec *pieces, uint32_t count)
{
    send_train(card); /* they came before */
    put_now(card, pieces, count);
}

static bool connected(const struct pk_e1000 *card)
{
    return card->flags & PK_E1000_LINK || looped(card);
}

/* Send pieces[1..count] as a frame; pieces[0] is left for the header, and one more for the padding. */
static void send(struct pk_e1000 *card, struct virtio_net_hdr *header, struct iovec *pieces,
                 uint32_t count, uint32_t length)
{
    static uint8_t zeros[SHORTEST];
    uint8_t address[6] = {0};
    if (length < 14 || !connected(card))
        return;
    if (length < SHORTEST && cell(card, E_TCTL) & TCTL_PSP) {
        pieces[++count] = (struct iovec){zeros, SHORTEST - length};
        length = SHORTEST;
    }
    pk_copy_head(pieces + 1, count, address, sizeof address);
    count_frames(card, address, length, 1);
    if (looped(card)) {
        pk_copy_head(pieces + 1, count, incoming_frame(card), FROM_WIRE);
        pk_e1000_announce(card, pk_e1000_store(card, length));
        return;
    }
    pieces[0] = (struct iovec){header, sizeof *header};
    put(card, pieces, count + 1);
}

/* A frame in one piece, with a tag where the guest wants one. */
static void send_flat(struct pk_e1000 *card, uint8_t *data, uint32_t length, int32_t vlan)
{
    struct virtio_net_hdr header = {0};
    struct iovec pieces[5] = {{0}, {data, length}};
    uint32_t count = 1;
    uint8_t tag[TAG];
    if (vlan >= 0 && cell(card, E_CTRL) & CTRL_VME && length >= 12) {
        pk_put_be16(tag, cell(card, E_VET));
        pk_put_be16(tag + 2, (uint32_t)vlan);
        pieces[1].iov_len = 12;
        pieces[2] = (struct iovec){tag, TAG};
        pieces[3] = (struct iovec){data + 12, length - 12};
        count = 3;
        length += TAG;
    }
    send(card, &header, pieces, count, length);
}

/* The checksum of [start, end] (0: to the frame's end) into `at`; what is already there counts in, as
 * the field lies inside the range. Offsets past the frame do nothing. */
static void insert(uint8_t *data, uint32_t length, uint32_t start, uint32_t end, uint32_t at)
{
    uint32_t stop = end && end + 1 < length ? end + 1 : length;
    if (start >= length || at + 2 > length)
        return;
    pk_put_be16(data + at, ~pk_ones_sum(data + start, stop > start ? stop - start : 0, 0));
}

/* Whether the kernel can finish the frame's only checksum: it sums from a start to the end, into a
 * field after the start and behind the Ethernet header. */
static bool kernel_sums(const struct pk_e1000 *card, const struct frame *frame)
{
    const struct pk_e1000_context *c = &card->context;
    return card->offloads & PK_E1000_CSUM && !c->tucse && c->tucso >= c->tucss && c->tucso >= 14 &&
           c->tucso + 2u <= frame->length && frame->length <= MOST_GSO && !looped(card) &&
           frame->length >= 14;
}

/* Let the frame wait for more of its flow, if it is one to merge. */
static bool coalesce(struct pk_e1000 *card, const struct virtio_net_hdr *header,
                     const struct frame *frame)
{
    struct pk_segment segment;
    if (!card->train || !connected(card) || looped(card) ||
        frame->pieces[0].iov_base == card->unfinished.data || /* which the next frame may need */
        !pk_train_parse(&segment, header, frame->pieces, frame->count, frame->length))
        return false;
    if (!pk_train_join(card->train, &segment, frame->pieces, frame->count)) {
        send_train(card);
        pk_train_open(card->train, &segment, header, frame->pieces, frame->count);
        card->held = frame->first;
    }
    count_frames(card, segment.headers, frame->length, 1);
    return true;
}

static void send_plain(struct pk_e1000 *card, struct frame *frame)
{
    const struct pk_e1000_context *c = &card->context;
    bool vlan = frame->vlan >= 0 && cell(card, E_CTRL) & CTRL_VME;
    struct virtio_net_hdr header = {0};
    uint8_t sums = frame->popts;
    if (sums == TXSM && !frame->legacy_sum && !vlan && kernel_sums(card, frame)) {
        header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        header.csum_start = c->tucss;
        header.csum_offset = (uint16_t)(c->tucso - c->tucss);
        sums = 0;
    }
    if (!sums && !frame->legacy_sum && !vlan) {
        if (coalesce(card, &header, frame))
            return;
        struct iovec pieces[MOST_PIECES + 2];
        memcpy(pieces + 1, frame->pieces, frame->count * sizeof *pieces);
        send(card, &header, pieces, frame->count, frame->length);
        return;
    }
    uint8_t *data = flatten(card, frame);
    if (frame->legacy_sum)
        insert(data, frame->length, frame->css, 0, frame->cso);
    if (sums & IXSM)
        insert(data, frame->length, c->ipcss, c->ipcse, c->ipcso);
    if (sums & TXSM)
        insert(data, frame->length, c->tucss, c->tucse, c->tucso);
    send_flat(card, data, frame->length, frame->vlan);
}

/* -- segmentation ---------------------------------------------------------------------------- */

/* Whether every field that segmentation changes lies inside the headers. */
static bool layout_fits(const struct pk_e1000_context *c, bool ip_sum)
{
    uint32_t ip_end = c->ipcss + (c->tucmd & IPV4 ? 20u : 40u);
    uint32_t transport_end = c->tucss + (c->tucmd & TCP ? 20u : 8u);
    return c->mss && ip_end <= c->tucss && transport_end <= c->hdrlen && c->tucso + 2u <= c->hdrlen &&
           (!ip_sum || c->ipcso + 2u <= c->tucss);
}

/* The IP (and UDP) length fields for a frame of `total` bytes, and the IP header's sum. */
static void set_lengths(uint8_t *headers, const struct pk_e1000_context *c, bool ip_sum, uint32_t total)
{
    if (c->tucmd & IPV4)
        pk_put_be16(headers + c->ipcss + 2, total - c->ipcss);
    else
        pk_put_be16(headers + c->ipcss + 4, total - c->ipcss - 40);
    if (!(c->tucmd & TCP))
        pk_put_be16(headers + c->tucss + 4, total - c->tucss);
    if (ip_sum) {
        pk_put_be16(headers + c->ipcso, 0);
        pk_put_be16(headers + c->ipcso, ~pk_ones_sum(headers + c->ipcss, c->tucss - c->ipcss, 0));
    }
}

static bool kernel_segments(const struct pk_e1000 *card, const struct frame *frame)
{
    const struct pk_e1000_context *c = &card->context;
    bool ipv4 = c->tucmd & IPV4;
    return card->offloads & (ipv4 ? PK_E1000_TSO4 : PK_E1000_TSO6) && c->tucmd & TCP &&
           frame->popts & TXSM && (frame->popts & IXSM) == (ipv4 ? IXSM : 0) &&
           c->tucso >= c->tucss && frame->length > (uint32_t)c->hdrlen + c->mss &&
           frame->length - c->ipcss <= MOST_GSO && frame->vlan < 0 && !looped(card);
}

/* One write, which the kernel cuts. */
static void hand_over(struct pk_e1000 *card, struct frame *frame)
{
    const struct pk_e1000_context *c = &card->context;
    bool ipv4 = c->tucmd & IPV4;
    uint8_t headers[UINT8_MAX]; /* HDRLEN has 8 bits */
    uint32_t total = frame->length;
    pk_copy_head(frame->pieces, frame->count, headers, c->hdrlen);
    set_lengths(headers, c, ipv4, total);
    /* Drivers leave the pseudo header's sum without the length; the kernel wants it in. */
    pk_put_be16(headers + c->tucso, pk_fold(pk_be16(headers + c->tucso) + total - c->tucss));
    uint32_t payload = total - c->hdrlen;
    count_frames(card, headers, c->hdrlen + c->mss, payload / c->mss);
    if (payload % c->mss)
        count_frames(card, headers, c->hdrlen + payload % c->mss, 1);
    struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = ipv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
        .hdr_len = c->hdrlen, .gso_size = c->mss, .csum_start = c->tucss,
        .csum_offset = (uint16_t)(c->tucso - c->tucss)};
    struct iovec pieces[MOST_PIECES + 2] = {{&header, sizeof header}, {headers, c->hdrlen}};
    put(card, pieces, 2 + pk_tail_pieces(frame->pieces, frame->count, c->hdrlen, pieces + 2));
}

/* Frame after frame, for who cannot be given the whole. */
static void cut(struct pk_e1000 *card, struct frame *frame, bool ip_sum)
{
    const struct pk_e1000_context *c = &card->context;
    const uint8_t *data = flatten(card, frame);
    uint8_t *out = card->segment;
    uint32_t payload = frame->length - c->hdrlen;
    uint32_t sequence = pk_be32(data + c->tucss + 4), ident = pk_be16(data + c->ipcss + 4);
    uint32_t partial = pk_be16(data + c->tucso);
    for (uint32_t at = 0; at == 0 || at < payload; at += c->mss, ident++) {
        uint32_t part = payload - at < c->mss ? payload - at : c->mss;
        uint32_t length = c->hdrlen + part;
        memcpy(out, data, c->hdrlen);
        memcpy(out + c->hdrlen, data + c->hdrlen + at, part);
        if (c->tucmd & IPV4)
            pk_put_be16(out + c->ipcss + 4, ident);
        set_lengths(out, c, ip_sum, length);
        if (c->tucmd & TCP) {
            pk_put_be32(out + c->tucss + 4, sequence + at);
            if (at + c->mss < payload)
                out[c->tucss + 13] &= (uint8_t)~0x09; /* FIN and PSH stay on the last */
        }
        if (frame->popts & TXSM) {
            pk_put_be16(out + c->tucso, 0);
            uint32_t sum = pk_ones_sum(out + c->tucss, length - c->tucss,
                                       (uint64_t)partial + length - c->tucss);
            pk_put_be16(out + c->tucso, ~sum);
        }
        send_flat(card, out, length, frame->vlan);
    }
}

/* Returns how much work it was. */
static uint32_t send_segments(struct pk_e1000 *card, struct frame *frame)
{
    bool ip_sum = frame->popts & IXSM;
    const struct pk_e1000_context *c = &card->context;
    if (!layout_fits(c, ip_sum) || frame->length < c->hdrlen ||
        (frame->length - c->hdrlen) / c->mss > MOST_SEGMENTS) {
        pk_e1000_complain(card, PK_E1000_BAD_SEGMENT);
        return 1;
    }
    count(card, E_TSCTC, 1);
    if (!connected(card))
        return 1;
    if (kernel_segments(card, frame)) {
        hand_over(card, frame);
        return BIG_WRITE;
    }
    cut(card, frame, ip_sum);
    return 1 + (frame->length - c->hdrlen) / c->mss;
}

/* -- the walk -------------------------------------------------------------------------------- */

static bool is_context(const uint8_t *raw) { return raw[11] & DEXT && raw[10] >> 4 != TYPE_DATA; }

/* A context descriptor (3.3.6). */
static struct pk_e1000_context context_of(const uint8_t *raw)
{
    return (struct pk_e1000_context){
        .ipcss = raw[0], .ipcso = raw[1], .ipcse = (uint16_t)pk_le16(raw + 2),
        .tucss = raw[4], .tucso = raw[5], .tucse = (uint16_t)pk_le16(raw + 6),
        .paylen = pk_le32(raw + 8) & 0xFFFFF, .tucmd = raw[11], .hdrlen = raw[13],
        .mss = (uint16_t)pk_le16(raw + 14)};
}

/* A legacy or data descriptor; true at a frame's end. */
static bool consume(struct pk_e1000 *card, struct frame *frame, const uint8_t *raw)
{
    uint8_t command = raw[11];
    bool extended = command & DEXT, last = command & EOP;
    int32_t special = command & VLE ? (int32_t)pk_le16(raw + 14) : -1;
    if (!frame->started && extended) { /* these hold in a frame's first descriptor only (3.3.7) */
        frame->segment = command & TSE;
        frame->popts = raw[13];
        if (frame->segment)
            frame->vlan = special;
    }
    frame->started = true;
    gather(card, frame, pk_le64(raw), extended ? pk_le32(raw + 8) & 0xFFFFF : pk_le16(raw + 8));
    if (!last)
        return false;
    if (!extended) {
        frame->legacy_sum = command & IC;
        frame->cso = raw[10];
        frame->css = raw[13];
    }
    if (!extended || !frame->segment)
        frame->vlan = special;
    return true;
}

/* Returns how much work it was. */
static uint32_t finish(struct pk_e1000 *card, struct frame *frame)
{
    if (frame->bad || !frame->length)
        return 1;
    if (frame->segment)
        return send_segments(card, frame);
    send_plain(card, frame);
    return holding(card) && (card->train->frames - 1) % MERGED ? 0 : 1;
}

/* Set DD where RS asks for it, from TDH up to the descriptor before `end`, and move TDH there. False
 * when the ring cannot be written. */
static bool write_back(struct pk_e1000 *card, uint64_t base, uint32_t count, uint32_t end,
                       struct report *report)
{
    for (uint32_t head = cell(card, E_TDH); head != end; head = (head + 1) % count) {
        uint8_t *raw = pk_guest_ptr(card->memory, base + (uint64_t)head * DESCRIPTOR, DESCRIPTOR, true);
        if (!raw)
            return false;
        uint8_t command = raw[11];
        if (command & (RS | RPS)) {
            __atomic_store_n(&raw[12], (uint8_t)(raw[12] | DD), __ATOMIC_RELEASE);
            report->reported = true;
            report->immediate |= !(command & IDE);
        }
    }
    set_cell(card, E_TDH, end);
    return true;
}

/* Take up a frame where the last walk left it, and leave one for the next. */
static void take_up(const struct pk_e1000 *card, struct frame *frame)
{
    const struct pk_e1000_unfinished *u = &card->unfinished;
    renew(frame);
    frame->started = u->started;
    frame->bad = u->bad;
    frame->segment = u->segment;
    frame->popts = (uint8_t)u->popts;
    frame->vlan = u->vlan;
    frame->length = u->length;
    frame->count = u->length > 0;
    frame->pieces[0] = (struct iovec){u->data, u->length};
}

static void leave(struct pk_e1000 *card, struct frame *frame)
{
    struct pk_e1000_unfinished *u = &card->unfinished;
    if (frame->started)
        flatten(card, frame);
    u->started = frame->started;
    u->bad = frame->bad;
    u->segment = frame->segment;
    u->popts = frame->popts;
    u->vlan = frame->vlan;
    u->length = frame->length;
}

void pk_e1000_forget_frame(struct pk_e1000 *card)
{
    struct frame none;
    renew(&none);
    leave(card, &none);
    card->context = (struct pk_e1000_context){0};
}

/* The walk itself; true when it stopped after work for `most` frames. */
static bool walk(struct pk_e1000 *card, uint32_t most, struct report *report)
{
    uint64_t base = (uint64_t)cell(card, E_TDBAH) << 32 | cell(card, E_TDBAL);
    uint32_t count = cell(card, E_TDLEN) / DESCRIPTOR;
    uint32_t at = cell(card, E_TDH), tail = cell(card, E_TDT);
    if (at >= count || tail >= count) {
        if (at != tail)
            pk_e1000_complain(card, PK_E1000_BAD_RING);
        return false;
    }
    struct frame frame;
    take_up(card, &frame);
    frame.first = at; /* what came before was written back */
    uint32_t waiting = 0; /* frames that were sent, and not written back yet */
    while (at != tail && report->work < most) {
        uint8_t raw[DESCRIPTOR]; /* a copy: the guest may change its mind meanwhile */
        if (!(card->flags & PK_E1000_MASTER)) {
            pk_e1000_complain(card, PK_E1000_NO_MASTER);
            break;
        }
        if (!pk_guest_read(card->memory, base + (uint64_t)at * DESCRIPTOR, raw, sizeof raw)) {
            pk_e1000_complain(card, PK_E1000_NO_RAM);
            break;
        }
        if (!frame.started)
            frame.first = at;
        at = at + 1 == count ? 0 : at + 1;
        if (is_context(raw)) {
            card->context = context_of(raw);
        } else if (consume(card, &frame, raw)) {
            report->work += finish(card, &frame);
            renew(&frame);
            waiting++;
        }
        /* The guest looks at these lines of memory all the time: touch them now and then only. Frames
         * that wait for more of their flow are still the card's. */
        if (waiting >= WRITE_BACK && !frame.started) {
            waiting = holding(card) ? card->train->frames : 0;
            if (!write_back(card, base, count, holding(card) ? card->held : at, report))
                break;
        }
    }
    send_train(card);
    leave(card, &frame);
    write_back(card, base, count, at, report);
    return at != tail && report->work >= most;
}

bool pk_e1000_transmit(struct pk_e1000 *card, uint32_t most)
{
    struct report report = {0};
    if (!(cell(card, E_TCTL) & TCTL_EN))
        return false;
    bool more = walk(card, most, &report);
    uint32_t causes = 0;
    if (report.reported) {
        uint32_t delay = cell(card, E_TIDV);
        if (delay && !report.immediate)
            pk_e1000_delay(card, &card->irq.tx, delay, cell(card, E_TADV));
        else
            causes |= CAUSE_TXDW;
    }
    if (cell(card, E_TDH) == cell(card, E_TDT))
        causes |= CAUSE_TXQE;
    if (causes)
        pk_e1000_cause(card, causes, 0);
    return more;
}
