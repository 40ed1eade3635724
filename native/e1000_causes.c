/* Causes, mask, delay timers and INTA# (manual, 3.4, 13.4.17 to 13.4.22). Everything here holds the causes'
 * lock, which may be taken with the worker's held and takes none but the line's. */
#include "e1000_card.h"

enum { ITR_UNIT = 256, DELAY_UNIT = 1024 }; /* ns */
enum {
    SHARE = 64,         /* answers that fit between two interrupts */
    PATIENCE = 2000000, /* ns, the most that an interrupt waits for that */
    SENT_MORE = 3,      /* times as much for frames that were sent: nobody waits for those */
    SENT_PAUSE = 4,     /* answers without frames after which somebody might */
    QUIET = 50000,      /* ns without frames after which it waits no longer: who sends waits for it */
};

static void lock(struct pk_e1000 *card) { pthread_mutex_lock(&card->irq.lock); }
static void unlock(struct pk_e1000 *card) { pthread_mutex_unlock(&card->irq.lock); }

static void drive(struct pk_e1000 *card)
{
    struct pk_e1000_irq *irq = &card->irq;
    pk_line_set(irq->line, irq->level && !irq->disabled);
}

static uint64_t answered(const struct pk_e1000_irq *irq)
{
    return __atomic_load_n(&irq->answer, __ATOMIC_RELAXED);
}

/* Whether all that the line would tell is that frames were sent. */
static bool only_sent(const struct pk_e1000 *card)
{
    return !(cell(card, E_ICR) & cell(card, E_IMS) & ~(uint32_t)(CAUSE_TXDW | CAUSE_TXQE));
}

static uint64_t patience(const struct pk_e1000 *card)
{
    uint64_t wanted = answered(&card->irq) * SHARE;
    return (wanted < PATIENCE ? wanted : PATIENCE) * (only_sent(card) ? SENT_MORE : 1);
}

/* Whether the receive ring cannot wait. */
static bool pressed(const struct pk_e1000 *card)
{
    uint32_t count = cell(card, E_RDLEN) / DESCRIPTOR;
    return count && receive_room(card) <= count / 4;
}

/* Before that time the line may not rise; 0: it may. ITR is the guest's own word. But where an
 * interrupt costs a guest more than its driver's author could know, as many as ITR allows leave no time
 * for anything else. So while frames move, the line also waits for some times as long as the guest
 * takes to answer it, unless a ring cannot wait. */
static uint64_t pace(const struct pk_e1000 *card)
{
    const struct pk_e1000_irq *irq = &card->irq;
    if (!irq->adaptive || pressed(card))
        return irq->next;
    uint64_t busy = __atomic_load_n(&irq->busy, __ATOMIC_RELAXED), answer = answered(irq);
    uint64_t pause = answer * (only_sent(card) ? SENT_PAUSE : 1);
    uint64_t quiet = (busy > irq->looked ? busy : irq->looked) + (pause > QUIET ? pause : QUIET);
    uint64_t unhurried = irq->rose + patience(card);
    uint64_t pace = quiet < unhurried ? quiet : unhurried;
    return pace > irq->next ? pace : irq->next;
}

static void rise(struct pk_e1000 *card, uint64_t now)
{
    struct pk_e1000_irq *irq = &card->irq;
    uint32_t interval = cell(card, E_ITR);
    uint64_t due = pace(card);
    if (due || interval || irq->adaptive)
        now = now ? now : pk_now();
    if (now < due) {
        if (due != irq->held) {
            irq->held = due;
            pk_worker_wake(&card->worker); /* it sleeps until the next thing that it knows of */
        }
        return;
    }
    irq->held = 0;
    irq->next = interval ? now + (uint64_t)interval * ITR_UNIT : 0;
    irq->rose = irq->raised = now;
    irq->level = true;
    pk_tally(&card->worker.counts.interrupts, 1);
    drive(card);
}

/* Let the line follow the registers, as far as ITR allows. */
static void follow(struct pk_e1000 *card, uint64_t now)
{
    struct pk_e1000_irq *irq = &card->irq;
    bool wanted = cell(card, E_ICR) & cell(card, E_IMS);
    if (wanted && !irq->level) {
        rise(card, now);
    } else if (!wanted) {
        irq->held = 0;
        if (irq->level) {
            irq->level = false;
            drive(card);
        }
    }
}

