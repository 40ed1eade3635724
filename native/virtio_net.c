#include "virtio_net_work.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

/* -- transmitting ---------------------------------------------------------------------------- */

/* The wire loses frames: what the kernel refuses (a header that makes no sense, a TAP that is down) is
 * gone. */
static void send(struct pk_vnet *net, const struct pk_chain *chain, const struct pk_piece *pieces)
{
    if (chain->out_bytes < net->header + (uint64_t)VNET_ETHERNET ||
        chain->out_bytes > net->header + (uint64_t)PK_VNET_FRAME || !net->link) {
        net->dropped++;
        return;
    }
    if (net->fd >= 0 && pk_writev(net->fd, vnet_iovec(pieces), chain->out_count) < 0)
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
    while (done < VNET_TURN && pk_vq_pop(&net->tx, &chain, work->out) > 0) {
        send(net, &chain, work->out);
        pk_vq_push(&net->tx, &chain, 0);
        done++;
    }
    if (done)
        vnet_publish(&net->tx, &net->tx_call);
    return done;
}

/* -- the thread ------------------------------------------------------------------------------ */

static bool stopping(const struct pk_vnet *net)
{
    return __atomic_load_n(&net->work->stop, __ATOMIC_ACQUIRE);
}

static bool listening(const struct pk_vnet *net, uint64_t now)
{
    return net->rx_on && net->fd >= 0 && now >= net->work->retry;
}

static bool turn(struct pk_vnet *net, uint64_t now)
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
    if (net->rx_on && net->fd >= 0 && starved(net))
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

/* Until there is a kick, a frame, or `most` ns are over (0: no limit). */
static void wait(struct pk_vnet *net, uint64_t now, uint64_t most)
{
    struct pollfd watched[2] = {{.fd = net->kick, .events = POLLIN}, {.fd = net->fd, .events = POLLIN}};
    bool listen = listening(net, now) && !starved(net);
    struct timespec pause = {(time_t)(most / 1000000000), (long)(most % 1000000000)};
    ppoll(watched, listen ? 2 : 1, most ? &pause : NULL, NULL);
    uint64_t kicks;
    if (watched[0].revents && pk_read(net->kick, &kicks, sizeof kicks) == sizeof kicks)
        net->kicks += kicks;
}

static void sleep_on(struct pk_vnet *net, uint64_t now)
{
    if (!enable_kicks(net) && !stopping(net)) {
        net->sleeps++;
        wait(net, now, net->work->retry > now ? VNET_RETRY_NS : 0);
    }
    disable_kicks(net);
}

static bool broken(const struct pk_vnet *net)
{
    return (net->rx_on && net->rx.error) || (net->tx_on && net->tx.error);
}

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

static void *work(void *opaque)
{
    struct pk_vnet *net = opaque;
    struct pk_spin *spin = &net->work->spin;
    const int files[] = {net->fd, net->kick, net->notice, net->rx_call.fd, net->tx_call.fd,
                         net->rx_call.isr ? pk_isr_vm(net->rx_call.isr) : -1};
    pk_thread_own_files(files, sizeof files / sizeof *files);
    bool moving = false; /* something did, since the last nap */
    disable_kicks(net);
    while (!stopping(net) && !broken(net)) {
        uint64_t now = vnet_now();
        if (turn(net, now)) {
            pk_spin_busy(spin);
            moving = true;
        } else if (net->poll && moving && pk_rivals(&net->work->rivals, now)) {
            /* A kick for the next frame would cost the guest more than a look a little later us. */
            wait(net, now, VNET_NAP);
            moving = false;
        } else if (!net->poll || pk_rivals(&net->work->rivals, now) || pk_spin_over(spin, now)) {
            sleep_on(net, now);
            pk_spin_slept(spin, vnet_now() - now);
        }
    }
    if (broken(net))
        pk_signal(net->notice);
    return NULL;
}

static bool prepare_work(struct pk_vnet *net)
{
    if (!net->work)
        net->work = calloc(1, sizeof *net->work);
    if (net->work && net->work->header != net->header) { /* another driver's frame */
        net->work->header = net->header;
        net->work->held = 0;
    }
    return net->work;
}

int pk_vnet_start(struct pk_vnet *net)
{
    if (!prepare_work(net))
        return ENOMEM;
    net->work->stop = 0;
    int error = pk_thread_start(&net->work->thread, "virtio-net", work, net);
    net->work->started = !error;
    return error;
}

void pk_vnet_stop(struct pk_vnet *net)
{
    if (!net->work)
        return;
    if (net->work->started) {
        __atomic_store_n(&net->work->stop, 1, __ATOMIC_RELEASE);
        pk_signal(net->kick);
        pthread_join(net->work->thread, NULL);
        net->work->started = 0;
    }
    leave(net);
}

void pk_vnet_free(struct pk_vnet *net)
{
    free(net->work);
    net->work = NULL;
}

void pk_vnet_run(struct pk_vnet *net)
{
    if (!prepare_work(net))
        return;
    while (!broken(net) && turn(net, vnet_now()))
        ;
    if (broken(net))
        pk_signal(net->notice);
}
