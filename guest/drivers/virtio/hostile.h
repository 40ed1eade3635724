// What cases need that do to a card what broke other emulated ones: a victim, and a second card that
// must go on working.
#pragma once
#include "virtio/net_loop.h"
#include "virtio/ring.h"

extern struct net victim, witness;

// Starts the victim anew, with these features beside the usual ones, and receive buffers of this size
// (0: the usual).
void hostile_start(u64 features, u32 rx_buffer);

// The same by the legacy transport; false if the card has none.
bool hostile_start_legacy(void);

// Waits a moment and has the witness move a frame; one check.
void survived(const char *name);

// The victim sends a frame to itself that need not arrive.
void victim_sends(u32 size);

// Runs the groups of attacks, or the one that only=NAME on the command line names. At the end the
// victim must work again after a reset.
struct hostile_group {
    const char *name;
    void (*run)(void);
};
int hostile_run(const struct hostile_group *groups, size_t count);

// Descriptor n of the victim's split ring, and a head in its avail ring; both without any care.
void raw_descriptor(struct queue *q, u16 n, u64 address, u32 length, u16 flags, u16 next);
void raw_offer(struct queue *q, u16 head);
void raw_index(struct queue *q, u16 index); // the avail index, as it stands
void raw_kick(struct queue *q);             // shows what was offered, and rings

static inline struct queue *victim_tx(void) { return &victim.tx[0].queue; }
static inline struct queue *victim_rx(void) { return &victim.rx[0].queue; }
