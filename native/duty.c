#include "duty.h"

static uint32_t stage(const struct pk_duty *duty)
{
    return __atomic_load_n(&duty->stage, __ATOMIC_SEQ_CST);
}

/* False when somebody else has moved it meanwhile. */
static bool move(struct pk_duty *duty, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&duty->stage, &from, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

enum pk_duty_ring pk_duty_ring(struct pk_duty *duty, uint64_t now)
{
    if (duty->always)
        return PK_DUTY_SERVE;
    switch (stage(duty)) {
    case PK_DUTY_ASK:
        if (move(duty, PK_DUTY_ASK, PK_DUTY_WAIT))
            return PK_DUTY_WAKE;
        break;
    case PK_DUTY_WAIT:
        move(duty, PK_DUTY_WAIT, PK_DUTY_NAPPING);
        return PK_DUTY_LEAVE;
    case PK_DUTY_NAPPING:
        return PK_DUTY_LEAVE;
    }
    bool asleep = __atomic_load_n(&duty->asleep, __ATOMIC_SEQ_CST);
    uint64_t looked = __atomic_load_n(&duty->looked, __ATOMIC_RELAXED);
    if (!asleep && (looked >= now || now - looked < PK_DUTY_STALE))
        return PK_DUTY_LEAVE;
    uint64_t before = __atomic_exchange_n(&duty->rang, now, __ATOMIC_RELAXED);
    bool soon = before && now - before < PK_DUTY_SOON;
    return asleep && soon && duty->look && pk_processors_free(&duty->processors, now) ? PK_DUTY_CALL
                                                                                      : PK_DUTY_SERVE;
}

static void begin(struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    duty->since = now;
    duty->before = duty->last_requests = requests;
    duty->row = duty->empty = 0;
}

void pk_duty_served(struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    if (!duty->may_nap || duty->always || pk_processors_free(&duty->processors, now))
        return;
    if (!duty->row || now - duty->last > PK_DUTY_SOON)
        begin(duty, now, requests);
    duty->last = now;
    if (++duty->row <= PK_DUTY_ROW || now < duty->retry)
        return;
    duty->served = (struct pk_duty_pace){requests - duty->before, now - duty->since};
    begin(duty, now, requests);
    if (duty->served.requests < PK_DUTY_FEW * PK_DUTY_ROW) /* the doorbells are what it costs */
        move(duty, PK_DUTY_NONE, PK_DUTY_ASK);
}

bool pk_duty_naps(const struct pk_duty *duty) { return stage(duty) >= PK_DUTY_WAIT; }

/* Whether it was worth it decides when to try next. */
static void learn(struct pk_duty *duty, uint64_t now, bool paid)
{
    uint64_t pause = duty->pause ? 2 * duty->pause : PK_DUTY_RETRY;
    duty->pause = paid ? 0 : pause < PK_DUTY_RETRY_MOST ? pause : PK_DUTY_RETRY_MOST;
    duty->retry = now + duty->pause;
}

bool pk_duty_tried(struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    /* It may go on without ringing, as virtio's drivers do until they have been served. */
    bool more = 2 * PK_DUTY_ROW * (requests - duty->before) > 3 * duty->served.requests;
    begin(duty, now, requests);
    if (more || !move(duty, PK_DUTY_WAIT, PK_DUTY_NONE))
        return true;
    learn(duty, now, false);
    return false;
}

/* Whether more is done in the time: by a quarter, as changing over costs something, too. */
static bool pays(const struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    uint64_t done = requests - duty->before, ns = now - duty->since;
    return (double)done * (double)duty->served.ns > 1.25 * (double)duty->served.requests * (double)ns;
}

bool pk_duty_napped(struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    duty->empty = requests == duty->last_requests ? duty->empty + 1 : 0;
    duty->last_requests = requests;
    bool over = duty->empty && duty->empty >= duty->patience;
    if (!over && ++duty->row < PK_DUTY_NAPS)
        return true;
    bool paid = over || pays(duty, now, requests); /* whoever stopped did not wait */
    learn(duty, now, paid);
    begin(duty, now, requests);
    if (!over && paid && !pk_processors_free(&duty->processors, now))
        return true;
    pk_duty_ends(duty);
    return false;
}

void pk_duty_ends(struct pk_duty *duty)
{
    __atomic_store_n(&duty->stage, PK_DUTY_NONE, __ATOMIC_SEQ_CST);
}

void pk_duty_looks(struct pk_duty *duty, uint64_t now)
{
    __atomic_store_n(&duty->looked, now, __ATOMIC_RELAXED);
}

void pk_duty_busy(struct pk_duty *duty) { duty->idle = 0; }

bool pk_duty_free(const struct pk_duty *duty, uint64_t now)
{
    return !duty->always && pk_processors_free(&duty->processors, now);
}

void pk_duty_rest(struct pk_duty *duty) { duty->rest = 1; }

bool pk_duty_over(struct pk_duty *duty, uint64_t now)
{
    bool rest = duty->rest;
    duty->rest = 0;
    if (rest || !duty->look || !pk_processors_free(&duty->processors, now))
        return true;
    if (!duty->idle)
        duty->idle = now;
    return now - duty->idle >= (duty->limit ? duty->limit : PK_DUTY_LEAST);
}

void pk_duty_slept(struct pk_duty *duty, uint64_t ns, uint64_t now)
{
    uint64_t limit = duty->limit ? duty->limit : PK_DUTY_LEAST;
    duty->limit = ns >= PK_DUTY_MOST ? PK_DUTY_LEAST : 2 * limit < PK_DUTY_MOST ? 2 * limit : PK_DUTY_MOST;
    duty->idle = 0;
    pk_duty_looks(duty, now);
}

uint64_t pk_supply_nap(struct pk_supply *supply, uint64_t now, uint64_t back, uint64_t size,
                       uint64_t patience)
{
    uint64_t nap = supply->nap ? supply->nap : PK_SUPPLY_NAP;
    if (4 * back < size)
        nap = 2 * nap < PK_SUPPLY_MOST ? 2 * nap : PK_SUPPLY_MOST;
    else if (4 * back > 3 * size)
        nap = nap / 2 > PK_SUPPLY_NAP ? nap / 2 : PK_SUPPLY_NAP;
    if (back)
        supply->since = now;
    if (!supply->since || now - supply->since >= patience) {
        supply->since = supply->nap = 0;
        return 0;
    }
    supply->nap = nap;
    return now + nap;
}
