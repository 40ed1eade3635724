/* What the files of a virtio card's pair of queues (`virtio_net*.c`) share. */
#ifndef PYKVM_VIRTIO_NET_WORK_H
#define PYKVM_VIRTIO_NET_WORK_H

#include "host.h"
#include "virtio_net.h"
#include "worker.h"

enum {
    VNET_TURN = 64,           /* frames either way before the other way is looked at */
    VNET_ETHERNET = 14,
    VNET_LOOKED_AT = 16,      /* bytes of a frame that the filters want */
    VNET_HEADER = 12,         /* bytes of the longer header (5.1.6) */
    VNET_PATIENCE = 5000000,  /* ns that the thread waits for receive buffers without a kick */
    VNET_RETRY_NS = 100000000, /* how long a TAP that fails is left alone */
};

_Static_assert(sizeof(struct pk_piece) == sizeof(struct iovec), "they are cast into each other");

/* What whoever works knows, under the worker's lock. */
struct pk_vnet_work {
    struct pk_worker worker;
    bool started;           /* the queues are the workers', not Python's */
    bool caught;            /* KVM turns kicks into a signal: they do not exit. The thread's */
    bool quiet;             /* no kick is wanted for receive buffers: the thread naps until there are some */
    struct pk_supply supply; /* the thread's, as are the frames received before the last nap: */
    uint64_t received;
    uint64_t kicks;         /* as they were when the last batch was sent */
    uint64_t retry;         /* the TAP failed: leave it alone until then */
    /* Receive chains that were popped and not used yet, with their pieces in one row. */
    uint32_t ahead, pieces_used;
    uint64_t room;          /* bytes that they hold */
    struct pk_chain chains[PK_VNET_AHEAD];
    struct pk_piece pieces[2 * PK_VQ_MAX_PIECES];
    struct pk_piece out[1 + PK_VQ_MAX_PIECES]; /* a header of ours, a request */
    uint8_t joined[PK_VNET_FRAME];             /* a request in more pieces than one call takes */
    /* A frame that waits for more buffers, or the part of one that does not fit. */
    uint32_t header, held;
    uint8_t rest[VNET_HEADER + PK_VNET_FRAME + VNET_LOOKED_AT];
};

static inline const struct iovec *vnet_iovec(const struct pk_piece *pieces)
{
    return (const struct iovec *)(const void *)pieces;
}

/* Show the driver what was pushed. */
static inline void vnet_publish(struct pk_vq *vq, struct pk_call *call)
{
    bool pushed = vq->pushed;
    if (pk_vq_flush(vq))
        pk_call(call);
    else
        call->spared += pushed;
}

/* Receive for a while; whether there was anything to receive. */
bool pk_vnet_receive(struct pk_vnet *net);

#endif
