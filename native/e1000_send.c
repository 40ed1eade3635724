/* A frame on its way out: in one piece, tagged, with its checksums (manual, 3.3.5, 3.3.6). The worker's lock is
 * held. */
#include "e1000_frame.h"
#include "inet.h"
#include "pieces.h"

uint8_t *pk_e1000_flatten(struct pk_e1000 *card, struct pk_e1000_frame *frame)
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

void pk_e1000_send_flat(struct pk_e1000 *card, uint8_t *data, uint32_t length, int32_t vlan)
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
    pk_e1000_send(card, &header, pieces, count, length);
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
static bool kernel_sums(const struct pk_e1000 *card, const struct pk_e1000_frame *frame)
{
    const struct pk_e1000_context *c = &card->context;
    return card->offloads & PK_E1000_CSUM && !c->tucse && c->tucso >= c->tucss && c->tucso >= 14 &&
           c->tucso + 2u <= frame->length && frame->length <= MOST_GSO && !looped(card) &&
           frame->length >= 14;
}

void pk_e1000_send_plain(struct pk_e1000 *card, struct pk_e1000_frame *frame)
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
        if (pk_e1000_coalesce(card, &header, frame))
            return;
        struct iovec pieces[MOST_PIECES + 2];
        memcpy(pieces + 1, frame->pieces, frame->count * sizeof *pieces);
        pk_e1000_send(card, &header, pieces, frame->count, frame->length);
        return;
    }
    uint8_t *data = pk_e1000_flatten(card, frame);
    if (frame->legacy_sum)
        insert(data, frame->length, frame->css, 0, frame->cso);
    if (sums & IXSM)
        insert(data, frame->length, c->ipcss, c->ipcse, c->ipcso);
    if (sums & TXSM)
        insert(data, frame->length, c->tucss, c->tucse, c->tucso);
    pk_e1000_send_flat(card, data, frame->length, frame->vlan);
}
