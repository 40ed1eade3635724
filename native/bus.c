#include "bus.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct pk_bus {
    pthread_rwlock_t lock;
    uint32_t count[PK_SPACES];
    struct pk_range ranges[PK_SPACES][PK_MAX_RANGES];
};

struct pk_bus *pk_bus_new(void)
{
    struct pk_bus *bus = calloc(1, sizeof *bus);
    if (bus && pthread_rwlock_init(&bus->lock, NULL) != 0) {
        free(bus);
        bus = NULL;
    }
    return bus;
}

void pk_bus_free(struct pk_bus *bus)
{
    if (!bus)
        return;
    pthread_rwlock_destroy(&bus->lock);
    free(bus);
}

bool pk_bus_set(struct pk_bus *bus, uint32_t space, const struct pk_range *ranges, uint32_t count)
{
    if (space >= PK_SPACES || count > PK_MAX_RANGES)
        return false;
    pthread_rwlock_wrlock(&bus->lock);
    memcpy(bus->ranges[space], ranges, count * sizeof *ranges);
    bus->count[space] = count;
    pthread_rwlock_unlock(&bus->lock);
    return true;
}

bool pk_bus_find(struct pk_bus *bus, uint32_t space, uint64_t address, uint32_t size,
                 struct pk_range *found)
{
    bool hit = false;
    pthread_rwlock_rdlock(&bus->lock);
    const struct pk_range *ranges = bus->ranges[space];
    uint32_t low = 0, high = bus->count[space];
    while (low < high) { /* the first range whose last byte is not below the address */
        uint32_t middle = low + (high - low) / 2;
        if (ranges[middle].last < address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < bus->count[space] && ranges[low].base <= address &&
        size - 1 <= ranges[low].last - address) {
        *found = ranges[low];
        hit = true;
    }
    pthread_rwlock_unlock(&bus->lock);
    return hit;
}

bool pk_latch_answer(void *opaque, bool write, uint64_t offset, uint32_t size, uint64_t *value)
{
    struct pk_latch *latch = opaque;
    if (size > sizeof *value || offset >= latch->size || size > latch->size - offset)
        return false;
    /* Bytewise and relaxed: two vCPUs may race for a latch as they may on a real bus. */
    if (write) {
        for (uint32_t i = 0; i < size; i++)
            __atomic_store_n(&latch->cells[offset + i], (uint8_t)(*value >> (8 * i)),
                             __ATOMIC_RELAXED);
        return true;
    }
    *value = 0;
    for (uint32_t i = 0; i < size; i++)
        *value |= (uint64_t)__atomic_load_n(&latch->cells[offset + i], __ATOMIC_RELAXED)
                  << (8 * i);
    return true;
}
