/* The inside of an 82540EM, for the files that make it up.
 *
 * They call each other in one direction:
 *
 *     e1000.c          life, and the registers that C answers
 *     e1000_worker.c   the thread's turns, the vCPU's
 *     e1000_doorbells.c  which doorbells exit
 *     e1000_tx.c       the transmit ring
 *     e1000_segment.c, e1000_send.c   a frame: cut, checked, tagged
 *     e1000_wire.c     where it goes: the TAP, or back
 *     e1000_rx.c       the receive ring
 *     e1000_causes.c   causes, timers, the line
 *     e1000_card.c     counters, complaints
 */
#ifndef PYKVM_E1000_CARD_H
#define PYKVM_E1000_CARD_H

#include "coalesce.h"
#include "e1000.h"
#include "worker.h"

#include <pthread.h>
#include <stddef.h>

/* Offsets and bits of chapter 13; a test holds them against pykvm/devices/e1000/registers.py. */
enum {
    E_CTRL = 0x0000, E_ICR = 0x00C0, E_ITR = 0x00C4, E_ICS = 0x00C8, E_IMS = 0x00D0, E_IMC = 0x00D8,
    E_VET = 0x0038, E_RCTL = 0x0100, E_TCTL = 0x0400, E_RXCSUM = 0x5000,
    E_RDBAL = 0x2800, E_RDBAH = 0x2804, E_RDLEN = 0x2808, E_RDH = 0x2810, E_RDT = 0x2818,
    E_RDTR = 0x2820, E_RADV = 0x282C,
    E_TDBAL = 0x3800, E_TDBAH = 0x3804, E_TDLEN = 0x3808, E_TDH = 0x3810, E_TDT = 0x3818,
    E_TIDV = 0x3820, E_TADV = 0x382C,
    E_MTA = 0x5200, E_RAL = 0x5400, E_RAH = 0x5404, E_VFTA = 0x5600,
    E_MPC = 0x4010, E_PRC64 = 0x405C, E_GPRC = 0x4074, E_BPRC = 0x4078, E_MPRC = 0x407C,
    E_GPTC = 0x4080, E_GORCL = 0x4088, E_GOTCL = 0x4090, E_RNBC = 0x40A0, E_ROC = 0x40AC,
    E_TORL = 0x40C0, E_TOTL = 0x40C8, E_TPR = 0x40D0, E_TPT = 0x40D4, E_PTC64 = 0x40D8,
    E_MPTC = 0x40F0, E_BPTC = 0x40F4, E_TSCTC = 0x40F8,
    E_WINDOW = 0x20000,
};

enum {
    CTRL_VME = 1 << 30,
    RCTL_EN = 1 << 1, RCTL_UPE = 1 << 3, RCTL_MPE = 1 << 4, RCTL_LPE = 1 << 5, RCTL_BAM = 1 << 15,
    RCTL_VFE = 1 << 18, RCTL_BSEX = 1 << 25, RCTL_SECRC = 1 << 26,
    TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3,
    RXCSUM_IPOFL = 1 << 8, RXCSUM_TUOFL = 1 << 9,
    CAUSE_TXDW = 1 << 0, CAUSE_TXQE = 1 << 1, CAUSE_RXDMT0 = 1 << 4, CAUSE_RXO = 1 << 6,
    CAUSE_RXT0 = 1 << 7, CAUSE_ALL = 0x1F6DF,
};

enum {
    E1000_TURN = 64,      /* frames either way before the lock is let go */
    DESCRIPTOR = 16,
    SHORTEST = 60,        /* without FCS, as every length here */
    STANDARD = 1518,      /* with a tag */
    RECEIVABLE = 16380,   /* with LPE */
    FCS = 4,
    TAG = 4,
    SENDABLE = 0x40000 + 256,
    FROM_WIRE = 65536,    /* the longest that a TAP hands over */
};

/* A packet timer and the absolute one that bounds it; times of CLOCK_MONOTONIC, 0 is off. */
struct pk_e1000_timer {
    uint64_t at, bound;
    uint32_t cause;
};

/* Causes, mask, timers and the line; all under `lock`, but for what is atomic. */
struct pk_e1000_irq {
    pthread_mutex_t lock;
    struct pk_line *line;
    bool level;            /* INTA#, before INTX_DIS */
    bool disabled;         /* INTX_DIS */
    uint64_t next;         /* ITR: before that time the line may not rise again */
    uint64_t held;         /* when a rise that was held back is due, 0: none is */
    bool adaptive;         /* the line rises no more often than the guest can take it, see pace() */
    uint64_t rose;         /* when it last did */
    uint64_t raised;       /* the same; 0: the guest has looked since */
    uint64_t answer;       /* how long the guest takes to look, smoothed; ns, atomic */
    uint64_t looked;       /* when the guest last touched causes or mask */
    uint64_t busy;         /* when frames last moved; atomic */
    struct pk_e1000_timer rx, tx;
};

/* Doorbells that KVM collects, without an exit for each (e1000_doorbells.c). */
struct pk_e1000_bells {
    struct pk_doorbells *doorbells; /* where; or NULL */
    uint64_t window;     /* the registers' guest-physical address, 0: nowhere */
    uint32_t collecting; /* which; atomic, changed under the worker's lock */
    uint32_t burst;      /* writes to TDT since the thread last slept; atomic */
    /* The thread's own: */
    uint64_t napping;    /* since when it has napped without finding anything, 0: it has not */
    struct pk_supply supply;
    uint32_t back;       /* receive descriptors that came back in the last nap */
};

