#include "worker.h"

#include "host.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>

uint64_t pk_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int pk_worker_init(struct pk_worker *worker, const struct pk_work *work, void *card)
{
    worker->work = work;
    worker->card = card;
    worker->duty.look = 1;
    worker->duty.may_nap = 1;
    pthread_mutex_init(&worker->gate, NULL);
    pthread_mutex_init(&worker->lock, NULL);
    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return worker->wake < 0 ? errno : 0;
}

void pk_worker_free(struct pk_worker *worker)
{
    pk_worker_stop(worker);
    pthread_mutex_destroy(&worker->gate);
    pthread_mutex_destroy(&worker->lock);
    if (worker->wake >= 0)
        close(worker->wake);
    worker->wake = -1;
}

void pk_net_counts_read(const struct pk_net_counts *from, struct pk_net_counts *to)
{
    const uint64_t *counter = (const uint64_t *)from;
    uint64_t *copy = (uint64_t *)to;
    for (size_t n = 0; n < sizeof *from / sizeof *copy; n++)
        copy[n] = __atomic_load_n(&counter[n], __ATOMIC_RELAXED);
}

bool pk_worker_runs(const struct pk_worker *worker)
{
    return __atomic_load_n(&worker->running, __ATOMIC_ACQUIRE);
}

/* -- the lock, and doorbells ----------------------------------------------------------------- */

void pk_worker_acquire(struct pk_worker *worker)
{
    pthread_mutex_lock(&worker->gate);
    pthread_mutex_lock(&worker->lock);
    pthread_mutex_unlock(&worker->gate);
}

void pk_worker_release(struct pk_worker *worker)
{
    pthread_mutex_unlock(&worker->lock);
    if (__atomic_load_n(&worker->rung, __ATOMIC_SEQ_CST))
        pk_worker_wake(worker);
}

void pk_worker_wake(struct pk_worker *worker)
{
    /* The flag that there is work was set before; the thread sets this one before it looks for work
     * the last time: one of both sees the other. */
    if (__atomic_load_n(&worker->duty.asleep, __ATOMIC_SEQ_CST))
        pk_signal(worker->wake);
}

void pk_worker_leave(struct pk_worker *worker)
{
    __atomic_store_n(&worker->rung, 1, __ATOMIC_SEQ_CST);
    pk_worker_wake(worker);
}

void pk_worker_ring(struct pk_worker *worker)
{
    uint64_t now = pk_now(), until = now + PK_SERVE_NS;
    enum pk_duty_ring duty = pk_duty_ring(&worker->duty, now);
    __atomic_store_n(&worker->rung, 1, __ATOMIC_SEQ_CST);
    bool served = false;
    while (duty > PK_DUTY_WAKE && __atomic_exchange_n(&worker->rung, 0, __ATOMIC_SEQ_CST)) {
        if (pthread_mutex_trylock(&worker->lock) != 0) {
            __atomic_store_n(&worker->rung, 1, __ATOMIC_SEQ_CST);
            break;
        }
        bool more = worker->work->serve(worker->card);
        pk_tally(&worker->counts.by_vcpu, !served);
        served = true;
        now = pk_now();
        if (more)
            __atomic_store_n(&worker->rung, 1, __ATOMIC_SEQ_CST);
        else
            pk_duty_served(&worker->duty, now, worker->requests);
        pthread_mutex_unlock(&worker->lock);
        if (now >= until)
            break;
    }
    if (duty == PK_DUTY_CALL || __atomic_load_n(&worker->rung, __ATOMIC_SEQ_CST))
        pk_worker_wake(worker);
}

/* -- the thread ------------------------------------------------------------------------------ */

enum { TURNS = 64 }; /* after a nap, before it is judged: frames may come in for ever */

static bool stopping(const struct pk_worker *worker)
{
    return __atomic_load_n(&worker->stop, __ATOMIC_SEQ_CST);
}

/* Whether there was anything to do. */
static bool take_turn(struct pk_worker *worker, uint64_t now)
{
    bool busy = worker->work->turn(worker->card, now);
    pk_tally(&worker->counts.by_thread, busy);
    return busy;
}

