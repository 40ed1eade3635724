// Frames that a card sends to itself through the PHY's loopback, for cases.
#pragma once
#include "e1000.h"

// A frame of `size` bytes to `to` (NULL: the card itself), with a pattern, in the next buffer.
u8 *loop_frame(struct e1000 *card, const u8 *to, u16 size);

// Rings the doorbell and waits that long for a frame; NULL if none comes. The caller releases it.
const u8 *loop_take(struct e1000 *card, u16 *length, u32 ms);

// Sends what is queued and tells whether it comes back; the frame is released.
bool loop_comes_back(struct e1000 *card);

// QEMU's card takes no frame in the first second after its receiver is started: send until one comes.
void loop_warm_up(struct e1000 *card);
