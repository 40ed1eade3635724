// The split ring's memory (VIRTIO 1.2, 2.7).
#pragma once
#include "types.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

struct descriptor {
    u64 address;
    u32 length;
    u16 flags, next;
};

struct avail_ring {
    u16 flags, index;
    u16 heads[]; // then used_event
};

struct used_ring {
    u16 flags, index;
    struct {
        u32 head, length;
    } entries[]; // then avail_event
};
