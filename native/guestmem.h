/* The one checked door from a guest-physical address to host memory, for C.
 *
 * Python's twin is pykvm/memory.py. Every C path that touches guest memory comes through here, and
 * the check covers the start *and* the length: a range is good only when it lies whole in one slot.
 */
#ifndef PYKVM_GUESTMEM_H
#define PYKVM_GUESTMEM_H

#include <stdbool.h>
#include <stdint.h>

#define PK_MAX_SLOTS 16

struct pk_slot {
    uint64_t base;   /* guest-physical address of the first byte */
    uint64_t size;   /* bytes, never 0 */
    uint8_t *host;   /* where the first byte is mapped */
    uint32_t writable;
    uint32_t reserved;
};

struct pk_memory {
    uint32_t count;
    struct pk_slot slots[PK_MAX_SLOTS];
};

/* Host pointer for [address, address + length), or NULL when that is not wholly RAM (or, for a
 * write, not wholly writable). A length of 0 is good wherever the address itself is RAM. */
uint8_t *pk_guest_ptr(const struct pk_memory *memory, uint64_t address, uint64_t length,
                      bool write);

/* Copy out of and into guest memory; false (and nothing copied) when the range is not RAM. */
bool pk_guest_read(const struct pk_memory *memory, uint64_t address, void *to, uint64_t length);
bool pk_guest_write(const struct pk_memory *memory, uint64_t address, const void *from,
                    uint64_t length);

#endif
