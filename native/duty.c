#include "duty.h"

enum pk_duty_ring pk_duty_ring(struct pk_duty *duty, uint64_t now)
{
    if (duty->always)
        return PK_DUTY_SERVE;
    if (pk_duty_naps(duty))
        return PK_DUTY_LEAVE;
    bool asleep = __atomic_load_n(&duty->asleep, __ATOMIC_SEQ_CST);
    uint64_t looked = __atomic_load_n(&duty->looked, __ATOMIC_RELAXED);
    if (!asleep && (looked >= now || now - looked < PK_DUTY_STALE))
        return PK_DUTY_LEAVE;
    uint64_t before = __atomic_exchange_n(&duty->rang, now, __ATOMIC_RELAXED);
    bool soon = before && now - before < PK_DUTY_SOON;
    return asleep && soon && duty->look && pk_processors_free(&duty->processors, now) ? PK_DUTY_CALL
                                                                                      : PK_DUTY_SERVE;
}

bool pk_duty_naps(const struct pk_duty *duty)
{
    return __atomic_load_n(&duty->napping, __ATOMIC_SEQ_CST);
}

static void begin(struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    duty->since = now;
    duty->before = duty->last_requests = requests;
    duty->row = 0;
}

bool pk_duty_served(struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    if (!duty->may_nap || duty->always || pk_processors_free(&duty->processors, now))
        return false;
    if (!duty->row || now - duty->last > PK_DUTY_SOON)
        begin(duty, now, requests);
    duty->last = now;
    if (++duty->row <= PK_DUTY_ROW || now < duty->retry)
        return false;
    duty->served = (struct pk_duty_pace){requests - duty->before, now - duty->since};
    begin(duty, now, requests);
    __atomic_store_n(&duty->napping, 1, __ATOMIC_SEQ_CST);
    return true;
}

/* Whether more is done in the time: by a quarter, as changing over costs something, too. */
static bool pays(const struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    uint64_t done = requests - duty->before, ns = now - duty->since;
    return (double)done * (double)duty->served.ns > 1.25 * (double)duty->served.requests * (double)ns;
}

bool pk_duty_napped(struct pk_duty *duty, uint64_t now, uint64_t requests)
{
    bool none = requests == duty->last_requests, paid = true;
    duty->last_requests = requests;
    if (!none && ++duty->row < PK_DUTY_NAPS)
        return true;
    if (duty->row) {
        paid = pays(duty, now, requests);
        duty->pause = paid ? 0 : !duty->pause ? PK_DUTY_RETRY : 2 * duty->pause;
        if (duty->pause > PK_DUTY_RETRY_MOST)
            duty->pause = PK_DUTY_RETRY_MOST;
        duty->retry = now + duty->pause;
    }
    begin(duty, now, requests);
    if (!none && paid && !pk_processors_free(&duty->processors, now))
        return true;
    __atomic_store_n(&duty->napping, 0, __ATOMIC_SEQ_CST);
    return false;
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
