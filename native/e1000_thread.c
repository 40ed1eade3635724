#include "e1000_card.h"
#include "host.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

enum { TDT = 1, RDT = 2 };
enum {
    DENSE = 16,        /* doorbells in a burst from which on KVM collects them */
    BURST_MOST = 1 << 16,
    LONGEST = 2000000, /* ns that the thread looks for a doorbell at most */
    UNKNOWN = 50000,   /* ns of an exit where the guest has answered no interrupt yet */
    NAP = 100000,      /* ns */
    NAPS = 100,        /* in a row at most */
};

void pk_e1000_wake(struct pk_e1000 *card)
{
    /* The flag that there is work was set before; the thread sets this one before it looks for work
     * the last time: one of both sees the other. */
    if (__atomic_load_n(&card->sleeping, __ATOMIC_SEQ_CST))
        pk_signal(card->wake);
}

/* Doorbells that KVM collects; a set. */
static uint32_t collecting(const struct pk_e1000 *card)
{
    return __atomic_load_n(&card->collecting, __ATOMIC_ACQUIRE);
}

/* Let KVM collect a doorbell, or not. */
static void collect(struct pk_e1000 *card, uint32_t which, bool on)
{
    uint32_t before = collecting(card);
    if (on == !!(before & which) || !card->doorbells || !card->window)
        return;
    uint64_t at = card->window + (which == TDT ? E_TDT : E_RDT);
    bool done = pk_doorbells_collect(card->doorbells, at, 4, on);
    __atomic_store_n(&card->collecting, on && done ? before | which : before & ~which, __ATOMIC_RELEASE);
}

static void collect_nothing(struct pk_e1000 *card)
{
    collect(card, TDT, false);
    collect(card, RDT, false);
}

void pk_e1000_place(struct pk_e1000 *card, struct pk_doorbells *doorbells, uint64_t window)
{
    collect_nothing(card);
    card->doorbells = doorbells;
    card->window = window;
}

static uint32_t burst(const struct pk_e1000 *card)
{
    return __atomic_load_n(&card->burst, __ATOMIC_RELAXED);
}

static bool transmit_turn(struct pk_e1000 *card, uint64_t now)
{
    if (card->inline_tx)
        return false;
    if (!__atomic_exchange_n(&card->kicked, 0, __ATOMIC_SEQ_CST) && !card->more)
        return false;
    __atomic_store_n(&card->irq.busy, now, __ATOMIC_RELAXED); /* before it causes anything */
    pk_e1000_acquire(card);
    if (burst(card) >= DENSE)
        collect(card, TDT, true);
    card->more = pk_e1000_transmit(card, E1000_TURN);
    pk_e1000_release(card);
    return true;
}

/* Whether frames from the wire have a place to go, and a descriptor to come from. */
static bool receiving(const struct pk_e1000 *card, uint64_t now)
{
    return card->fd >= 0 && (!card->retry || now >= card->retry) &&
           (!(cell(card, E_RCTL) & RCTL_EN) || pk_e1000_room(card));
}

static bool receive_turn(struct pk_e1000 *card, uint64_t now)
{
    if (!receiving(card, now))
        return false;
    pk_e1000_acquire(card);
    card->retry = 0;
    uint32_t taken = pk_e1000_take(card, E1000_TURN);
    if (taken && !card->inline_tx)
        collect(card, RDT, true);
    pk_e1000_release(card);
    return taken;
}

/* Which doorbells to listen to while asleep: one that has to wake the thread cannot be collected. TDT
 * has to, and RDT where frames wait for descriptors. But to turn that off and on again may take KVM
 * milliseconds (it waits for every vCPU to have seen it), and where doorbells come in bursts, or the
 * driver is busy with all the descriptors that it has got, there will be one soon: for some naps the
 * thread rather looks by itself. Returns when the nap is over, or 0. */
static uint64_t settle(struct pk_e1000 *card, uint64_t now)
{
    bool hungry = !pk_e1000_room(card), patient = card->naps < NAPS;
    bool dense = card->usual_burst >= DENSE || burst(card) >= DENSE;
    uint32_t before = collecting(card), wanted = 0;
    if (before & TDT && dense && patient)
        wanted |= TDT;
    if (!card->inline_tx && (!hungry || (before & RDT && patient)))
        wanted |= RDT;
    bool nap = wanted & TDT || (hungry && wanted & RDT);
    card->naps = nap ? card->naps + 1 : 0;
    if (card->doorbells && before != wanted) {
        pk_e1000_acquire(card);
        collect(card, TDT, wanted & TDT);
        collect(card, RDT, wanted & RDT);
        pk_e1000_release(card);
        pk_doorbells_drain(card->doorbells);
    }
    __atomic_store_n(&card->sleeping, hungry && !nap ? E1000_HUNGRY : E1000_ASLEEP, __ATOMIC_SEQ_CST);
    return nap ? now + NAP : 0;
}

