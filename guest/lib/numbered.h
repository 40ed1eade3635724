// Numbered frames for a peer that checks them, and from one: the number (u32, little endian), a pattern,
// and the CRC-32 of both at the end. All of it is for ring 3: looking at every byte takes time.
#pragma once
#include "types.h"

enum { NUMBERED_TYPE = 0x88B5, NUMBERED_BODY = 14, NUMBERED_MOST = 1 << 21 };

void numbered_init(void);

// A frame of `size` bytes to everybody, from `mac`.
void numbered_write(u8 *out, u32 size, const u8 *mac, u32 number);

// What has come: any order counts, but each number once.
struct numbered {
    u32 body;        // where a frame's number is, in bytes from its start
    u32 expected;    // one more than the highest number so far
    u64 seen, corrupt, repeated, disordered;
};

// Look at a frame; false when it is not one of ours (by type, where the body is at NUMBERED_BODY).
bool numbered_take(struct numbered *n, const u8 *frame, u32 length);

// Whether frames 0 to count - 1 have come, each once, unchanged and in order.
bool numbered_whole(const struct numbered *n, u64 count);
