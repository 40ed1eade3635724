#include "atomic.h"

#include <stddef.h>

static uint8_t *aligned(const struct pk_memory *memory, uint64_t address, uint64_t size)
{
    /* RAM slots are page-aligned on both sides, so the host address is aligned as the guest's is. */
    return address % size ? NULL : pk_guest_ptr(memory, address, size, true);
}

int pk_guest_cas8(const struct pk_memory *memory, uint64_t address, uint64_t *expected,
                  uint64_t desired)
{
    uint64_t *at = (void *)aligned(memory, address, 8);
    if (!at)
        return PK_CAS_REFUSED;
    return __atomic_compare_exchange_n(at, expected, desired, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

int pk_guest_cas16(const struct pk_memory *memory, uint64_t address, uint64_t *expected,
                   uint64_t low, uint64_t high)
{
    uint8_t *at = aligned(memory, address, 16);
    if (!at)
        return PK_CAS_REFUSED;
    /* The compiler's own builtin is a call into libatomic; the instruction is all that is needed. */
    bool same;
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(same), "+m"(*(unsigned char (*)[16])at), "+a"(expected[0]),
                       "+d"(expected[1])
                     : "b"(low), "c"(high)
                     : "memory");
    return same;
}
