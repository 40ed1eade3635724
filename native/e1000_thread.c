#include "e1000_card.h"
#include "host.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

enum { STREAK = 16 }; /* doorbells without sleep after which KVM collects them */

void pk_e1000_wake(struct pk_e1000 *card)
{
    /* The flag that there is work was set before; the thread sets this one before it looks for work
     * the last time: one of both sees the other. */
    if (__atomic_load_n(&card->sleeping, __ATOMIC_SEQ_CST))
        pk_signal(card->wake);
}

static bool collecting(const struct pk_e1000 *card)
{
    return __atomic_load_n(&card->collecting, __ATOMIC_ACQUIRE);
}

/* Let KVM collect the doorbells, or not. */
static void collect(struct pk_e1000 *card, bool on)
{
    if (on == collecting(card) || !card->doorbells || !card->window)
        return;
    bool tdt = pk_doorbells_collect(card->doorbells, card->window + E_TDT, 4, on);
    bool rdt = pk_doorbells_collect(card->doorbells, card->window + E_RDT, 4, on);
    __atomic_store_n(&card->collecting, on && (tdt || rdt), __ATOMIC_RELEASE);
}

void pk_e1000_place(struct pk_e1000 *card, struct pk_doorbells *doorbells, uint64_t window)
{
    collect(card, false);
    card->doorbells = doorbells;
    card->window = window;
}

static bool transmit_turn(struct pk_e1000 *card)
{
    if (card->inline_tx ||
        (!__atomic_exchange_n(&card->kicked, 0, __ATOMIC_SEQ_CST) && !card->more))
        return false;
    pk_e1000_acquire(card);
    if (card->streak++ == STREAK)
        collect(card, true);
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
    bool more = pk_e1000_take(card, E1000_TURN);
    if (more && !card->inline_tx && card->streak++ == STREAK)
        collect(card, true); /* RDT, for a guest that only receives */
    pk_e1000_release(card);
    return more;
}

static void sleep_on(struct pk_e1000 *card, uint64_t now)
{
    card->streak = 0;
    if (collecting(card)) {
        pk_e1000_acquire(card);
        collect(card, false);
        pk_e1000_release(card);
        pk_doorbells_drain(card->doorbells);
    }
    __atomic_store_n(&card->sleeping, 1, __ATOMIC_SEQ_CST);
    struct pollfd watched[2] = {{.fd = card->wake, .events = POLLIN}, {.fd = card->fd, .events = POLLIN}};
    bool listen = receiving(card, now);
    uint64_t next = pk_e1000_run_timers(card, now); /* whoever sets one from now on wakes us */
    if (card->retry && (!next || card->retry < next))
        next = card->retry;
    struct timespec pause = {(time_t)((next - now) / 1000000000u), (long)((next - now) % 1000000000u)};
    if (next && next <= now)
        pause = (struct timespec){0, 0};
    bool work = __atomic_load_n(&card->kicked, __ATOMIC_SEQ_CST) ||
                __atomic_load_n(&card->stop, __ATOMIC_SEQ_CST);
    if (!work)
        ppoll(watched, listen ? 2 : 1, next ? &pause : NULL, NULL);
    __atomic_store_n(&card->sleeping, 0, __ATOMIC_SEQ_CST);
    uint64_t drained;
    if (watched[0].revents && read(card->wake, &drained, sizeof drained) < 0)
        return;
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
        bool busy = transmit_turn(card);
        busy |= receive_turn(card, now);
        pk_e1000_run_timers(card, now);
        if (busy) {
            __atomic_store_n(&card->irq.busy, now, __ATOMIC_RELAXED);
            pk_spin_busy(&card->spin);
        } else if (pk_spin_over(&card->spin, now)) {
            sleep_on(card, now);
            /* A guest that is slow to answer is slow to ring, too. */
            uint64_t patience = pk_e1000_patience(card);
            card->spin.most = patience > PK_SPIN_MOST ? patience : PK_SPIN_MOST;
            pk_spin_slept(&card->spin, pk_now() - now);
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
    collect(card, false);
    __atomic_store_n(&card->running, 0, __ATOMIC_RELEASE);
}
