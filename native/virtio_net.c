/* A pair of queues at work: transmitting, and who does it when. The worker's lock is held for every access to
 * the rings. */
#include "virtio_net_work.h"

#include "vnet_header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- transmitting ---------------------------------------------------------------------------- */

/* A frame of more pieces than one call takes, in one piece. */
static uint32_t join(struct pk_vnet_work *work, struct pk_piece *pieces, uint32_t count)
{
    uint64_t length = 0;
    for (uint32_t n = 0; n < count; n++) {
        memcpy(work->joined + length, pieces[n].data, pieces[n].length);
        length += pieces[n].length;
    }
    pieces[0] = (struct pk_piece){work->joined, length};
    return 1;
}

/* Write a frame behind its header, whose place in `out` is in front of what is left of the request. */
static bool write_frame(struct pk_vnet *net, const struct pk_chain *chain)
{
    struct pk_vnet_work *work = net->work;
    struct pk_vnet_header header;
    uint32_t empty = pk_vnet_header_take(work->out + 1, net->header, &header);
    struct pk_piece *pieces = work->out + empty;
    uint32_t count = chain->out_count - empty;
    if (!pk_vnet_header_admit(&header, (uint32_t)chain->out_bytes - net->header, net->requests))
        return false;
    if (net->fd < 0)
        return true;
    if (count >= PK_VQ_MAX_PIECES)
        count = join(work, pieces + 1, count);
    pieces[0] = (struct pk_piece){(uint8_t *)&header, net->header};
    return pk_writev(net->fd, vnet_iovec(pieces), count + 1) >= 0;
}

/* The wire loses frames: one whose header makes no sense, or that the kernel refuses (a TAP that is
 * down), is gone. */
static void send(struct pk_vnet *net, const struct pk_chain *chain)
{
    if (chain->out_bytes < net->header + (uint64_t)VNET_ETHERNET ||
        chain->out_bytes > net->header + (uint64_t)PK_VNET_FRAME || !net->link ||
        !write_frame(net, chain))
        net->dropped++;
    else
        net->sent++;
}

/* Whether there was anything to send. */
static bool transmit(struct pk_vnet *net)
{
    struct pk_vnet_work *work = net->work;
    struct pk_chain chain;
    uint32_t done = 0;
    while (done < VNET_TURN && pk_vq_pop(&net->tx, &chain, work->out + 1) > 0) {
        send(net, &chain);
        pk_vq_push(&net->tx, &chain, 0);
        done++;
    }
    if (done) {
        vnet_publish(&net->tx, &net->tx_call);
        uint64_t kicks = __atomic_load_n(&net->kicks, __ATOMIC_RELAXED);
        pk_tally(&work->worker.counts.batches, 1);
        pk_tally(&work->worker.counts.unrung, kicks == work->kicks);
        work->kicks = kicks;
    }
    work->worker.requests += done;
    return done;
}

/* -- a turn ---------------------------------------------------------------------------------- */

static bool listening(const struct pk_vnet *net, uint64_t now)
{
    return net->rx_on && net->fd >= 0 && now >= net->work->retry;
}

static bool work_once(struct pk_vnet *net, uint64_t now)
{
    bool busy = net->tx_on && transmit(net);
    if (listening(net, now))
        busy |= pk_vnet_receive(net);
    return busy;
}

/* Whether no frame can be read before there are more receive buffers. */
static bool starved(const struct pk_vnet *net) { return !net->work->ahead || net->work->held; }

/* Kicks are wanted from now on; true when something came meanwhile. Receive buffers are asked for only
 * where they are missing. */
static bool enable_kicks(struct pk_vnet *net)
{
    bool more = net->tx_on && pk_vq_enable_kicks(&net->tx);
    if (net->rx_on && net->fd >= 0 && starved(net) && !net->work->quiet)
        more |= pk_vq_enable_kicks(&net->rx);
    return more;
}

static void disable_kicks(struct pk_vnet *net)
{
    if (net->tx_on)
        pk_vq_disable_kicks(&net->tx);
    if (net->rx_on)
        pk_vq_disable_kicks(&net->rx);
}

static bool broken(const struct pk_vnet *net)
{
    return (net->rx_on && net->rx.error) || (net->tx_on && net->tx.error);
}

/* Nobody works a broken ring; Python is told, which stops the rest. */
static bool stuck(struct pk_vnet *net)
{
    if (!broken(net))
        return false;
    pk_signal(net->notice);
    return true;
}

/* -- the thread, and vCPUs that kick (worker.h) ---------------------------------------------- */

static void hold(struct pk_vnet *net) { pk_worker_acquire(&net->work->worker); }
static void let_go(struct pk_vnet *net) { pk_worker_release(&net->work->worker); }

/* Whether kicks are the thread's, and then signals without an exit. */
static bool by_thread(const struct pk_vnet *net, uint64_t now)
{
    return !net->kick_at || pk_duty_free(&net->work->worker.duty, now);
}

/* Whether KVM is to turn kicks into signals while the thread sleeps. Taking that back takes KVM milliseconds,
 * in which nobody hears of them. */
static bool to_be_caught(const struct pk_vnet *net, uint64_t now)
{
    const struct pk_duty *duty = &net->work->worker.duty;
    return !net->kick_at || (!duty->always && pk_processors_proven(&duty->processors, now)) ||
           (net->work->caught && pk_duty_free(duty, now));
}

static bool turn(void *opaque, uint64_t now)
{
    struct pk_vnet *net = opaque;
    hold(net);
    pk_worker_rung(&net->work->worker);
    bool busy = !broken(net) && work_once(net, now);
    let_go(net);
    return busy;
}

