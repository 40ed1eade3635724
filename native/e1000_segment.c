/* A TSO request: left to the kernel, or cut (manual, 3.5). The worker's lock is held. */
#include "e1000_frame.h"
#include "inet.h"
#include "pieces.h"

enum {
    MOST_SEGMENTS = 2048, /* of one request; more make the card work for nothing */
    BIG_WRITE = 4,        /* how much more a GSO write costs than that of a frame */
};

enum { TCP = 0x01, IPV4 = 0x02 }; /* of TUCMD (manual, 3.3.6) */

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

static bool kernel_segments(const struct pk_e1000 *card, const struct pk_e1000_frame *frame)
{
    const struct pk_e1000_context *c = &card->context;
    bool ipv4 = c->tucmd & IPV4;
    return card->offloads & (ipv4 ? PK_E1000_TSO4 : PK_E1000_TSO6) && c->tucmd & TCP &&
           frame->popts & TXSM && (frame->popts & IXSM) == (ipv4 ? IXSM : 0) &&
           c->tucso >= c->tucss && frame->length > (uint32_t)c->hdrlen + c->mss &&
           frame->length - c->ipcss <= MOST_GSO && frame->vlan < 0 && !looped(card);
}

/* One write, which the kernel cuts. */
static void hand_over(struct pk_e1000 *card, struct pk_e1000_frame *frame)
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
    pk_e1000_count_sent(card, headers, c->hdrlen + c->mss, payload / c->mss);
    if (payload % c->mss)
        pk_e1000_count_sent(card, headers, c->hdrlen + payload % c->mss, 1);
    struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = ipv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
        .hdr_len = c->hdrlen, .gso_size = c->mss, .csum_start = c->tucss,
        .csum_offset = (uint16_t)(c->tucso - c->tucss)};
    struct iovec pieces[MOST_PIECES + 2] = {{&header, sizeof header}, {headers, c->hdrlen}};
    pk_e1000_put(card, pieces, 2 + pk_tail_pieces(frame->pieces, frame->count, c->hdrlen, pieces + 2));
}

/* Frame after frame, for who cannot be given the whole. */
static void cut(struct pk_e1000 *card, struct pk_e1000_frame *frame, bool ip_sum)
{
    const struct pk_e1000_context *c = &card->context;
    const uint8_t *data = pk_e1000_flatten(card, frame);
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
        pk_e1000_send_flat(card, out, length, frame->vlan);
    }
}

uint32_t pk_e1000_send_segments(struct pk_e1000 *card, struct pk_e1000_frame *frame)
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
