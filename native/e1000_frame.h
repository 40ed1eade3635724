/* A frame on its way out of the e1000: gathered from its descriptors (e1000_tx.c), sent whole
 * (e1000_send.c) or cut (e1000_segment.c).
 */
#ifndef PYKVM_E1000_FRAME_H
#define PYKVM_E1000_FRAME_H

#include "e1000_card.h"

#include <linux/virtio_net.h>

enum {
    MOST_PIECES = 64, /* of one frame; more are copied together */
    MOST_GSO = 65535, /* bytes of IP packet that one GSO write takes */
};

/* Of POPTS: which checksums the guest wants (manual, 3.3.7). */
enum { IXSM = 0x01, TXSM = 0x02 };

/* One frame in the making. Its data stays in guest memory until something has to be changed in it,
 * or until the walk ends inside it. */
struct pk_e1000_frame {
    struct iovec pieces[MOST_PIECES];
    uint32_t count, length;
    uint32_t first; /* its first descriptor */
    bool started, bad, segment;
    uint8_t popts;
    int32_t vlan; /* -1: no tag */
    bool legacy_sum;
    uint8_t css, cso;
};

static inline bool holding(const struct pk_e1000 *card) { return card->train && card->train->frames; }

static inline bool connected(const struct pk_e1000 *card)
{
    return card->flags & PK_E1000_LINK || looped(card);
}

/* Copy the pieces together, into the buffer that outlives the walk. */
uint8_t *pk_e1000_flatten(struct pk_e1000 *card, struct pk_e1000_frame *frame);
/* `number` frames of `length` bytes, which begin with `frame`, went out. */
void pk_e1000_count_sent(struct pk_e1000 *card, const uint8_t *frame, uint32_t length,
                         uint32_t number);
/* Send pieces[1..count] as a frame; pieces[0] is left for the header, and one more for the padding. */
void pk_e1000_send(struct pk_e1000 *card, struct virtio_net_hdr *header, struct iovec *pieces,
                   uint32_t count, uint32_t length);
/* Let the frame wait for more of its flow, if it is one to merge. */
bool pk_e1000_coalesce(struct pk_e1000 *card, const struct virtio_net_hdr *header,
                       const struct pk_e1000_frame *frame);
/* Write a frame behind its header to the TAP. */
void pk_e1000_put(struct pk_e1000 *card, const struct iovec *pieces, uint32_t count);
/* Send the frames that wait for more of their flow. */
void pk_e1000_send_train(struct pk_e1000 *card);
/* A frame in one piece, with a tag where the guest wants one. */
void pk_e1000_send_flat(struct pk_e1000 *card, uint8_t *data, uint32_t length, int32_t vlan);
/* A frame that is not to be cut. */
void pk_e1000_send_plain(struct pk_e1000 *card, struct pk_e1000_frame *frame);
/* A TSO request; returns how much work it was. */
uint32_t pk_e1000_send_segments(struct pk_e1000 *card, struct pk_e1000_frame *frame);

#endif
