// The packed ring's memory (VIRTIO 1.2, 2.8).
#pragma once
#include "types.h"

enum { PACKED_AVAIL = 1 << 7, PACKED_USED = 1 << 15 };
enum { EVENTS_ENABLE = 0, EVENTS_DISABLE = 1, EVENTS_DESC = 2 };

struct packed_descriptor {
    u64 address;
    u32 length;
    u16 id, flags;
};

// Event suppression: one structure for each direction (2.8.14).
struct packed_event {
    u16 position; // 14:0 where in the ring, 15 the wrap counter there
    u16 flags;    // EVENTS_*
};