static bool serve(void *opaque)
{
    struct pk_vnet *net = opaque;
    if (!net->work->started || stuck(net))
        return false;
    bool busy = net->tx_on && transmit(net);
    if (!net->work->quiet && starved(net) && listening(net, pk_now())) {
        busy |= pk_vnet_receive(net);
        if (!starved(net)) /* the thread listens to the TAP from now on */
            pk_worker_wake(&net->work->worker);
    }
    if (stuck(net))
        return false;
    return busy || enable_kicks(net);
}

static bool settle(void *opaque, uint64_t now, struct pk_wait *wait)
{
    struct pk_vnet *net = opaque;
    struct pk_vnet_work *work = net->work;
    if (to_be_caught(net, now) != work->caught) {
        work->caught = !work->caught;
        pk_kicks_switch(net->kick_at, work->caught);
    }
    hold(net);
    uint64_t nap = 0, frames = net->received - work->received;
    work->received = net->received;
    if (net->rx_on && net->fd >= 0 && starved(net))
        nap = pk_supply_nap(&work->supply, now, frames, net->rx.size, VNET_PATIENCE);
    work->quiet = nap;
    bool more = !stuck(net) && enable_kicks(net);
    bool listen = listening(net, now) && !starved(net) && !broken(net);
    wait->until = nap ? nap : work->retry > now ? work->retry : 0;
    let_go(net);
    wait->fd = listen ? net->fd : -1;
    wait->kick = net->kick;
    net->sleeps += !more;
    return !more;
}

static void quiet(void *opaque)
{
    struct pk_vnet *net = opaque;
    hold(net);
    if (!broken(net))
        disable_kicks(net);
    let_go(net);
}

/* Kicks that KVM turned into signals. */
static void count_signals(struct pk_vnet *net)
{
    uint64_t kicks;
    if (pk_read(net->kick, &kicks, sizeof kicks) == sizeof kicks)
        __atomic_fetch_add(&net->kicks, kicks, __ATOMIC_RELAXED);
}

static void awake(void *opaque, uint64_t now, const struct pk_wait *wait)
{
    struct pk_vnet *net = opaque;
    if (wait->kicked)
        count_signals(net);
    if (by_thread(net, now))
        quiet(net);
}

static uint32_t files(const void *opaque, int *files)
{
    const struct pk_vnet *net = opaque;
    const int all[] = {net->fd, net->kick, net->notice, net->rx_call.fd, net->tx_call.fd,
                       net->rx_call.isr ? pk_isr_vm(net->rx_call.isr) : -1, pk_kicks_vm(net->kick_at)};
    memcpy(files, all, sizeof all);
    return sizeof all / sizeof *all;
}

static const struct pk_work net_work = {
    .name = "virtio-net", .turn = turn, .serve = serve, .settle = settle, .quiet = quiet,
    .awake = awake, .files = files};

bool pk_vnet_kick(struct pk_vnet *net)
{
    struct pk_worker *worker = &net->work->worker;
    if (!pk_worker_runs(worker))
        return false;
    __atomic_fetch_add(&net->kicks, 1, __ATOMIC_RELAXED);
    pk_worker_ring(worker);
    return true;
}

/* -- life ------------------------------------------------------------------------------------ */

/* What was popped goes back, last first. */
static void leave(struct pk_vnet *net)
{
    struct pk_vnet_work *work = net->work;
    while (work->ahead)
        pk_vq_unpop(&net->rx, &work->chains[--work->ahead]);
    work->pieces_used = 0;
    work->room = 0;
    if (net->rx_on)
        vnet_publish(&net->rx, &net->rx_call);
    if (!broken(net))
        enable_kicks(net);
}

static int prepare_work(struct pk_vnet *net)
{
    if (!net->work) {
        net->work = calloc(1, sizeof *net->work);
        if (!net->work)
            return ENOMEM;
        int error = pk_worker_init(&net->work->worker, &net_work, net);
        if (error)
            return error;
    }
    if (net->work->header != net->header) { /* another driver's frame */
        net->work->header = net->header;
        net->work->held = 0;
    }
    return 0;
}

int pk_vnet_start(struct pk_vnet *net)
{
    int error = prepare_work(net);
    if (error)
        return error;
    net->work->worker.duty.look = net->poll;
    net->work->worker.duty.always = net->by_vcpu;
    net->work->caught = !net->kick_at; /* they exit until there is a processor for the thread */
    if (net->kick_at)
        pk_kicks_switch(net->kick_at, false);
    net->work->quiet = false;
    net->work->started = true;
    return pk_worker_start(&net->work->worker);
}

void pk_vnet_stop(struct pk_vnet *net)
{
    if (!net->work)
        return;
    if (pk_worker_runs(&net->work->worker)) {
        pk_worker_stop(&net->work->worker);
        count_signals(net);
    }
    hold(net); /* until the last vCPU has done its work */
    net->work->started = false;
    let_go(net);
    leave(net);
}

void pk_vnet_counts(struct pk_vnet *net, struct pk_net_counts *counts)
{
    *counts = (struct pk_net_counts){0};
    if (!net->work)
        return;
    pk_net_counts_read(&net->work->worker.counts, counts);
    hold(net);
    counts->kicks = __atomic_load_n(&net->kicks, __ATOMIC_RELAXED);
    counts->interrupts = net->rx_call.count + net->tx_call.count;
    counts->spared = net->rx_call.spared + net->tx_call.spared;
    counts->sent = net->sent;
    counts->received = net->received;
    let_go(net);
}

void pk_vnet_free(struct pk_vnet *net)
{
    if (net->work)
        pk_worker_free(&net->work->worker);
    free(net->work);
    net->work = NULL;
}

void pk_vnet_run(struct pk_vnet *net)
{
    if (prepare_work(net) != 0)
        return;
    while (!broken(net) && work_once(net, pk_now()))
        ;
    stuck(net);
}
