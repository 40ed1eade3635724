// Numbered frames that a card sends to itself through a network that returns them. All of it is for
// ring 3: looking at every byte takes time.
#pragma once
#include "virtio/net.h"

enum { LOOP_HEADER = 14, LOOP_SMALLEST = 60 };

// A frame to the card itself with number n, `size` bytes long.
void net_loop_write(const struct net *net, u8 *out, u32 size, u32 n);

// That frame, unchanged?
bool net_loop_same(const struct net *net, const struct net_frame *frame, u32 size, u32 n);

// Sends one on a pair and waits until it is back, unchanged, on any; others that come are let go.
bool net_loop_trip(struct net *net, unsigned pair, u32 size, u32 n, u32 ms);

// The same in ring 3, from ring 0.
bool net_loop_works(struct net *net, u32 size);
