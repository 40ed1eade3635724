/* A card's thread, the lock of what it works on, and the vCPUs that do its work for it.
 *
 * Whoever holds the lock works. The thread takes it for a turn at a time; a vCPU that rings takes it if
 * that is its duty (duty.h) and nobody has it, else it leaves the doorbell to whoever has it: `rung` is
 * set before the lock is tried, and every holder looks at `rung` after it has let go.
 *
 * What is to be done is the card's, as five functions. This file waits for the host, and for nothing else
 * with the lock held.
 */
#ifndef PYKVM_WORKER_H
#define PYKVM_WORKER_H

#include "duty.h"
#include "netcounts.h"

#include <pthread.h>

enum {
    PK_SERVE_NS = 2000000, /* ns that a vCPU works for one doorbell at most; the thread does the rest */
};

/* What a sleeping thread waits for besides being woken. */
struct pk_wait {
    int fd, kick;   /* until either is readable; below 0: not for that */
    uint64_t until; /* or until that time; 0: for ever */
    bool kicked;    /* afterwards: `kick` is */
};

struct pk_work {
    const char *name; /* of the thread */
    /* In the thread, without the lock: work for a while; whether there was anything to do. */
    bool (*turn)(void *card, uint64_t now);
    /* In a vCPU, with the lock: the same for what the doorbell is about; whether there is more. */
    bool (*serve)(void *card);
    /* In the thread, which is about to sleep: have everything that is to wake it wake it. False: there is
     * something to do after all. */
    bool (*settle)(void *card, uint64_t now, struct pk_wait *wait);
    /* In the thread: doorbells are off from now on, until it settles. */
    void (*quiet)(void *card);
    /* It has slept. */
    void (*awake)(void *card, uint64_t now, const struct pk_wait *wait);
    /* The descriptors that the thread uses into `files`, at most PK_WORK_FILES; their number. */
    uint32_t (*files)(const void *card, int *files);
};
enum { PK_WORK_FILES = 12 };

struct pk_worker {
    const struct pk_work *work;
    void *card;
    pthread_mutex_t gate, lock;
    pthread_t thread;
    uint32_t running, stop; /* atomic */
    uint32_t rung;          /* atomic: doorbells that nobody has looked after yet */
    int wake;               /* an eventfd */
    uint64_t requests;      /* that guests rang for and that have been done; under the lock */
    struct pk_duty duty;
    struct pk_net_counts counts;
};

/* Count, by the one who may; and read from any thread. */
static inline void pk_tally(uint64_t *counter, uint64_t amount)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + amount, __ATOMIC_RELAXED);
}
void pk_net_counts_read(const struct pk_net_counts *from, struct pk_net_counts *to);

/* 0 or an errno. */
int pk_worker_init(struct pk_worker *worker, const struct pk_work *work, void *card);
void pk_worker_free(struct pk_worker *worker);

/* The thread; 0 or an errno. Stopping ends it, and is idempotent. */
int pk_worker_start(struct pk_worker *worker);
void pk_worker_stop(struct pk_worker *worker);
bool pk_worker_runs(const struct pk_worker *worker);

/* Who waits for the lock holds the gate, so that the thread, which takes the lock again and again, cannot
 * keep others out. */
void pk_worker_acquire(struct pk_worker *worker);
void pk_worker_release(struct pk_worker *worker);

/* A doorbell; from a vCPU without the lock. */
void pk_worker_ring(struct pk_worker *worker);
/* The same for somebody who holds the lock: it is left to the thread. */
void pk_worker_leave(struct pk_worker *worker);
/* Whether somebody has rung since the last call; for the thread's turn. */
static inline bool pk_worker_rung(struct pk_worker *worker)
{
    return __atomic_exchange_n(&worker->rung, 0, __ATOMIC_SEQ_CST);
}
/* Wake the thread if it sleeps; whoever has work for it has said so before. */
void pk_worker_wake(struct pk_worker *worker);

uint64_t pk_now(void);

#endif