static void sleep_on(struct pk_e1000 *card, uint64_t now)
{
    uint64_t next = settle(card, now);
    struct pollfd watched[2] = {{.fd = card->wake, .events = POLLIN}, {.fd = card->fd, .events = POLLIN}};
    bool listen = receiving(card, now);
    /* Whoever sets a timer from now on wakes us. */
    next = sooner(next, sooner(card->retry, pk_e1000_run_timers(card, now)));
    struct timespec pause = {(time_t)((next - now) / 1000000000u), (long)((next - now) % 1000000000u)};
    if (next && next <= now)
        pause = (struct timespec){0, 0};
    bool work = __atomic_load_n(&card->kicked, __ATOMIC_SEQ_CST) ||
                __atomic_load_n(&card->stop, __ATOMIC_SEQ_CST);
    if (!work)
        ppoll(watched, listen ? 2 : 1, next ? &pause : NULL, NULL);
    __atomic_store_n(&card->sleeping, E1000_AWAKE, __ATOMIC_SEQ_CST);
    uint64_t drained;
    if (watched[0].revents && read(card->wake, &drained, sizeof drained) < 0)
        return;
}

/* Looking for doorbells costs time, and so does an exit for each that comes while the thread is asleep:
 * look for as long as those of a usual burst would take. An exit takes about what the guest takes to
 * answer an interrupt, and a burst is over when no doorbell comes for two of them. */
static void pause_over(struct pk_e1000 *card, uint64_t ns)
{
    uint64_t answer = pk_e1000_answer_time(card), exit = answer ? answer : UNKNOWN;
    uint64_t least = 2 * exit > PK_SPIN_LEAST ? 2 * exit : PK_SPIN_LEAST;
    if (ns < least) {
        if (ns > card->spin.limit) /* it slept within a burst */
            card->spin.limit = least;
        return;
    }
    uint32_t rung = __atomic_exchange_n(&card->burst, 0, __ATOMIC_RELAXED);
    rung = rung < BURST_MOST ? rung : BURST_MOST;
    card->usual_burst = card->usual_burst ? (3 * card->usual_burst + rung) / 4 : rung;
    uint64_t worth = card->usual_burst * exit;
    card->spin.limit = worth < PK_SPIN_LEAST ? PK_SPIN_LEAST : worth < LONGEST ? worth : LONGEST;
}

static void *work(void *opaque)
{
    struct pk_e1000 *card = opaque;
    const int files[] = {card->fd, card->wake, card->notice, pk_line_vm(card->irq.line),
                         pk_doorbells_vm(card->doorbells)};
    pk_thread_own_files(files, sizeof files / sizeof *files);
    while (!__atomic_load_n(&card->stop, __ATOMIC_SEQ_CST)) {
        uint64_t now = pk_now();
        if (collecting(card))
            pk_doorbells_drain(card->doorbells);
        bool busy = transmit_turn(card, now);
        busy |= receive_turn(card, now);
        pk_e1000_run_timers(card, now);
        if (busy) {
            if (card->spin.idle)
                pause_over(card, now - card->spin.idle);
            __atomic_store_n(&card->irq.busy, now, __ATOMIC_RELAXED);
            card->naps = 0;
            pk_spin_busy(&card->spin);
        } else if (pk_spin_over(&card->spin, now)) {
            sleep_on(card, now);
        }
    }
    return NULL;
}

int pk_e1000_start(struct pk_e1000 *card, bool inline_tx)
{
    if (running(card))
        return 0;
    card->inline_tx = inline_tx;
    pk_e1000_adapt(card, !inline_tx);
    card->stop = 0;
    __atomic_store_n(&card->running, 1, __ATOMIC_RELEASE);
    int error = pk_thread_start(&card->thread, "e1000", work, card);
    if (error)
        __atomic_store_n(&card->running, 0, __ATOMIC_RELEASE);
    return error;
}

void pk_e1000_stop(struct pk_e1000 *card)
{
    if (!running(card))
        return;
    __atomic_store_n(&card->stop, 1, __ATOMIC_SEQ_CST);
    pk_signal(card->wake);
    pthread_join(card->thread, NULL);
    collect_nothing(card);
    __atomic_store_n(&card->running, 0, __ATOMIC_RELEASE);
}