struct pk_e1000 {
    /* These never change. */
    uint32_t *cells;       /* the registers; each is read and written whole, by anybody */
    const struct pk_memory *memory;
    int fd;
    uint32_t offloads;
    int notice;            /* an eventfd */
    uint8_t *segment;      /* room for a frame made in software */
    uint8_t *incoming;     /* and for one from the wire: its virtio-net header, itself, an FCS */

    struct pk_worker worker;

    /* These are under the worker's lock. */
    uint32_t flags;
    uint32_t errors;
    struct pk_e1000_context context;
    struct pk_e1000_unfinished unfinished;
    struct pk_train *train; /* frames that wait for more of their flow; or NULL */
    uint32_t held;         /* the first descriptor of the frames that wait */
    uint64_t retry;        /* the thread's: the file failed, do not read it before that time; 0: it did not */

    struct pk_e1000_bells bells;
    uint32_t hungry;       /* the thread sleeps until there are receive descriptors; atomic */
    struct pk_e1000_irq irq;
};

static inline uint32_t cell(const struct pk_e1000 *card, uint32_t offset)
{
    return __atomic_load_n(&card->cells[offset / 4], __ATOMIC_ACQUIRE);
}

static inline void set_cell(struct pk_e1000 *card, uint32_t offset, uint32_t value)
{
    __atomic_store_n(&card->cells[offset / 4], value, __ATOMIC_RELEASE);
}

/* Statistics: 32-bit ones stick at their highest value, 64-bit ones (low half first) wrap. */
static inline void count(struct pk_e1000 *card, uint32_t offset, uint32_t amount)
{
    uint32_t *at = &card->cells[offset / 4];
    *at = amount > UINT32_MAX - *at ? UINT32_MAX : *at + amount;
}

static inline void count_wide(struct pk_e1000 *card, uint32_t offset, uint32_t amount)
{
    uint32_t *low = &card->cells[offset / 4];
    uint64_t sum = ((uint64_t)low[1] << 32 | low[0]) + amount;
    low[0] = (uint32_t)sum;
    low[1] = (uint32_t)(sum >> 32);
}

/* The register of the six that count frames by size, from 64 to 1522 bytes, the first at `offset`. */
uint32_t pk_e1000_size_counter(uint32_t offset, uint32_t length);

static inline bool is_broadcast(const uint8_t *frame)
{
    return (frame[0] & frame[1] & frame[2] & frame[3] & frame[4] & frame[5]) == 0xFF;
}

/* Whether what is sent comes back inside the card. */
static inline bool looped(const struct pk_e1000 *card)
{
    return (cell(card, E_RCTL) >> 6 & 3) == 1 || card->flags & PK_E1000_PHY_LOOP;
}

/* Descriptors that the card may fill; 0 for registers that make no ring. */
static inline uint32_t receive_room(const struct pk_e1000 *card)
{
    uint32_t count = cell(card, E_RDLEN) / DESCRIPTOR;
    uint32_t head = cell(card, E_RDH), tail = cell(card, E_RDT);
    return head >= count || tail >= count ? 0 : (tail + count - head) % count;
}

/* The nearer of two times, of which 0 is never. */
static inline uint64_t sooner(uint64_t a, uint64_t b) { return a && (!b || a < b) ? a : b; }

void pk_e1000_complain(struct pk_e1000 *card, uint32_t error);

/* -- e1000_tx.c: the walk of the transmit ring, for about the work of `most` frames; true when it stopped
 * for that reason */
bool pk_e1000_transmit(struct pk_e1000 *card, uint32_t most);
void pk_e1000_forget_frame(struct pk_e1000 *card);

/* -- e1000_rx.c: store the frame that stands in `incoming`; returns what it causes */
uint32_t pk_e1000_store(struct pk_e1000 *card, uint32_t length);
/* Raise what storing caused. */
void pk_e1000_announce(struct pk_e1000 *card, uint32_t causes);
/* Take at most `most` frames from the file; returns how many. */
uint32_t pk_e1000_take(struct pk_e1000 *card, uint32_t most);

/* -- e1000_causes.c: causes that a delay timer holds back for `delay` (RDTR, TIDV), at most `bound` (RADV,
 * TADV) */
void pk_e1000_delay(struct pk_e1000 *card, struct pk_e1000_timer *timer, uint32_t delay,
                    uint32_t bound);
void pk_e1000_update(struct pk_e1000 *card);        /* INTX_DIS may have changed */
void pk_e1000_adapt(struct pk_e1000 *card, bool adaptive); /* whether the line spares a slow guest */
void pk_e1000_forget_causes(struct pk_e1000 *card);
/* Do what is due; returns the time of the next thing to do, or 0. */
uint64_t pk_e1000_run_timers(struct pk_e1000 *card, uint64_t now);

/* -- e1000_doorbells.c: collect TDT, now that it comes often; RDT, since nobody waits for it */
void pk_e1000_collect_work(struct pk_e1000 *card);
void pk_e1000_collect_supply(struct pk_e1000 *card);
void pk_e1000_collect_all(struct pk_e1000 *card);
void pk_e1000_collect_nothing(struct pk_e1000 *card);
/* Hand over what was collected. */
void pk_e1000_drain(struct pk_e1000 *card);
/* Note how many receive descriptors came back in the last nap. */
void pk_e1000_came_back(struct pk_e1000 *card);
/* Whether nobody sends, so that a nap keeps no one waiting but the wire. */
bool pk_e1000_only_receives(const struct pk_e1000 *card);
/* The thread is about to sleep: what must wake it is an exit from now on. When the nap is over in which it
 * looks by itself instead, or 0. */
uint64_t pk_e1000_settle_doorbells(struct pk_e1000 *card, uint64_t now);

/* -- e1000_worker.c */
extern const struct pk_work pk_e1000_work;

static inline uint8_t *incoming_frame(struct pk_e1000 *card) { return card->incoming + 10; }

#endif
