#include "e1000_frame.h"
#include "host.h"
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

void pk_e1000_count_sent(struct pk_e1000 *card, const uint8_t *frame, uint32_t length, uint32_t number)
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

void pk_e1000_send_train(struct pk_e1000 *card)
{
    if (holding(card))
        put_now(card, card->train->pieces, pk_train_end(card->train));
}

void pk_e1000_put(struct pk_e1000 *card, const struct iovec *pieces, uint32_t count)
{
    pk_e1000_send_train(card); /* they came before */
    put_now(card, pieces, count);
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
    pk_e1000_count_sent(card, address, length, 1);
    if (looped(card)) {
        pk_copy_head(pieces + 1, count, incoming_frame(card), FROM_WIRE);
        pk_e1000_announce(card, pk_e1000_store(card, length));
        return;
    }
    pieces[0] = (struct iovec){header, sizeof *header};
    pk_e1000_put(card, pieces, count + 1);
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
static bool kernel_sums(const struct pk_e1000 *card, const struct pk_e1000_frame *frame)
{
    const struct pk_e1000_context *c = &card->context;
    return card->offloads & PK_E1000_CSUM && !c->tucse && c->tucso >= c->tucss && c->tucso >= 14 &&
           c->tucso + 2u <= frame->length && frame->length <= MOST_GSO && !looped(card) &&
           frame->length >= 14;
}

/* Let the frame wait for more of its flow, if it is one to merge. */
static bool coalesce(struct pk_e1000 *card, const struct virtio_net_hdr *header,
                     const struct pk_e1000_frame *frame)
{
    struct pk_segment segment;
    if (!card->train || !connected(card) || looped(card) ||
        frame->pieces[0].iov_base == card->unfinished.data || /* which the next frame may need */
        !pk_train_parse(&segment, header, frame->pieces, frame->count, frame->length))
        return false;
    if (!pk_train_join(card->train, &segment, frame->pieces, frame->count)) {
        pk_e1000_send_train(card);
        pk_train_open(card->train, &segment, header, frame->pieces, frame->count);
        card->held = frame->first;
    }
    pk_e1000_count_sent(card, segment.headers, frame->length, 1);
    return true;
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
        if (coalesce(card, &header, frame))
            return;
        struct iovec pieces[MOST_PIECES + 2];
        memcpy(pieces + 1, frame->pieces, frame->count * sizeof *pieces);
        send(card, &header, pieces, frame->count, frame->length);
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
