/* The native side of the bus: which range an exit hit, and ranges that C may answer by itself.
 *
 * Python owns the map (pykvm/bus.py checks and sorts it) and copies it here whole; a vCPU copies the
 * one entry it needs. The lock is only ever held for that copy.
 */
#ifndef PYKVM_BUS_H
#define PYKVM_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PK_MAX_RANGES 256
enum { PK_PIO = 0, PK_MMIO = 1, PK_SPACES = 2 };

/* A device's native answer to one access. For a read it stores *value, for a write it takes it.
 * Returns true when the access is done with, false to leave it to Python. Called without the GIL
 * and without any lock, from any vCPU. */
typedef bool pk_answer(void *opaque, bool write, uint64_t offset, uint32_t size, uint64_t *value);

struct pk_range {
    uint64_t base;
    uint64_t last;       /* inclusive, so that a range may end at the top of the space */
    int32_t id;          /* Python's number for the range */
    uint32_t width;      /* widest access in bytes that the device takes at once */
    pk_answer *answer;   /* NULL: Python answers */
    void *opaque;
};

struct pk_bus;

struct pk_bus *pk_bus_new(void);
void pk_bus_free(struct pk_bus *bus);

/* Replace the map of one space; ranges are sorted by base and do not overlap. False: too many. */
bool pk_bus_set(struct pk_bus *bus, uint32_t space, const struct pk_range *ranges, uint32_t count);

/* The range that holds the whole access, copied to *found; false when no single one does. */
bool pk_bus_find(struct pk_bus *bus, uint32_t space, uint64_t address, uint32_t size,
                 struct pk_range *found);

/* A latch: plain registers that read back what was written last. */
struct pk_latch {
    uint64_t size;       /* bytes used of cells, at most 4096 */
    uint8_t cells[4096];
};
bool pk_latch_answer(void *latch, bool write, uint64_t offset, uint32_t size, uint64_t *value);

#endif
