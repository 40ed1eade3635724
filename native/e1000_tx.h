/* The 82540EM's transmit ring, for the frames that are most of them.
 *
 * The walk hands scatter-gather vectors of guest memory straight to a TAP. What it does not do itself
 * (tags, checksums that no kernel finishes, segmentation in software, frames that are not complete
 * yet) it leaves alone, with the head before the frame's first descriptor: the Python reference,
 * pykvm/devices/e1000/tx.py, takes that one frame, and the walk goes on behind it.
 */
#ifndef PYKVM_E1000_TX_H
#define PYKVM_E1000_TX_H

#include "guestmem.h"

#include <stdint.h>

#define PK_E1000_SIZES 6

enum {
    PK_E1000_DONE = 0,   /* head has reached tail */
    PK_E1000_PYTHON = 1, /* the frame at head is for the reference */
};

struct pk_e1000_context {
    uint8_t ipcss, ipcso;
    uint16_t ipcse;
    uint8_t tucss, tucso;
    uint16_t tucse;
    uint32_t paylen;
    uint8_t tucmd, hdrlen;
    uint16_t mss;
};

struct pk_e1000_tx {
    const struct pk_memory *memory;
    int fd;              /* a TAP with virtio-net headers, or -1: frames go nowhere */
    uint32_t pad;        /* TCTL.PSP: short frames are padded to 60 bytes */
    uint64_t base;       /* the ring, guest-physical */
    uint32_t count;      /* descriptors in it */
    uint32_t head, tail; /* both below count */
    struct pk_e1000_context context;
    /* What the walk did; the caller clears these. */
    uint32_t frames;     /* as on the wire: a TSO request counts as what it becomes */
    uint32_t broadcasts, multicasts;
    uint32_t segmented;  /* TSO requests */
    uint64_t bytes;      /* without FCS */
    uint32_t sizes[PK_E1000_SIZES]; /* by PTC64, 127, 255, 511, 1023, 1522 */
    uint32_t reported;   /* descriptors with RS that were written back */
    uint32_t immediate;  /* those of them that allow no delay (no IDE) */
};

/* Send everything from head to tail, as far as it goes: PK_E1000_DONE or PK_E1000_PYTHON. */
int pk_e1000_transmit(struct pk_e1000_tx *tx);

#endif
