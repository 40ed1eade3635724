#include "e1000_tx.h"

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>

enum {
    DESCRIPTOR = 16,
    MOST_PIECES = 64,     /* of one frame; more are the reference's business */
    MOST_BYTES = 65535,   /* what one GSO write takes */
    MOST_PLAIN = 16384,   /* of a frame that is not segmented */
    SHORTEST = 60,
    HEADERS = 256,        /* HDRLEN has 8 bits */
};

/* Command bits (manual, 3.3.3, 3.3.6, 3.3.7); TSE and IC share a bit. */
enum { EOP = 0x01, IC = 0x04, TSE = 0x04, RS = 0x08, RPS = 0x10, DEXT = 0x20, VLE = 0x40, IDE = 0x80 };
enum { TYPE_DATA = 1, IXSM = 0x01, TXSM = 0x02, TCP = 0x01, IPV4 = 0x02, DD = 0x01 };

/* One frame in the making: its pieces, and the descriptors that are to be written back. */
struct frame {
    struct iovec pieces[MOST_PIECES];
    uint32_t count;
    uint32_t length;
    bool started, segment;
    uint8_t popts;
    struct pk_e1000_context context;
};

static uint32_t get16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t get32(const uint8_t *p) { return get16(p) | get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }
static uint32_t be16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }

static void put_be16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static uint32_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return sum;
}

static uint32_t ones_sum(const uint8_t *p, uint32_t length)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i + 1 < length; i += 2)
        sum += be16(p + i);
    return fold(length & 1 ? sum + ((uint32_t)p[length - 1] << 8) : sum);
}

/* A context descriptor (3.3.6). */
static struct pk_e1000_context context_of(const uint8_t *raw)
{
    return (struct pk_e1000_context){
        .ipcss = raw[0], .ipcso = raw[1], .ipcse = (uint16_t)get16(raw + 2),
        .tucss = raw[4], .tucso = raw[5], .tucse = (uint16_t)get16(raw + 6),
        .paylen = get32(raw + 8) & 0xFFFFF, .tucmd = raw[11], .hdrlen = raw[13],
        .mss = (uint16_t)get16(raw + 14)};
}

/* Take one descriptor's data into the frame; false: leave the frame to the reference. */
static bool take(struct pk_e1000_tx *tx, struct frame *frame, const uint8_t *raw)
{
    uint8_t command = raw[11];
    bool extended = command & DEXT;
    uint32_t length = extended ? get32(raw + 8) & 0xFFFFF : get16(raw + 8);
    if (command & VLE || (!extended && command & IC))
        return false;
    if (!frame->started) { /* these hold in a frame's first descriptor only */
        frame->started = true;
        frame->segment = extended && command & TSE;
        frame->popts = extended ? raw[13] : 0;
    }
    if (!length)
        return true;
    uint8_t *data = pk_guest_ptr(tx->memory, get64(raw), length, false);
    if (!data || frame->count == MOST_PIECES || length > MOST_BYTES ||
        frame->length + length > MOST_BYTES)
        return false;
    frame->pieces[frame->count++] = (struct iovec){data, length};
    frame->length += length;
    return true;
}

static void count_frame(struct pk_e1000_tx *tx, const uint8_t *head, uint32_t length)
{
    static const uint32_t limits[PK_E1000_SIZES - 1] = {64, 127, 255, 511, 1023};
    uint32_t size = 0;
    while (size < PK_E1000_SIZES - 1 && length + 4 > limits[size])
        size++;
    tx->sizes[size]++;
    tx->frames++;
    tx->bytes += length;
    static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
    if (head[0] & 1) {
        if (memcmp(head, broadcast, 6) == 0)
            tx->broadcasts++;
        else
            tx->multicasts++;
    }
}

/* Copy the frame's first `length` bytes, as far as there are so many. */
static uint32_t copy_head(const struct frame *frame, uint8_t *to, uint32_t length)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < frame->count && done < length; i++) {
        uint32_t part = (uint32_t)frame->pieces[i].iov_len;
        if (part > length - done)
            part = length - done;
        memcpy(to + done, frame->pieces[i].iov_base, part);
        done += part;
    }
    return done;
}

/* The wire loses frames: a TAP that is down or full is not the guest's fault. */
static void send_pieces(const struct pk_e1000_tx *tx, const struct iovec *pieces, int count)
{
    if (tx->fd >= 0 && writev(tx->fd, pieces, count) < 0)
        return;
}

static bool send_plain(struct pk_e1000_tx *tx, const struct frame *frame)
{
    static uint8_t zeros[SHORTEST];
    struct virtio_net_hdr header = {0};
    struct iovec pieces[MOST_PIECES + 2];
    uint8_t head[14];
    const struct pk_e1000_context *c = &frame->context;
    if (frame->popts & IXSM || frame->length > MOST_PLAIN)
        return false;
    if (frame->popts & TXSM) {
        /* The kernel sums from a start to the end, into a field after the start; and behind the
         * Ethernet header, whose address is counted by before the kernel has summed. */
        if (c->tucse || c->tucso < c->tucss || c->tucso + 2u > frame->length ||
            c->tucso < sizeof head)
            return false;
        header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        header.csum_start = c->tucss;
        header.csum_offset = (uint16_t)(c->tucso - c->tucss);
    }
    if (copy_head(frame, head, sizeof head) < sizeof head)
        return false;
    uint32_t length = frame->length, count = frame->count + 1;
    pieces[0] = (struct iovec){&header, sizeof header};
    memcpy(pieces + 1, frame->pieces, frame->count * sizeof *pieces);
    if (length < SHORTEST && tx->pad) {
        pieces[count++] = (struct iovec){zeros, SHORTEST - length};
        length = SHORTEST;
    }
    send_pieces(tx, pieces, (int)count);
    count_frame(tx, head, length);
    return true;
}

