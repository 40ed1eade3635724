#include "kicks.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define PAGE_SIZE 4096 /* <linux/kvm.h> sizes a ring by it */
#include <linux/kvm.h>

enum { WIDTH = 2 }; /* a queue's number has 16 bits */

struct pk_kicks {
    pthread_mutex_t lock;
    int vm, fd;
    bool on;
    uint32_t count;
    struct kvm_ioeventfd at[PK_KICKS_MOST];
};

struct pk_kicks *pk_kicks_new(int vm, int fd)
{
    struct pk_kicks *kicks = calloc(1, sizeof *kicks);
    if (!kicks)
        return NULL;
    kicks->vm = vm;
    kicks->fd = fd;
    kicks->on = true;
    pthread_mutex_init(&kicks->lock, NULL);
    return kicks;
}

static int set(const struct pk_kicks *kicks, const struct kvm_ioeventfd *at, bool on)
{
    struct kvm_ioeventfd event = *at;
    if (!on)
        event.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    return ioctl(kicks->vm, KVM_IOEVENTFD, &event) == 0 ? 0 : errno;
}

int pk_kicks_add(struct pk_kicks *kicks, uint64_t address, bool port, bool match, uint64_t value)
{
    struct kvm_ioeventfd event = {.addr = address, .len = WIDTH, .fd = kicks->fd, .datamatch = value};
    event.flags = (port ? KVM_IOEVENTFD_FLAG_PIO : 0) | (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0);
    pthread_mutex_lock(&kicks->lock);
    int error = kicks->count == PK_KICKS_MOST ? ENOSPC : kicks->on ? set(kicks, &event, true) : 0;
    if (!error)
        kicks->at[kicks->count++] = event;
    pthread_mutex_unlock(&kicks->lock);
    return error;
}

void pk_kicks_switch(struct pk_kicks *kicks, bool on)
{
    pthread_mutex_lock(&kicks->lock);
    for (uint32_t n = 0; n < kicks->count && kicks->on != on; n++)
        set(kicks, &kicks->at[n], on);
    kicks->on = on;
    pthread_mutex_unlock(&kicks->lock);
}

void pk_kicks_clear(struct pk_kicks *kicks)
{
    pthread_mutex_lock(&kicks->lock);
    for (uint32_t n = 0; n < kicks->count && kicks->on; n++)
        set(kicks, &kicks->at[n], false);
    kicks->count = 0;
    pthread_mutex_unlock(&kicks->lock);
}

void pk_kicks_free(struct pk_kicks *kicks)
{
    if (!kicks)
        return;
    pthread_mutex_destroy(&kicks->lock);
    free(kicks);
}

int pk_kicks_vm(const struct pk_kicks *kicks) { return kicks ? kicks->vm : -1; }