/* A nap, then what there is to do. `judge` says whether that is to be repeated. */
static bool nap(struct pk_worker *worker, bool (*judge)(struct pk_duty *, uint64_t, uint64_t))
{
    const struct timespec pause = {0, PK_DUTY_NAP};
    nanosleep(&pause, NULL);
    pk_tally(&worker->counts.naps, 1);
    for (int turns = 0; turns < TURNS && !stopping(worker); turns++)
        if (!take_turn(worker, pk_now()))
            break;
    pk_worker_acquire(worker);
    bool again = judge(&worker->duty, pk_now(), worker->requests);
    pk_worker_release(worker);
    return again && !stopping(worker);
}

static void take_naps(struct pk_worker *worker)
{
    if (nap(worker, pk_duty_tried)) {
        worker->work->quiet(worker->card);
        while (nap(worker, pk_duty_napped))
            ;
    }
    pk_duty_ends(&worker->duty);
}

static void sleep_on(struct pk_worker *worker, uint64_t now)
{
    struct pk_wait wait = {.fd = -1, .kick = -1};
    __atomic_store_n(&worker->duty.asleep, 1, __ATOMIC_SEQ_CST);
    if (worker->work->settle(worker->card, now, &wait) &&
        !__atomic_load_n(&worker->rung, __ATOMIC_SEQ_CST) &&
        !stopping(worker)) {
        struct pollfd watched[3] = {{.fd = worker->wake, .events = POLLIN},
                                    {.fd = wait.kick, .events = POLLIN},
                                    {.fd = wait.fd, .events = POLLIN}};
        uint64_t pause = wait.until > now ? wait.until - now : 0;
        struct timespec most = {(time_t)(pause / 1000000000u), (long)(pause % 1000000000u)};
        pk_tally(&worker->counts.sleeps, 1);
        ppoll(watched, 3, wait.until ? &most : NULL, NULL);
        wait.kicked = watched[1].revents;
        uint64_t drained;
        if (watched[0].revents && pk_read(worker->wake, &drained, sizeof drained) < 0)
            drained = 0;
    }
    __atomic_store_n(&worker->duty.asleep, 0, __ATOMIC_SEQ_CST);
    uint64_t after = pk_now();
    worker->work->awake(worker->card, after, &wait);
    pk_duty_slept(&worker->duty, after - now, after);
    if (pk_duty_naps(&worker->duty))
        take_naps(worker);
}

static void *work(void *opaque)
{
    struct pk_worker *worker = opaque;
    struct pk_duty *duty = &worker->duty;
    int files[PK_WORK_FILES + 1];
    uint32_t count = worker->work->files(worker->card, files);
    files[count++] = worker->wake;
    pk_thread_own_files(files, count);
    prctl(PR_SET_TIMERSLACK, 1); /* ns: a nap is as long as asked for */
    pk_processors_look(&duty->processors, pk_now());
    while (!stopping(worker)) {
        uint64_t now = pk_now();
        pk_duty_looks(duty, now);
        if (take_turn(worker, now))
            pk_duty_busy(duty);
        else if (pk_duty_over(duty, now))
            sleep_on(worker, now);
        if (pk_processors_due(&duty->processors, now))
            pk_processors_look(&duty->processors, now);
    }
    return NULL;
}

int pk_worker_start(struct pk_worker *worker)
{
    if (pk_worker_runs(worker))
        return 0;
    __atomic_store_n(&worker->stop, 0, __ATOMIC_SEQ_CST);
    pk_duty_ends(&worker->duty);
    __atomic_store_n(&worker->running, 1, __ATOMIC_RELEASE);
    int error = pk_thread_start(&worker->thread, worker->work->name, work, worker);
    if (error)
        __atomic_store_n(&worker->running, 0, __ATOMIC_RELEASE);
    return error;
}

void pk_worker_stop(struct pk_worker *worker)
{
    if (!pk_worker_runs(worker))
        return;
    __atomic_store_n(&worker->stop, 1, __ATOMIC_SEQ_CST);
    pk_signal(worker->wake);
    pthread_join(worker->thread, NULL);
    __atomic_store_n(&worker->running, 0, __ATOMIC_RELEASE);
}
