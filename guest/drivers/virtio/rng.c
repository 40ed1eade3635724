#include "virtio/rng.h"

enum { PATIENCE_MS = 5000 };

bool rng_open(struct rng *rng, unsigned nth, const struct virtio_transport *transport)
{
    struct virtio *v = &rng->device;
    if (!virtio_open(v, VIRTIO_RNG, nth, transport) || !virtio_negotiate(v, F_RING | F_ANY_LAYOUT) ||
        !virtio_queue(v, &rng->queue, 0, 0, 0))
        return false;
    virtio_ready(v);
    return true;
}

u32 rng_read(struct rng *rng, void *out, u32 length)
{
    struct piece piece = {(u64)out, length};
    u64 token;
    u32 got = 0;
    if (!queue_add(&rng->queue, &piece, 0, 1, 0))
        return 0;
    queue_kick(&rng->queue);
    return queue_wait(&rng->queue, 1, PATIENCE_MS) && queue_take(&rng->queue, &token, &got) ? got : 0;
}
