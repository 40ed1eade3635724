/* Compare-and-exchange in guest memory, atomic for every vCPU that runs meanwhile.
 *
 * What an instruction does that KVM could not emulate has to be as atomic as the instruction.
 */
#ifndef PYKVM_ATOMIC_H
#define PYKVM_ATOMIC_H

#include "guestmem.h"

enum {
    PK_CAS_DIFFERS = 0,   /* expected now holds what is there */
    PK_CAS_EXCHANGED = 1,
    PK_CAS_REFUSED = -1,  /* not writable RAM, or not aligned to the size */
};

/* 8 and 16 bytes; the low half of 16 comes first. */
int pk_guest_cas8(const struct pk_memory *memory, uint64_t address, uint64_t *expected,
                  uint64_t desired);
int pk_guest_cas16(const struct pk_memory *memory, uint64_t address, uint64_t *expected,
                   uint64_t low, uint64_t high);

#endif
