#include "coalesce.h"
#include "inet.h"
#include "pieces.h"

enum {
    ETHERNET = 14,
    SHORTEST = 60,      /* a shorter frame is padded on its way; segments are not */
    MOST_PACKET = 65535, /* bytes of IP packet */
    IPV4 = 0x0800, IPV6 = 0x86DD, TCP = 6, PSH = 0x08, ACK = 0x10,
    NOT_DF = 0xBFFF,    /* the fragment word without DF */
};

static bool is_ipv4(uint32_t tcp) { return tcp == ETHERNET + 20; }

bool pk_train_parse(struct pk_segment *s, const struct virtio_net_hdr *vnet,
                    const struct iovec *pieces, uint32_t count, uint32_t length)
{
    const uint8_t *ip = s->headers + ETHERNET;
    if (length < SHORTEST || length - ETHERNET > MOST_PACKET)
        return false;
    pk_copy_head(pieces, count, s->headers, ETHERNET);
    uint32_t type = pk_be16(s->headers + 12);
    if (type != IPV4 && type != IPV6) /* nothing more to look at */
        return false;
    pk_copy_head(pieces, count, s->headers, PK_TRAIN_HEADERS);
    switch (type) {
    case IPV4: /* no options, no fragment, no padding behind */
        s->tcp = ETHERNET + 20;
        if (ip[0] != 0x45 || pk_be16(ip + 2) != length - ETHERNET || pk_be16(ip + 6) & NOT_DF ||
            ip[9] != TCP)
            return false;
        break;
    case IPV6: /* no extension headers, no padding behind */
        s->tcp = ETHERNET + 40;
        if (ip[0] >> 4 != 6 || pk_be16(ip + 4) != length - s->tcp || ip[6] != TCP)
            return false;
        break;
    }
    const uint8_t *tcp = s->headers + s->tcp;
    if (length < s->tcp + 20 || tcp[12] & 0x0F || (tcp[13] & ~PSH) != ACK)
        return false;
    s->size = s->tcp + (tcp[12] >> 4) * 4u;
    if (s->size < s->tcp + 20 || s->size >= length)
        return false;
    s->data = length - s->size;
    s->partial = vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
    return !s->partial || (vnet->csum_start == s->tcp && vnet->csum_offset == 16);
}

/* Give a packet with the train's headers its length and IP checksum. */
static void set_length(uint8_t *headers, uint32_t tcp, uint32_t length)
{
    uint8_t *ip = headers + ETHERNET;
    if (!is_ipv4(tcp)) {
        pk_put_be16(ip + 4, length - tcp);
        return;
    }
    pk_put_be16(ip + 2, length - ETHERNET);
    pk_put_be16(ip + 10, 0);
    pk_put_be16(ip + 10, ~pk_ones_sum(ip, 20, 0));
}

/* The sum of the pseudo header with the length of TCP header and data. */
static uint32_t pseudo_sum(const uint8_t *headers, uint32_t tcp, uint32_t length)
{
    const uint8_t *ip = headers + ETHERNET;
    uint32_t addresses = is_ipv4(tcp) ? pk_ones_sum(ip + 12, 8, 0) : pk_ones_sum(ip + 8, 32, 0);
    return pk_fold((uint64_t)addresses + TCP + length);
}

/* Whether the kernel, cutting, would make these headers out of the train's for its nth frame: all but
 * the TCP checksum and PSH, which are looked at apart. */
static bool is_nth(const struct pk_train *t, const uint8_t *headers, uint32_t data, uint32_t n)
{
    uint8_t made[PK_TRAIN_HEADERS], *tcp = made + t->tcp;
    uint32_t sequence = pk_be32(t->headers + t->tcp + 4) + n * t->mss;
    if (sequence != pk_be32(headers + t->tcp + 4))
        return false; /* most often it is this */
    memcpy(made, t->headers, t->size);
    if (is_ipv4(t->tcp))
        pk_put_be16(made + ETHERNET + 4, pk_be16(made + ETHERNET + 4) + n);
    set_length(made, t->tcp, t->size + data);
    pk_put_be32(tcp + 4, sequence);
    tcp[13] = headers[t->tcp + 13];
    memcpy(tcp + 16, headers + t->tcp + 16, 2);
    return !memcmp(made, headers, t->size);
}

