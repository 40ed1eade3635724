/* How long a thread that ran out of work looks for more before it sleeps.
 *
 * Sleeping costs whoever rings next a wake-up, looking costs a processor. As KVM does for halted vCPUs
 * (Documentation/virt/kvm/halt-polling.rst), the time grows while sleeps turn out short and falls back
 * when one was long, so it is spent only where work keeps coming.
 */
#ifndef PYKVM_SPIN_H
#define PYKVM_SPIN_H

#include <stdbool.h>
#include <stdint.h>

enum { PK_SPIN_LEAST = 50000, PK_SPIN_MOST = 200000 }; /* ns */

struct pk_spin {
    uint64_t most;  /* ns that limit may grow to; 0 counts as PK_SPIN_MOST */
    uint64_t limit; /* ns; 0 counts as PK_SPIN_LEAST */
    uint64_t idle;  /* since when there has been nothing to do; 0: there was just now */
};

static inline void pk_spin_busy(struct pk_spin *spin) { spin->idle = 0; }

/* Nothing was found at `now`; true when it is time to sleep. */
static inline bool pk_spin_over(struct pk_spin *spin, uint64_t now)
{
    if (!spin->idle)
        spin->idle = now;
    return now - spin->idle >= (spin->limit ? spin->limit : PK_SPIN_LEAST);
}

/* The thread slept for that long. */
static inline void pk_spin_slept(struct pk_spin *spin, uint64_t ns)
{
    uint64_t limit = spin->limit ? spin->limit : PK_SPIN_LEAST;
    uint64_t most = spin->most ? spin->most : PK_SPIN_MOST;
    spin->idle = 0;
    if (ns >= most)
        spin->limit = PK_SPIN_LEAST;
    else
        spin->limit = limit * 2 < most ? limit * 2 : most;
}

#endif
