#include "senders.h"

#include "clock.h"
#include "cpu.h"
#include "interrupts.h"
#include "lapic.h"
#include "ring3.h"
#include "smp.h"

enum { PATIENCE_MS = 3000, OFTEN = 16, GO = 0x40 };

static struct sender {
    struct netdev *dev, own;
    u64 frames, start, end;
    volatile bool ready, done;
} senders[CPUS];
static struct sending *all;
static volatile u32 go;

// The processors' numbers take turns.
static u64 send(u64 cpu)
{
    struct sender *s = &senders[cpu];
    while (!go)
        ring3_wait(&go, 0);
    s->start = rdtsc();
    u64 until = s->start + all->seconds * clock_tsc_khz() * 1000, n = 0;
    netdev_start(s->dev);
    for (; all->count ? n * all->cpus + cpu < all->count : n % OFTEN || !deadline_passed(until); n++) {
        netdev_service(s->dev);
        u8 *buffer = netdev_buffer(s->dev);
        if (!buffer)
            break;
        all->queue(s->dev, buffer, n * all->cpus + cpu);
    }
    if (!netdev_drain(s->dev))
        all->failed = true;
    s->frames = n;
    s->end = rdtsc();
    s->done = true;
    return 0;
}

static bool take_pair(unsigned cpu)
{
    struct sender *s = &senders[cpu];
    s->dev = &s->own;
    return s->ready = all->dev->driver->pair(&s->own, all->dev, cpu);
}

static void other(unsigned cpu)
{
    if (!take_pair(cpu))
        return;
    irq_enable();
    ring3_call_on(send, cpu, cpu);
    irq_disable();
}

static void on_go(struct frame *frame)
{
    (void)frame;
    lapic_eoi();
}

bool senders_share(struct sending *s)
{
    all = s;
    interrupt_set(GO, on_go);
    if (!s->dev->driver->pair || !take_pair(0) || smp_start(s->cpus, other) < s->cpus)
        return false;
    u64 deadline = deadline_ms(PATIENCE_MS);
    unsigned ready = 1;
    while (ready < s->cpus && !deadline_passed(deadline))
        ready += senders[ready].ready;
    return ready == s->cpus;
}

void senders_go(struct sending *s)
{
    all = s;
    if (s->cpus == 1)
        senders[0].dev = s->dev;
    go = 1;
    for (unsigned cpu = 1; cpu < s->cpus; cpu++)
        lapic_send(smp_apic(cpu), GO);
}

u64 senders_run(u64 sending)
{
    struct sending *s = (struct sending *)sending;
    send(0);
    u64 start = senders[0].start, end = senders[0].end;
    for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
        const struct sender *one = &senders[cpu];
        while (!one->done)
            cpu_pause();
        s->frames += one->frames;
        start = one->start < start ? one->start : start;
        end = one->end > end ? one->end : end;
        if (one->dev != s->dev) {
            s->dev->moved[cpu] = one->own.moved[cpu];
            s->dev->polls += one->own.polls;
        }
    }
    s->cycles = end - start;
    return s->frames;
}
