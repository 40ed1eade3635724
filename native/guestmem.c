#include "guestmem.h"

#include <string.h>

uint8_t *pk_guest_ptr(const struct pk_memory *memory, uint64_t address, uint64_t length, bool write)
{
    for (uint32_t i = 0; i < memory->count; i++) {
        const struct pk_slot *slot = &memory->slots[i];
        /* Subtractions only: none of these can wrap, whatever the guest chose. */
        uint64_t offset = address - slot->base;
        if (address < slot->base || offset >= slot->size || length > slot->size - offset)
            continue;
        if (write && !slot->writable)
            return NULL;
        return slot->host + offset;
    }
    return NULL;
}

bool pk_guest_read(const struct pk_memory *memory, uint64_t address, void *to, uint64_t length)
{
    const uint8_t *from = pk_guest_ptr(memory, address, length, false);
    if (!from)
        return false;
    memcpy(to, from, length);
    return true;
}

bool pk_guest_write(const struct pk_memory *memory, uint64_t address, const void *from,
                    uint64_t length)
{
    uint8_t *to = pk_guest_ptr(memory, address, length, true);
    if (!to)
        return false;
    memcpy(to, from, length);
    return true;
}
