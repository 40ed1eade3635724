/* Who works now: the card's thread, or the vCPU that rings; and when the thread looks for work, when it
 * naps, when it sleeps.
 *
 * Two ways to have a doorbell served, and each is right somewhere. A thread that looks for work takes
 * doorbells from the guest for nothing and works beside it, but costs a processor. Where none is free
 * (processors.h), a frame would wait until the scheduler runs the thread; there, and whenever the thread
 * is not running right now, the vCPU that rings does the work itself.
 *
 * How long the thread looks follows KVM's way with halted vCPUs (Documentation/virt/kvm/halt-polling.rst):
 * the time grows while sleeps turn out short and falls back after a long one, so it is spent only where
 * work keeps coming.
 *
 * A guest that does not wait for what it sends pays for each of those doorbells, and without a processor for
 * the thread naps are better: doorbells are turned off, and after each nap there are many requests. A guest
 * that does wait would be kept waiting. To tell one from the other, after a row of doorbells one is left for a
 * moment: who does not wait goes on. Then the thread naps for as long as that gets more done than before.
 *
 * This knows no card and no clock: times are ns of any clock that does not run back, and the caller's.
 */
#ifndef PYKVM_DUTY_H
#define PYKVM_DUTY_H

#include "processors.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PK_DUTY_LEAST = 50000,  /* ns that the thread looks at least, where it may */
    PK_DUTY_MOST = 200000,
    PK_DUTY_STALE = 30000,  /* ns after which a thread that has not looked is not running */
    PK_DUTY_SOON = 200000,  /* ns between two doorbells that make it worth looking for a third */
    PK_DUTY_NAP = 50000,    /* ns */
    PK_DUTY_ROW = 32,       /* doorbells after which one is left, */
    PK_DUTY_FEW = 8,        /* unless each is for that many requests */
    PK_DUTY_NAPS = 16,      /* naps after which they are judged */
    PK_DUTY_RETRY = 8000000, /* ns until another is left, doubled each time that it was in vain */
    PK_DUTY_RETRY_MOST = 1024000000,
};

/* On the way to naps. */
enum {
    PK_DUTY_NONE,
    PK_DUTY_ASK,   /* the next doorbell is to be left */
    PK_DUTY_WAIT,  /* it is: does another come? */
    PK_DUTY_NAPPING, /* one did: doorbells are off, or will be as soon as the thread runs */
};

/* Requests that were done, and the time that it took. */
struct pk_duty_pace {
    uint64_t requests, ns;
};

struct pk_duty {
    uint32_t look;     /* whether the thread may look for work at all */
    uint32_t always;   /* whether the vCPU that rings always does the work */
    uint32_t asleep;   /* atomic; the thread waits for the host */
    uint32_t rest;     /* whether the thread is to sleep next time that it finds nothing */
    uint64_t looked;   /* when the thread last looked; atomic */
    uint64_t rang;     /* when a vCPU last was to do work; atomic */
    uint64_t limit;    /* ns that the thread looks; 0 counts as PK_DUTY_LEAST */
    uint64_t idle;     /* since when the thread has found nothing; 0: it just did */
    struct pk_processors processors;

    uint32_t may_nap;  /* whether the card can turn doorbells off at once */
    uint32_t stage;    /* PK_DUTY_NONE and so on; atomic */
    uint32_t patience; /* naps in a row that find nothing until they end; 0 counts as 1 */
    uint32_t empty;    /* ... by now */
    uint64_t since;    /* of the doorbells in a row, or the naps: when it began, */
    uint64_t before;   /* how many requests had been done by then, */
    uint64_t last, last_requests; /* the same for the last one */
    uint32_t row;      /* how many there are */
    struct pk_duty_pace served; /* without napping */
    uint64_t retry;    /* do not try before that time */
    uint64_t pause;    /* ns, the last time between two tries; 0: the last one paid */
};

/* -- the vCPU that rings ----------------------------------------------------------------------- */

enum pk_duty_ring {
    PK_DUTY_LEAVE, /* the thread is on it, or will be */
    PK_DUTY_WAKE,  /* leave it, and wake the thread */
    PK_DUTY_SERVE, /* do it */
    PK_DUTY_CALL,  /* do it, and have the thread look for what comes next */
};
enum pk_duty_ring pk_duty_ring(struct pk_duty *duty, uint64_t now);

/* It did, and `requests` have been done by now, in all; with the card's lock. */
void pk_duty_served(struct pk_duty *duty, uint64_t now, uint64_t requests);

/* -- the thread ------------------------------------------------------------------------------- */

/* It looks now. */
void pk_duty_looks(struct pk_duty *duty, uint64_t now);

/* It found something. */
void pk_duty_busy(struct pk_duty *duty);

/* It found nothing, and looking on is not worth it, whatever is free. */
void pk_duty_rest(struct pk_duty *duty);

/* It found nothing: true when it is to sleep. */
bool pk_duty_over(struct pk_duty *duty, uint64_t now);

/* It slept for that long, until `now`. */
void pk_duty_slept(struct pk_duty *duty, uint64_t ns, uint64_t now);

/* It was woken: whether it is to nap before it does anything. */
bool pk_duty_naps(const struct pk_duty *duty);

/* It has napped for the first time: true when doorbells are to be off, and it is to go on. With the card's
 * lock. */
bool pk_duty_tried(struct pk_duty *duty, uint64_t now, uint64_t requests);

/* It has napped with doorbells off, and done what there was: true when it is to do so again. With the card's
 * lock. */
bool pk_duty_napped(struct pk_duty *duty, uint64_t now, uint64_t requests);

/* It stops: no doorbell is left to it any more. */
void pk_duty_ends(struct pk_duty *duty);

/* Whether doorbells are the thread's: there is a processor for it. */
bool pk_duty_free(const struct pk_duty *duty, uint64_t now);

/* -- receive buffers that the driver has all got ------------------------------------------------ */

/* It is busy with them, and best left alone until a quarter is back: who asks for each costs it an exit, who
 * looks for each its cache. So the thread naps, as long as that takes. */
struct pk_supply {
    uint64_t since; /* when something last came back; 0: it is not waited for */
    uint64_t nap;   /* ns of the last one */
};
enum { PK_SUPPLY_NAP = 100000, PK_SUPPLY_MOST = 500000 }; /* the wire does not wait for ever */

/* When to look again, `back` of `size` buffers having come back, or been filled, since the last time; 0 when
 * none has for `patience` ns, or ever. */
uint64_t pk_supply_nap(struct pk_supply *supply, uint64_t now, uint64_t back, uint64_t size,
                       uint64_t patience);

#endif
