/* Which doorbells exit, and which KVM collects.
 *
 * One that has to wake the thread cannot be collected: TDT has to, and RDT where frames wait for
 * descriptors. But to turn that off and on again may take KVM milliseconds (it waits for every vCPU to have
 * seen it), and where doorbells come in bursts, or the driver is busy with all the descriptors that it has
 * got, there will be one soon: for some naps the thread rather looks by itself. A driver that has all the
 * descriptors to work on is best left alone until it has given back a quarter of them: the naps are as
 * long as that takes.
 *
 * Changes are made under the worker's lock; collecting starts with the thread awake, and it has ended
 * before the thread is gone.
 */
#include "e1000_card.h"

enum { TDT = 1, RDT = 2 };
enum {
    DENSE = 16,         /* doorbells in a burst from which on KVM collects them */
    NAP = 100000,       /* ns */
    PATIENCE = 10000000, /* ns without TDT after which it exits again */
    LONG_PATIENCE = 1000000000, /* the same for RDT: nobody waits for those frames but the wire */
};

static uint32_t collecting(const struct pk_e1000 *card)
{
    return __atomic_load_n(&card->bells.collecting, __ATOMIC_ACQUIRE);
}

/* Let KVM collect a doorbell, or not. */
static void collect(struct pk_e1000 *card, uint32_t which, bool on)
{
    struct pk_e1000_bells *bells = &card->bells;
    uint32_t before = collecting(card);
    if (on == !!(before & which) || !bells->doorbells || !bells->window)
        return;
    uint64_t at = bells->window + (which == TDT ? E_TDT : E_RDT);
    bool done = pk_doorbells_collect(bells->doorbells, at, 4, on);
    __atomic_store_n(&bells->collecting, on && done ? before | which : before & ~which,
                     __ATOMIC_RELEASE);
}

void pk_e1000_collect_nothing(struct pk_e1000 *card)
{
    collect(card, TDT, false);
    collect(card, RDT, false);
}

static bool dense(const struct pk_e1000 *card)
{
    return __atomic_load_n(&card->bells.burst, __ATOMIC_RELAXED) >= DENSE;
}

void pk_e1000_collect_work(struct pk_e1000 *card)
{
    if (dense(card))
        collect(card, TDT, true);
}

void pk_e1000_collect_all(struct pk_e1000 *card)
{
    collect(card, TDT, true);
    collect(card, RDT, true);
}

void pk_e1000_collect_supply(struct pk_e1000 *card) { collect(card, RDT, true); }

void pk_e1000_drain(struct pk_e1000 *card)
{
    if (collecting(card))
        pk_doorbells_drain(card->bells.doorbells);
}

void pk_e1000_place(struct pk_e1000 *card, struct pk_doorbells *doorbells, uint64_t window)
{
    pk_e1000_collect_nothing(card);
    card->bells.doorbells = doorbells;
    card->bells.window = window;
}

void pk_e1000_came_back(struct pk_e1000 *card) { card->bells.back += receive_room(card); }

bool pk_e1000_only_receives(const struct pk_e1000 *card)
{
    return collecting(card) == RDT && !__atomic_load_n(&card->bells.burst, __ATOMIC_RELAXED);
}

/* RDT: when to look for it, or 0 for an exit. */
static uint64_t settle_supply(struct pk_e1000 *card, uint64_t now)
{
    struct pk_e1000_bells *bells = &card->bells;
    if (receive_room(card) || !(collecting(card) & RDT))
        return 0;
    uint32_t back = bells->back;
    bells->back = 0;
    return pk_supply_nap(&bells->supply, now, back, cell(card, E_RDLEN) / DESCRIPTOR, LONG_PATIENCE);
}

/* The same for TDT. */
static uint64_t settle_work(struct pk_e1000 *card, uint64_t now)
{
    struct pk_e1000_bells *bells = &card->bells;
    uint64_t napped = bells->napping ? now - bells->napping : 0;
    bool nap = collecting(card) & TDT && napped < PATIENCE && pk_duty_free(&card->worker.duty, now);
    bells->napping = !nap ? 0 : bells->napping ? bells->napping : now;
    if (!nap)
        __atomic_store_n(&bells->burst, 0, __ATOMIC_RELAXED);
    return nap ? now + NAP : 0;
}

uint64_t pk_e1000_settle_doorbells(struct pk_e1000 *card, uint64_t now)
{
    struct pk_e1000_bells *bells = &card->bells;
    bool hungry = !receive_room(card);
    uint64_t work = settle_work(card, now), supply = settle_supply(card, now);
    uint32_t wanted = (work ? TDT : 0) | (!card->worker.duty.always && (!hungry || supply) ? RDT : 0);
    if (bells->doorbells && collecting(card) != wanted) {
        pk_worker_acquire(&card->worker);
        collect(card, TDT, wanted & TDT);
        collect(card, RDT, wanted & RDT);
        pk_worker_release(&card->worker);
        pk_doorbells_drain(bells->doorbells);
    }
    __atomic_store_n(&card->hungry, hungry && !(collecting(card) & RDT), __ATOMIC_SEQ_CST);
    return sooner(work, supply);
}
