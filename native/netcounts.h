/* What a network card, or a pair of its queues, has done so far, and who did it: for statistics. Each counter
 * but `kicks` has one writer at a time (who holds a lock, or the thread); all have any number of readers, and
 * none ever falls.
 */
#ifndef PYKVM_NETCOUNTS_H
#define PYKVM_NETCOUNTS_H

#include <stdint.h>

struct pk_net_counts {
    uint64_t kicks;      /* doorbells of the transmit side, and of virtio's receive side, that arrived */
    uint64_t unrung;     /* virtio: transmit batches found without a kick since the last one */
    uint64_t interrupts; /* raised */
    uint64_t spared;     /* batches, or sets of causes, that raised none */
    uint64_t batches;    /* of frames, either way */
    uint64_t sent, received; /* frames; of what is cut, an e1000 counts the segments, virtio the request */
    uint64_t sleeps, naps;   /* of the thread */
    uint64_t by_vcpu, by_thread; /* doorbells that a vCPU served; turns in which the thread found work */
};

#endif
