/* What C answers of a virtio function's registers: reading its ISR, and kicks that exit.
 *
 * VIRTIO 1.2, 4.1.4.4 (notification), 4.1.4.5 (ISR), 4.1.4.8 (legacy).
 */
#ifndef PYKVM_VIRTIO_WINDOW_H
#define PYKVM_VIRTIO_WINDOW_H

#include "isr.h"
#include "virtio_net.h"

#define PK_VIRTIO_PAIRS 8

/* The queues of a function that C works, by pair; shared by its windows. */
struct pk_virtio_pairs {
    struct pk_vnet *pairs[PK_VIRTIO_PAIRS];
};
/* Kicks of a pair's queues are `net`'s from now on; NULL: Python's. From any thread. */
void pk_virtio_attach(struct pk_virtio_pairs *pairs, uint32_t pair, struct pk_vnet *net);

/* A window with the ISR at `isr_at`, and notification registers from `notify` on, `step` bytes apart (0: one
 * for all queues, which takes their number). */
struct pk_virtio_window {
    struct pk_isr *isr;
    struct pk_virtio_pairs *pairs;
    uint64_t isr_at, notify;
    uint32_t step, queues;
};

/* The bus's native answer for it (bus.h). */
bool pk_virtio_answer(void *window, bool write, uint64_t offset, uint32_t size, uint64_t *value);

#endif
