/* The device's side of a virtqueue, split or packed (VIRTIO 1.2, 2.7 and 2.8).
 *
 * Python's references are pykvm/devices/virtio/{split,packed}.py; one suite runs over both. The ring's
 * areas are checked once, when it is set up: guest memory does not move while a machine lives. Whatever
 * a descriptor names is checked each time. One thread at a time works a ring.
 */
#ifndef PYKVM_VIRTQ_H
#define PYKVM_VIRTQ_H

#include "guestmem.h"

#include <stdbool.h>
#include <stdint.h>

#define PK_VQ_MAX_SIZE 32768
#define PK_VQ_MAX_PIECES 1024

enum { PK_VQ_PACKED = 1, PK_VQ_EVENT_IDX = 2, PK_VQ_INDIRECT = 4 };

/* What the driver did wrong. */
enum {
    PK_VQ_FINE = 0,
    PK_VQ_BAD_LAYOUT,   /* size or alignment of the ring */
    PK_VQ_NO_RAM,       /* ring, table or buffer is not RAM */
    PK_VQ_BAD_INDEX,    /* more chains offered than there are entries, or a descriptor past the end */
    PK_VQ_BAD_CHAIN,    /* a chain without end, or in the wrong order */
    PK_VQ_BAD_INDIRECT, /* an indirect table where none may be, or of an odd length */
    PK_VQ_TOO_LONG,     /* too many pieces, or 4 GiB */
};

/* A part of a buffer in this process's memory; the layout of struct iovec. */
struct pk_piece {
    uint8_t *data;
    uint64_t length;
};

/* A buffer of the driver's: `out_count` pieces to read, then `in_count` to write, from where pop() was
 * told to put them. */
struct pk_chain {
    uint32_t id, slots;
    uint32_t out_count, in_count;
    uint64_t out_bytes, in_bytes;
};

struct pk_vq {
    const struct pk_memory *memory;
    uint32_t size, mode, error;
    uint8_t *descriptors, *driver, *device;
    /* Free-running 16-bit indices of a split ring; slots of a packed one. */
    uint32_t next, used;
    uint32_t seen;          /* split: the avail index as it was when it was last looked at */
    uint32_t pushed;        /* split: entries not shown yet; packed: whether there are any */
    uint32_t signalled;     /* split: used index, packed: slots, since the last decision */
    uint32_t avail_wrap, used_wrap; /* packed */
    uint32_t first;         /* packed: the slot that shows what was pushed */
    uint32_t first_flags;
};

/* Take over a ring whose areas are at these guest-physical addresses; an error of the above. */
int pk_vq_init(struct pk_vq *vq, const struct pk_memory *memory, uint32_t mode, uint32_t size,
               uint64_t descriptors, uint64_t driver, uint64_t device);

/* 1 and the next chain, 0 when none is offered, -1 and vq->error for a broken ring, which stays so.
 * `pieces` has room for PK_VQ_MAX_PIECES. */
int pk_vq_pop(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces);

/* Take the last pop back. */
void pk_vq_unpop(struct pk_vq *vq, const struct pk_chain *chain);

/* A chain is used, with `written` bytes in it; the driver sees it after flush(), which tells whether it
 * wants an interrupt for that. */
void pk_vq_push(struct pk_vq *vq, const struct pk_chain *chain, uint32_t written);
bool pk_vq_flush(struct pk_vq *vq);

/* Kicks are wanted, or not. Whoever enables them and gets true has work that may come without one. */
void pk_vq_disable_kicks(struct pk_vq *vq);
bool pk_vq_enable_kicks(struct pk_vq *vq);

/* Whether pop() would find something. */
bool pk_vq_offered(struct pk_vq *vq);

#endif
