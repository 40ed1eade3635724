/* Where frames go: to the TAP behind a virtio-net header, merged with others of their flow if that is wanted, or
 * back into the card. The worker's lock is held. */
#include "e1000_frame.h"
#include "host.h"
#include "pieces.h"

void pk_e1000_count_sent(struct pk_e1000 *card, const uint8_t *frame, uint32_t length, uint32_t number)
{
    count(card, pk_e1000_size_counter(E_PTC64, length), number);
    pk_tally(&card->worker.counts.sent, number);
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

void pk_e1000_send(struct pk_e1000 *card, struct virtio_net_hdr *header, struct iovec *pieces,
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

bool pk_e1000_coalesce(struct pk_e1000 *card, const struct virtio_net_hdr *header,
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

