#include "vcpu.h"

#include "processors.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* SIGRTMIN belongs to nobody; glibc keeps the two below it for itself. */
#define KICK_SIGNAL SIGRTMIN

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void kicked(int signal)
{
    (void)signal; /* being delivered is all it is for: KVM_RUN returns EINTR */
}

int pk_ioctl(int fd, unsigned long request, unsigned long argument)
{
    int result = ioctl(fd, request, argument);
    return result < 0 ? -errno : result;
}

int pk_kick_install(void)
{
    struct sigaction action = {.sa_handler = kicked}; /* no SA_RESTART */
    sigemptyset(&action.sa_mask);
    return sigaction(KICK_SIGNAL, &action, NULL) == 0 ? 0 : errno;
}

void pk_vcpu_kick(struct pk_vcpu *vcpu)
{
    __atomic_store_n(&vcpu->kicked, 1, __ATOMIC_SEQ_CST);
    /* The flag first: a vCPU on its way into KVM_RUN sees it, one inside is woken by the signal. */
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    int tid = __atomic_load_n(&vcpu->tid, __ATOMIC_SEQ_CST);
    if (tid)
        syscall(SYS_tgkill, getpid(), tid, KICK_SIGNAL);
}

void pk_vcpu_attach(struct pk_vcpu *vcpu, bool attached)
{
    int tid = (int)syscall(SYS_gettid);
    __atomic_store_n(&vcpu->tid, attached ? tid : 0, __ATOMIC_SEQ_CST);
    pk_processors_vcpu(tid, attached);
}

