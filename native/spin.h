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
#include <sys/resource.h>

enum { PK_SPIN_LEAST = 50000, PK_SPIN_MOST = 200000 }; /* ns */
enum {
    PK_SPIN_CHECK = 10000000,     /* ns between two looks at who else wants the processor */
    PK_SPIN_PREEMPTED = 3,        /* times in between that tell that somebody does */
    PK_SPIN_BAN = 100000000,      /* ns without looking for work then; doubled if it happens again */
    PK_SPIN_BAN_MOST = 1600000000,
};

struct pk_spin {
    uint64_t limit; /* ns; 0 counts as PK_SPIN_LEAST */
    uint64_t idle;  /* since when there has been nothing to do; 0: there was just now */
};

/* Whether others want the processor: more threads can run than there are processors, so that looking
 * takes from somebody what it saves. Asked when a thread has run out of work. */
struct pk_rivals {
    uint64_t checked; /* when */
    long preempted;   /* how often, until then */
    uint64_t until;   /* leave the processor to them until that time */
    uint64_t ban;     /* ns */
};

static inline bool pk_rivals(struct pk_rivals *rivals, uint64_t now)
{
    if (now - rivals->checked < PK_SPIN_CHECK)
        return now < rivals->until;
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    bool recent = now - rivals->checked < 2 * PK_SPIN_CHECK;
    bool many = recent && usage.ru_nivcsw - rivals->preempted >= PK_SPIN_PREEMPTED;
    rivals->checked = now;
    rivals->preempted = usage.ru_nivcsw;
    if (many && now >= rivals->until) {
        bool again = now - rivals->until < rivals->ban;
        rivals->ban = !again ? PK_SPIN_BAN : rivals->ban < PK_SPIN_BAN_MOST ? rivals->ban * 2 : PK_SPIN_BAN_MOST;
        rivals->until = now + rivals->ban;
    }
    return now < rivals->until;
}

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
    spin->idle = 0;
    if (ns >= PK_SPIN_MOST)
        spin->limit = PK_SPIN_LEAST;
    else
        spin->limit = limit * 2 < PK_SPIN_MOST ? limit * 2 : PK_SPIN_MOST;
}

#endif
