/* Who moves the frames: the card's thread in turns, and vCPUs that ring while it does not run (worker.h). Takes
 * the worker's lock for each turn. */
#include "e1000_card.h"

/* Naps in vain before doorbells exit again, which takes KVM as long as these. */
enum { PATIENCE = 200 };

/* Frames move: the interrupt line is told before they cause anything. */
static void note_busy(struct pk_e1000 *card, uint64_t now)
{
    __atomic_store_n(&card->irq.busy, now, __ATOMIC_RELAXED);
}

static bool transmit_turn(struct pk_e1000 *card, uint64_t now)
{
    struct pk_worker *worker = &card->worker;
    if (!pk_worker_rung(worker))
        return false;
    note_busy(card, now);
    pk_worker_acquire(worker);
    if (pk_duty_free(&worker->duty, now))
        pk_e1000_collect_work(card);
    bool more = pk_e1000_transmit(card, E1000_TURN);
    pk_worker_release(worker);
    if (more)
        pk_worker_leave(worker);
    return true;
}

/* Whether frames from the wire have a place to go, and a file to come from. */
static bool receiving(const struct pk_e1000 *card, uint64_t now)
{
    return card->fd >= 0 && (!card->retry || now >= card->retry) &&
           (!(cell(card, E_RCTL) & RCTL_EN) || receive_room(card));
}

static bool receive_turn(struct pk_e1000 *card, uint64_t now)
{
    struct pk_worker *worker = &card->worker;
    if (!receiving(card, now))
        return false;
    pk_worker_acquire(worker);
    card->retry = 0;
    uint32_t taken = pk_e1000_take(card, E1000_TURN);
    if (taken && !worker->duty.always)
        pk_e1000_collect_supply(card);
    pk_worker_release(worker);
    return taken;
}

static bool turn(void *opaque, uint64_t now)
{
    struct pk_e1000 *card = opaque;
    pk_e1000_drain(card);
    bool busy = transmit_turn(card, now);
    busy |= receive_turn(card, now);
    pk_e1000_run_timers(card, now);
    if (busy) {
        note_busy(card, now);
        card->bells.napping = 0;
    }
    if (!receive_room(card) && pk_e1000_only_receives(card))
        pk_duty_rest(&card->worker.duty);
    return busy;
}

static bool serve(void *opaque)
{
    struct pk_e1000 *card = opaque;
    note_busy(card, pk_now());
    return pk_e1000_transmit(card, E1000_TURN);
}

static bool settle(void *opaque, uint64_t now, struct pk_wait *wait)
{
    struct pk_e1000 *card = opaque;
    uint64_t nap = pk_e1000_settle_doorbells(card, now);
    if (receiving(card, now))
        wait->fd = card->fd;
    /* Whoever sets a timer from now on wakes us. */
    wait->until = sooner(nap, sooner(card->retry, pk_e1000_run_timers(card, now)));
    return !wait->until || wait->until > now;
}

static void quiet(void *opaque)
{
    struct pk_e1000 *card = opaque;
    pk_worker_acquire(&card->worker);
    pk_e1000_collect_all(card);
    pk_worker_release(&card->worker);
}

static void awake(void *opaque, uint64_t now, const struct pk_wait *wait)
{
    struct pk_e1000 *card = opaque;
    (void)now, (void)wait;
    pk_e1000_drain(card);
    pk_e1000_came_back(card);
    __atomic_store_n(&card->hungry, 0, __ATOMIC_SEQ_CST);
}

static uint32_t files(const void *opaque, int *files)
{
    const struct pk_e1000 *card = opaque;
    files[0] = card->fd;
    files[1] = card->notice;
    files[2] = pk_line_vm(card->irq.line);
    files[3] = pk_doorbells_vm(card->bells.doorbells);
    return 4;
}

const struct pk_work pk_e1000_work = {
    .name = "e1000", .turn = turn, .serve = serve, .settle = settle, .quiet = quiet,
    .awake = awake, .files = files};

int pk_e1000_start(struct pk_e1000 *card, bool inline_tx)
{
    if (pk_worker_runs(&card->worker))
        return 0;
    card->worker.duty.always = inline_tx;
    card->worker.duty.patience = PATIENCE;
    pk_e1000_adapt(card, !inline_tx);
    return pk_worker_start(&card->worker);
}

void pk_e1000_stop(struct pk_e1000 *card)
{
    pk_worker_stop(&card->worker);
    pk_e1000_collect_nothing(card);
}
