#include "doorbell.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define PAGE_SIZE 4096 /* <linux/kvm.h> sizes the ring by it */
#include <linux/kvm.h>

struct pk_doorbells {
    pthread_mutex_t lock;
    int vm;
    struct pk_bus *bus;
    struct kvm_coalesced_mmio_ring *ring;
    uint32_t zones; /* being collected now */
};

struct pk_doorbells *pk_doorbells_new(int vm, struct pk_bus *bus)
{
    struct pk_doorbells *doorbells = calloc(1, sizeof *doorbells);
    if (!doorbells)
        return NULL;
    doorbells->vm = vm;
    doorbells->bus = bus;
    pthread_mutex_init(&doorbells->lock, NULL);
    return doorbells;
}

void pk_doorbells_free(struct pk_doorbells *doorbells)
{
    if (!doorbells)
        return;
    pthread_mutex_destroy(&doorbells->lock);
    free(doorbells);
}

void pk_doorbells_map(struct pk_doorbells *doorbells, void *ring) { doorbells->ring = ring; }

bool pk_doorbells_collect(struct pk_doorbells *doorbells, uint64_t address, uint32_t size, bool on)
{
    struct kvm_coalesced_mmio_zone zone = {.addr = address, .size = size};
    if (!doorbells->ring)
        return false;
    if (on)
        __atomic_fetch_add(&doorbells->zones, 1, __ATOMIC_SEQ_CST);
    bool done = ioctl(doorbells->vm, on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO,
                      &zone) == 0;
    if (!on || !done)
        __atomic_fetch_sub(&doorbells->zones, 1, __ATOMIC_SEQ_CST);
    return done;
}

bool pk_doorbells_drain(struct pk_doorbells *doorbells)
{
    struct kvm_coalesced_mmio_ring *ring = doorbells->ring;
    if (!ring || __atomic_load_n(&ring->first, __ATOMIC_RELAXED) ==
                     __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
        return false;
    pthread_mutex_lock(&doorbells->lock);
    uint32_t first = ring->first;
    bool any = false;
    while (first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) && first < KVM_COALESCED_MMIO_MAX) {
        struct kvm_coalesced_mmio entry = ring->coalesced_mmio[first];
        struct pk_range range;
        uint64_t value = 0;
        memcpy(&value, entry.data, entry.len <= sizeof value ? entry.len : sizeof value);
        /* A window that has moved meanwhile has nobody behind its old address. */
        if (pk_bus_find(doorbells->bus, PK_MMIO, entry.phys_addr, entry.len, &range) && range.answer)
            range.answer(range.opaque, true, entry.phys_addr - range.base, entry.len, &value);
        /* Only now: whoever finds the ring empty may rely on everything having been handed over. */
        first = (first + 1) % KVM_COALESCED_MMIO_MAX;
        __atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
        any = true;
    }
    pthread_mutex_unlock(&doorbells->lock);
    return any;
}

int pk_doorbells_vm(const struct pk_doorbells *doorbells) { return doorbells ? doorbells->vm : -1; }
