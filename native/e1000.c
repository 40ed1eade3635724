#include "e1000_card.h"
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    TURN = 64,            /* frames either way before the lock is let go */
    STREAK = 16,          /* doorbells without sleep after which KVM collects them */
};

struct pk_e1000 *pk_e1000_new(const struct pk_memory *memory, int fd, uint32_t offloads,
                              struct pk_line *line)
{
    struct pk_e1000 *card = calloc(1, sizeof *card);
    if (!card)
        return NULL;
    card->memory = memory;
    card->fd = fd;
    card->offloads = offloads;
    card->irq.line = line;
    card->irq.rx.cause = CAUSE_RXT0;
    card->irq.tx.cause = CAUSE_TXDW;
    card->unfinished.vlan = -1;
    card->cells = calloc(E_WINDOW, 1);
    card->unfinished.data = malloc(SENDABLE);
    if (offloads & PK_E1000_COALESCE)
        card->train = calloc(1, sizeof *card->train);
    card->segment = malloc(UINT8_MAX + UINT16_MAX);
    card->incoming = calloc(10 + FROM_WIRE + FCS, 1);
    card->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    card->notice = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&card->gate, NULL);
    pthread_mutex_init(&card->lock, NULL);
    pthread_mutex_init(&card->irq.lock, NULL);
    if (card->cells && card->unfinished.data && card->segment && card->incoming && card->wake >= 0 &&
        card->notice >= 0 && (card->train || !(offloads & PK_E1000_COALESCE)))
        return card;
    pk_e1000_free(card);
    return NULL;
}

void pk_e1000_free(struct pk_e1000 *card)
{
    if (!card)
        return;
    pk_e1000_stop(card);
    pthread_mutex_destroy(&card->gate);
    pthread_mutex_destroy(&card->lock);
    pthread_mutex_destroy(&card->irq.lock);
    if (card->wake >= 0)
        close(card->wake);
    if (card->notice >= 0)
        close(card->notice);
    free(card->cells);
    free(card->unfinished.data);
    free(card->train);
    free(card->segment);
    free(card->incoming);
    free(card);
}

uint32_t *pk_e1000_cells(struct pk_e1000 *card) { return card->cells; }
struct pk_e1000_context *pk_e1000_context(struct pk_e1000 *card) { return &card->context; }
struct pk_e1000_unfinished *pk_e1000_unfinished(struct pk_e1000 *card) { return &card->unfinished; }
int pk_e1000_notice(struct pk_e1000 *card) { return card->notice; }

/* Who waits for the lock holds the gate, so that the thread, which takes the lock again and again,
 * cannot keep others out. */
void pk_e1000_acquire(struct pk_e1000 *card)
{
    pthread_mutex_lock(&card->gate);
    pthread_mutex_lock(&card->lock);
    pthread_mutex_unlock(&card->gate);
}

void pk_e1000_release(struct pk_e1000 *card) { pthread_mutex_unlock(&card->lock); }

uint32_t pk_e1000_size_counter(uint32_t offset, uint32_t length)
{
    static const uint32_t limits[] = {64, 127, 255, 511, 1023};
    uint32_t n = 0;
    while (n < 5 && length + FCS > limits[n])
        n++;
    return offset + 4 * n;
}

static bool running(const struct pk_e1000 *card)
{
    return __atomic_load_n(&card->running, __ATOMIC_ACQUIRE);
}

void pk_e1000_complain(struct pk_e1000 *card, uint32_t error)
{
    if (running(card) && error & ~card->errors)
        pk_signal(card->notice);
    card->errors |= error;
}

uint32_t pk_e1000_errors(struct pk_e1000 *card)
{
    uint32_t errors = card->errors;
    uint64_t drained;
    card->errors = 0;
    if (errors && read(card->notice, &drained, sizeof drained) < 0)
        return errors; /* nobody had been told yet */
    return errors;
}

void pk_e1000_set_flags(struct pk_e1000 *card, uint32_t flags)
{
    card->flags = flags;
    pk_e1000_update(card);
}

void pk_e1000_reset(struct pk_e1000 *card)
{
    pk_e1000_forget_frame(card);
    pk_e1000_forget_causes(card);
    __atomic_store_n(&card->kicked, 0, __ATOMIC_SEQ_CST);
    card->more = false;
}

/* -- doorbells ------------------------------------------------------------------------------- */

static void wake(struct pk_e1000 *card)
{
    /* The flag that there is work was set before; the thread sets this one before it looks for work
     * the last time: one of both sees the other. */
    if (__atomic_load_n(&card->sleeping, __ATOMIC_SEQ_CST))
        pk_signal(card->wake);
}

static bool threaded(const struct pk_e1000 *card) { return running(card) && !card->inline_tx; }

static void ring(struct pk_e1000 *card)
{
    __atomic_store_n(&card->kicked, 1, __ATOMIC_SEQ_CST);
    wake(card);
}

void pk_e1000_kick(struct pk_e1000 *card)
{
    if (threaded(card))
        ring(card);
    else
        while (pk_e1000_transmit(card, TURN))
            ;
}

void pk_e1000_resume(struct pk_e1000 *card)
{
    wake(card);
}

bool pk_e1000_answer(void *opaque, bool write, uint64_t offset, uint32_t size, uint64_t *value)
{
    struct pk_e1000 *card = opaque;
    uint32_t written = (uint32_t)*value;
    if (size != 4)
        return false;
    if (!write) {
        switch (offset) {
        case E_ICR:
            *value = pk_e1000_read_icr(card);
            return true;
        case E_IMS: case E_TDH: case E_TDT: case E_RDH: case E_RDT:
            *value = cell(card, (uint32_t)offset);
            return true;
        }
        return false;
    }
    switch (offset) {
    case E_TDT:
        set_cell(card, E_TDT, written & 0xFFFF);
        if (threaded(card)) {
            ring(card);
        } else {
            pk_e1000_acquire(card);
            pk_e1000_kick(card);
            pk_e1000_release(card);
        }
        return true;
    case E_RDT:
        set_cell(card, E_RDT, written & 0xFFFF);
        pk_e1000_resume(card);
        return true;
    case E_ICR:
        pk_e1000_cause(card, 0, written);
        return true;
    case E_ICS:
        pk_e1000_cause(card, written & CAUSE_ALL, 0);
        return true;
    case E_IMS:
        pk_e1000_mask(card, written & CAUSE_ALL, 0);
        return true;
    case E_IMC:
        pk_e1000_mask(card, 0, written);
        return true;
    }
    return false;
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

/* -- the I/O thread -------------------------------------------------------------------------- */

static bool transmit_turn(struct pk_e1000 *card)
{
    if (card->inline_tx ||
        (!__atomic_exchange_n(&card->kicked, 0, __ATOMIC_SEQ_CST) && !card->more))
        return false;
    pk_e1000_acquire(card);
    if (card->streak++ == STREAK)
        collect(card, true);
    card->more = pk_e1000_transmit(card, TURN);
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
    bool more = pk_e1000_take(card, TURN);
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
