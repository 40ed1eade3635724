// A virtio entropy device (VIRTIO 1.2, 5.4).
#pragma once
#include "virtio/virtio.h"

struct rng {
    struct virtio device;
    struct queue queue;
};

bool rng_open(struct rng *rng, unsigned nth, const struct virtio_transport *transport);

// How many bytes were filled with entropy; 0 when none came in time.
u32 rng_read(struct rng *rng, void *out, u32 length);