static uint32_t sum_pieces(const struct iovec *pieces, uint32_t count)
{
    uint64_t sum = 0;
    bool odd = false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t part = pk_ones_sum(pieces[i].iov_base, (uint32_t)pieces[i].iov_len, 0);
        sum += odd ? (part & 0xFF) << 8 | part >> 8 : part;
        odd ^= pieces[i].iov_len & 1;
    }
    return pk_fold(sum);
}

/* Whether the TCP checksum, or what the guest left of it to finish, is right. Merging a frame with a
 * wrong one would mend it. 0 and 0xFFFF mean the same, and which of them the kernel makes depends on
 * its way: neither is merged. */
static bool sums_up(const uint8_t *headers, uint32_t tcp, uint32_t size, uint32_t data, bool partial,
                    const struct iovec *pieces, uint32_t count)
{
    uint32_t field = pk_be16(headers + tcp + 16);
    uint32_t pseudo = pseudo_sum(headers, tcp, size - tcp + data);
    if (partial)
        return field == pseudo;
    if (field == 0 || field == 0xFFFF)
        return false;
    uint64_t sum = (uint64_t)pseudo + sum_pieces(pieces, count);
    return pk_ones_sum(headers + tcp, size - tcp, sum) == 0xFFFF;
}

void pk_train_open(struct pk_train *t, const struct pk_segment *s, const struct virtio_net_hdr *vnet,
                   const struct iovec *pieces, uint32_t count)
{
    memcpy(t->headers, s->headers, s->size);
    t->vnet = *vnet;
    t->tcp = s->tcp;
    t->size = s->size;
    t->mss = s->data;
    t->length = s->size + s->data;
    t->count = 2 + pk_tail_pieces(pieces, count, s->size, t->pieces + 2);
    t->frames = 1;
    t->sound = false;
    t->closed = t->push = s->headers[s->tcp + 13] & PSH;
}

/* The first frame's sums are looked at when there is a second one: most frames are alone. */
static bool is_sound(struct pk_train *t)
{
    if (!t->sound)
        t->sound = is_nth(t, t->headers, t->mss, 0) &&
                   sums_up(t->headers, t->tcp, t->size, t->mss,
                           t->vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, t->pieces + 2, t->count - 2);
    return t->sound;
}

bool pk_train_join(struct pk_train *t, const struct pk_segment *s, const struct iovec *pieces,
                   uint32_t count)
{
    if (!t->frames || t->closed || t->frames == PK_TRAIN_FRAMES ||
        t->count + count > PK_TRAIN_PIECES || s->tcp != t->tcp || s->size != t->size ||
        s->data > t->mss || t->length + s->data - ETHERNET > MOST_PACKET ||
        !is_nth(t, s->headers, s->data, t->frames))
        return false;
    struct iovec *tail = t->pieces + t->count;
    uint32_t added = pk_tail_pieces(pieces, count, s->size, tail);
    if (!is_sound(t) || !sums_up(s->headers, s->tcp, s->size, s->data, s->partial, tail, added))
        return false;
    t->count += added;
    t->frames++;
    t->length += s->data;
    t->push = s->headers[s->tcp + 13] & PSH;
    t->closed = t->push || s->data < t->mss;
    return true;
}

uint32_t pk_train_end(struct pk_train *t)
{
    uint32_t count = t->count;
    if (t->frames > 1) {
        uint8_t *tcp = t->headers + t->tcp;
        set_length(t->headers, t->tcp, t->length);
        tcp[13] = (uint8_t)(ACK | (t->push ? PSH : 0));
        pk_put_be16(tcp + 16, pseudo_sum(t->headers, t->tcp, t->length - t->tcp));
        t->vnet = (struct virtio_net_hdr){
            .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
            .gso_type = is_ipv4(t->tcp) ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
            .hdr_len = (uint16_t)t->size, .gso_size = (uint16_t)t->mss,
            .csum_start = (uint16_t)t->tcp, .csum_offset = 16};
    }
    t->pieces[0] = (struct iovec){&t->vnet, sizeof t->vnet};
    t->pieces[1] = (struct iovec){t->headers, t->size};
    t->frames = 0;
    return count;
}
