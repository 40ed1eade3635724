/* Whether there is a processor for a thread that only looks for work.
 *
 * Looking takes a processor from whoever could use it, the guest first. So a thread looks only while
 * more processors are allowed than one, and nobody of this process waits for one: not the thread itself
 * and no vCPU, as the kernel counts it (schedstat: proc_pid_schedstat, run-queue delay). What is found
 * holds for a while; each time that looking turns out to be in somebody's way, for twice as long.
 *
 * Judging is apart from measuring, so that a test can tell it what it likes.
 */
#ifndef PYKVM_PROCESSORS_H
#define PYKVM_PROCESSORS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PK_PROCESSORS_CHECK = 10000000,      /* ns between two looks */
    PK_PROCESSORS_SHARE = 8,             /* waiting for an eighth of the time is waiting */
    PK_PROCESSORS_BAN = 100000000,       /* ns without looking then */
    PK_PROCESSORS_BAN_MOST = 1600000000,
};

struct pk_processors {
    uint64_t checked; /* when; 0: never */
    uint64_t waited;  /* ns, until then */
    uint64_t until;   /* none is free until that time; atomic */
    uint64_t ban;     /* ns, the last one */
    uint32_t proven;  /* whether nobody waited while the thread looked, the last time; atomic */
    uint32_t reserved;
};

/* A process's share may be less than its processors: at most `count` of them (a quota of its cgroup),
 * 0 for no such limit. From any thread. */
void pk_processors_limit(uint32_t count);

/* Take a measurement into account: `allowed` processors, and `waited` ns that threads have waited so far
 * (UINT64_MAX where nobody tells). */
void pk_processors_judge(struct pk_processors *processors, uint64_t now, uint32_t allowed,
                         uint64_t waited);

/* Whether it is time for one. */
bool pk_processors_due(const struct pk_processors *processors, uint64_t now);

/* Whether one is free, as far as is known; from any thread. */
bool pk_processors_free(const struct pk_processors *processors, uint64_t now);

/* Whether that has been seen, and not only hoped for: what it costs milliseconds to take back waits for
 * that. From any thread. */
bool pk_processors_proven(const struct pk_processors *processors, uint64_t now);

/* Measure for the calling thread, and judge. */
void pk_processors_look(struct pk_processors *processors, uint64_t now);

/* The thread `tid` runs a vCPU, or no longer does: what it waits counts. From any thread. */
void pk_processors_vcpu(int tid, bool runs);

#endif