void pk_vcpu_unkick(struct pk_vcpu *vcpu)
{
    __atomic_store_n(&vcpu->kicked, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

static void store(void *to, uint64_t value, uint32_t size)
{
    memcpy(to, &value, size); /* x86: little endian on both sides */
}

static uint64_t load(const void *from, uint32_t size)
{
    uint64_t value = 0;
    memcpy(&value, from, size);
    return value;
}

/* One exit that touches a device, in the terms that PIO and MMIO share. */
struct touch {
    uint32_t space;
    uint32_t size;
    uint32_t count;
    bool write;
    uint64_t address;
    uint8_t *data;
};

static bool touched(struct kvm_run *run, struct touch *touch)
{
    if (run->exit_reason == KVM_EXIT_IO) {
        *touch = (struct touch){.space = PK_PIO,
                                .size = run->io.size,
                                .count = run->io.count,
                                .write = run->io.direction == KVM_EXIT_IO_OUT,
                                .address = run->io.port,
                                .data = (uint8_t *)run + run->io.data_offset};
        return true;
    }
    if (run->exit_reason == KVM_EXIT_MMIO) {
        *touch = (struct touch){.space = PK_MMIO,
                                .size = run->mmio.len,
                                .count = 1,
                                .write = run->mmio.is_write,
                                .address = run->mmio.phys_addr,
                                .data = run->mmio.data};
        return true;
    }
    return false;
}

static struct pk_recent *remember(struct pk_vcpu *vcpu, const struct touch *touch)
{
    struct pk_recent *recent = &vcpu->recent[vcpu->exits++ % PK_RECENT];
    uint32_t reason = vcpu->run->exit_reason;
    vcpu->reasons[reason < PK_REASONS ? reason : PK_REASONS - 1]++;
    if (touch) {
        *recent = (struct pk_recent){.address = touch->address,
                                     .value = touch->write ? load(touch->data, touch->size) : 0,
                                     .reason = reason,
                                     .count = touch->count,
                                     .size = touch->size,
                                     .write = touch->write};
    } else {
        *recent = (struct pk_recent){.reason = reason};
    }
    return recent;
}

static bool whole(uint32_t size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

/* The exit before is answered, by C: now it is known how long that took. */
static void count_answered(struct pk_vcpu *vcpu, uint64_t inside_ns)
{
    vcpu->counts->inside_ns += inside_ns;
    pk_access_count(vcpu->counted, vcpu->entered_ns - vcpu->exited_ns);
    vcpu->counted = NULL;
}

static int enter(struct pk_vcpu *vcpu)
{
    if (vcpu->timed) {
        uint64_t inside_ns = vcpu->exited_ns - vcpu->entered_ns;
        vcpu->entered_ns = now_ns();
        if (vcpu->counted)
            count_answered(vcpu, inside_ns);
        if (vcpu->exited_ns)
            vcpu->outside_ns += vcpu->entered_ns - vcpu->exited_ns;
    }
    int failed = ioctl(vcpu->fd, KVM_RUN, 0);
    vcpu->runs++;
    if (vcpu->timed)
        vcpu->exited_ns = now_ns();
    if (!failed)
        return 0;
    vcpu->error = errno;
    return errno == EINTR || errno == EAGAIN ? PK_INTERRUPTED : PK_FAILED;
}

static void finish_read(struct pk_vcpu *vcpu, uint64_t reply)
{
    if (!vcpu->reply_at)
        return;
    store(vcpu->reply_at, reply, vcpu->reply_size);
    vcpu->recent[(vcpu->exits - 1) % PK_RECENT].value = reply;
    vcpu->reply_at = NULL;
}

int pk_vcpu_run(struct pk_vcpu *vcpu, uint64_t reply)
{
    finish_read(vcpu, reply);
    for (;;) {
        int stopped = enter(vcpu);
        if (vcpu->doorbells)
            pk_doorbells_drain(vcpu->doorbells);
        if (stopped)
            return stopped;
        struct touch touch;
        if (!touched(vcpu->run, &touch)) {
            remember(vcpu, NULL);
            return PK_OTHER;
        }
        struct pk_recent *recent = remember(vcpu, &touch);
        struct pk_range range;
        if (touch.count != 1 || !whole(touch.size) ||
            !pk_bus_find(vcpu->bus, touch.space, touch.address, touch.size, &range) ||
            touch.size > range.width)
            return PK_OTHER;
        uint64_t offset = touch.address - range.base;
        uint64_t value = recent->value;
        if (range.answer && !vcpu->observe &&
            range.answer(range.opaque, touch.write, offset, touch.size, &value)) {
            if (!touch.write) {
                store(touch.data, value, touch.size);
                recent->value = value;
            }
            vcpu->native++;
            if (vcpu->counts)
                vcpu->counted = pk_access_row(vcpu->counts, range.id, vcpu->run->exit_reason, offset, touch.write);
            continue;
        }
        vcpu->access = (struct pk_access){
            .offset = offset, .value = value, .size = touch.size, .write = touch.write};
        if (!touch.write) {
            vcpu->reply_at = touch.data;
            vcpu->reply_size = touch.size;
        }
        return range.id;
    }
}

int pk_vcpu_complete(struct pk_vcpu *vcpu, uint64_t reply)
{
    finish_read(vcpu, reply);
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    int failed = ioctl(vcpu->fd, KVM_RUN, 0);
    int error = errno;
    vcpu->runs++;
    __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    /* A kick before this line is seen here, one after it sets the flag itself: none is lost. */
    if (__atomic_load_n(&vcpu->kicked, __ATOMIC_SEQ_CST))
        __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (!failed)
        return PK_OTHER;
    vcpu->error = error;
    return error == EINTR ? PK_INTERRUPTED : PK_FAILED;
}

int pk_vcpu_floor(struct pk_vcpu *vcpu, uint64_t reply, uint16_t port, uint64_t page)
{
    finish_read(vcpu, reply);
    struct kvm_run *run = vcpu->run;
    for (;;) {
        int stopped = enter(vcpu);
        if (stopped)
            return stopped;
        vcpu->exits++;
        if (run->exit_reason == KVM_EXIT_IO && run->io.port == port)
            continue;
        if (run->exit_reason == KVM_EXIT_MMIO && (run->mmio.phys_addr & ~UINT64_C(0xfff)) == page)
            continue;
        return PK_OTHER;
    }
}