/* Record causes, and let the line follow. */
static void record(struct pk_e1000 *card, uint32_t set, uint32_t clear, uint64_t now)
{
    struct pk_net_counts *counts = &card->worker.counts;
    uint64_t before = counts->interrupts;
    set_cell(card, E_ICR, (cell(card, E_ICR) | set) & ~clear);
    follow(card, now);
    pk_tally(&counts->spared, set && counts->interrupts == before);
}

void pk_e1000_cause(struct pk_e1000 *card, uint32_t set, uint32_t clear)
{
    lock(card);
    record(card, set, clear, 0);
    unlock(card);
}

/* The guest touches its causes or its mask. */
static void look(struct pk_e1000_irq *irq)
{
    if (!irq->adaptive)
        return;
    irq->looked = pk_now();
    if (!irq->raised)
        return;
    uint64_t took = irq->looked - irq->raised, answer = answered(irq);
    answer = answer ? answer - answer / 8 + took / 8 : took;
    __atomic_store_n(&irq->answer, answer, __ATOMIC_RELAXED);
    irq->raised = 0;
}

void pk_e1000_mask(struct pk_e1000 *card, uint32_t set, uint32_t clear)
{
    lock(card);
    look(&card->irq);
    set_cell(card, E_IMS, (cell(card, E_IMS) | set) & ~clear);
    follow(card, 0);
    unlock(card);
}

uint32_t pk_e1000_read_icr(struct pk_e1000 *card)
{
    lock(card);
    look(&card->irq);
    uint32_t causes = cell(card, E_ICR);
    set_cell(card, E_ICR, 0);
    follow(card, 0);
    unlock(card);
    return causes;
}

bool pk_e1000_pending(struct pk_e1000 *card)
{
    lock(card);
    bool level = card->irq.level;
    unlock(card);
    return level;
}

void pk_e1000_adapt(struct pk_e1000 *card, bool adaptive)
{
    lock(card);
    card->irq.adaptive = adaptive;
    unlock(card);
}

void pk_e1000_update(struct pk_e1000 *card)
{
    lock(card);
    card->irq.disabled = card->flags & PK_E1000_NO_INTX;
    drive(card);
    unlock(card);
}

void pk_e1000_forget_causes(struct pk_e1000 *card)
{
    lock(card);
    struct pk_e1000_irq *irq = &card->irq;
    irq->rose = irq->raised = 0;
    irq->next = irq->held = irq->rx.at = irq->rx.bound = irq->tx.at = irq->tx.bound = 0;
    follow(card, 0);
    unlock(card);
}

void pk_e1000_delay(struct pk_e1000 *card, struct pk_e1000_timer *timer, uint32_t delay,
                    uint32_t bound)
{
    lock(card);
    uint64_t now = pk_now();
    if (!timer->bound && bound)
        timer->bound = now + (uint64_t)bound * DELAY_UNIT;
    timer->at = now + (uint64_t)delay * DELAY_UNIT;
    if (timer->bound && timer->at > timer->bound)
        timer->at = timer->bound;
    pk_worker_wake(&card->worker);
    unlock(card);
}

static uint32_t expire(struct pk_e1000_timer *timer, uint64_t now)
{
    if (!timer->at || now < timer->at)
        return 0;
    timer->at = timer->bound = 0;
    return timer->cause;
}

void pk_e1000_flush(struct pk_e1000 *card)
{
    lock(card);
    record(card, expire(&card->irq.rx, UINT64_MAX), 0, 0);
    unlock(card);
}

uint64_t pk_e1000_run_timers(struct pk_e1000 *card, uint64_t now)
{
    struct pk_e1000_irq *irq = &card->irq;
    lock(card);
    uint32_t causes = expire(&irq->rx, now) | expire(&irq->tx, now);
    record(card, causes, 0, now);
    uint64_t next = sooner(irq->held, sooner(irq->rx.at, irq->tx.at));
    unlock(card);
    return next;
}