static bool send_segment(struct pk_e1000_tx *tx, const struct frame *frame)
{
    const struct pk_e1000_context *c = &frame->context;
    bool ipv4 = c->tucmd & IPV4;
    uint8_t headers[HEADERS];
    uint32_t ip_end = c->ipcss + (ipv4 ? 20u : 40u);
    /* The same conditions as the reference's Layout.fits() and Transmitter._offloaded(). */
    if (!(c->tucmd & TCP) || !(frame->popts & TXSM) || (ipv4 && !(frame->popts & IXSM)) ||
        !c->mss || ip_end > c->tucss || c->tucss + 20u > c->hdrlen || c->tucso + 2u > c->hdrlen ||
        c->tucso < c->tucss || (ipv4 && c->ipcso + 2u > c->tucss) || c->hdrlen < 14 ||
        (!ipv4 && frame->popts & IXSM) || frame->length <= (uint32_t)c->hdrlen + c->mss)
        return false;
    copy_head(frame, headers, c->hdrlen);
    uint32_t total = frame->length;
    if (ipv4) {
        put_be16(headers + c->ipcss + 2, total - c->ipcss);
        put_be16(headers + c->ipcso, 0);
        put_be16(headers + c->ipcso, ~ones_sum(headers + c->ipcss, c->tucss - c->ipcss));
    } else {
        put_be16(headers + c->ipcss + 4, total - c->ipcss - 40);
    }
    /* Drivers leave the pseudo header's sum without the length; the kernel wants it in. */
    put_be16(headers + c->tucso, fold(be16(headers + c->tucso) + (total - c->tucss)));

    struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = ipv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
        .hdr_len = c->hdrlen, .gso_size = c->mss, .csum_start = c->tucss,
        .csum_offset = (uint16_t)(c->tucso - c->tucss)};
    struct iovec pieces[MOST_PIECES + 2] = {{&header, sizeof header}, {headers, c->hdrlen}};
    uint32_t count = 2, skip = c->hdrlen;
    for (uint32_t i = 0; i < frame->count; i++) {
        uint32_t length = (uint32_t)frame->pieces[i].iov_len;
        uint32_t cut = length < skip ? length : skip;
        skip -= cut;
        if (length > cut)
            pieces[count++] =
                (struct iovec){(uint8_t *)frame->pieces[i].iov_base + cut, length - cut};
    }
    send_pieces(tx, pieces, (int)count);
    tx->segmented++;
    for (uint32_t left = total - c->hdrlen; left;) {
        uint32_t part = left < c->mss ? left : c->mss;
        count_frame(tx, headers, c->hdrlen + part);
        left -= part;
    }
    return true;
}

/* Set DD where RS asks for it, from `head` up to and with the descriptor before `end`. */
static void write_back(struct pk_e1000_tx *tx, uint32_t head, uint32_t end)
{
    for (; head != end; head = (head + 1) % tx->count) {
        uint8_t *raw = pk_guest_ptr(tx->memory, tx->base + (uint64_t)head * DESCRIPTOR, DESCRIPTOR,
                                    true);
        uint8_t command = raw ? raw[11] : 0;
        if (!(command & (RS | RPS)))
            continue;
        __atomic_store_n(&raw[12], (uint8_t)(raw[12] | DD), __ATOMIC_RELEASE);
        tx->reported++;
        tx->immediate += !(command & IDE);
    }
}

int pk_e1000_transmit(struct pk_e1000_tx *tx)
{
    struct frame frame = {.context = tx->context};
    for (uint32_t at = tx->head; tx->head != tx->tail;) {
        if (at == tx->tail)
            return PK_E1000_PYTHON; /* the rest of this frame has not been rung in yet */
        uint8_t raw[DESCRIPTOR]; /* a copy: the guest may change its mind meanwhile */
        if (!pk_guest_read(tx->memory, tx->base + (uint64_t)at * DESCRIPTOR, raw, sizeof raw))
            return PK_E1000_PYTHON;
        uint32_t next = (at + 1) % tx->count;
        bool context = raw[11] & DEXT && raw[10] >> 4 != TYPE_DATA;
        if (context) {
            if (frame.started)
                return PK_E1000_PYTHON;
            frame.context = context_of(raw);
        } else if (!take(tx, &frame, raw)) {
            return PK_E1000_PYTHON;
        }
        if (!context && !(raw[11] & EOP)) {
            at = next;
            continue;
        }
        if (!context && frame.length &&
            !(frame.segment ? send_segment(tx, &frame) : send_plain(tx, &frame)))
            return PK_E1000_PYTHON;
        write_back(tx, tx->head, next);
        tx->context = frame.context;
        tx->head = at = next;
        frame = (struct frame){.context = tx->context};
    }
    return PK_E1000_DONE;
}
