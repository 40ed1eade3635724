/* Which doorbells exit, and which KVM collects.
 *
 * One that has to wake the thread cannot be collected: TDT has to, and RDT where frames wait for
 * descriptors. But to turn that off and on again may take KVM milliseconds (it waits for every vCPU to have
 * seen it), and where doorbells come in bursts, or the driver is busy with all the descriptors that it has
 * got, there will be one soon: for some naps the thread rather looks by itself.
 *
 * Changes are made under the worker's lock; collecting starts with the thread awake, and it has ended
 * before the thread is gone.
 */
#include "e1000_card.h"

enum { TDT = 1, RDT = 2 };
enum {
    DENSE = 16,   /* doorbells in a burst from which on KVM collects them */
    NAP = 100000, /* ns */
    NAPS = 100,   /* in a row at most */
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

uint64_t pk_e1000_settle_doorbells(struct pk_e1000 *card, uint64_t now)
{
    struct pk_e1000_bells *bells = &card->bells;
    const struct pk_duty *duty = &card->worker.duty;
    bool hungry = !receive_room(card), patient = bells->naps < NAPS;
    uint32_t before = collecting(card), wanted = 0;
    if (before & TDT && patient && pk_duty_free(duty, now))
        wanted |= TDT;
    if (!duty->always && (!hungry || (before & RDT && patient)))
        wanted |= RDT;
    bool nap = wanted & TDT || (hungry && wanted & RDT);
    bells->naps = nap ? bells->naps + 1 : 0;
    if (!nap)
        __atomic_store_n(&bells->burst, 0, __ATOMIC_RELAXED);
    if (bells->doorbells && before != wanted) {
        pk_worker_acquire(&card->worker);
        collect(card, TDT, wanted & TDT);
        collect(card, RDT, wanted & RDT);
        pk_worker_release(&card->worker);
        pk_doorbells_drain(bells->doorbells);
    }
    __atomic_store_n(&card->hungry, hungry && !nap, __ATOMIC_SEQ_CST);
    return nap ? now + NAP : 0;
}
