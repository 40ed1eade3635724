// Numbered requests through a card, by one processor over all its pairs of queues or by several, each over
// one of its own.
#pragma once
#include "netdev.h"

struct sending {
    struct netdev *dev;
    unsigned cpus;
    void (*queue)(struct netdev *d, u8 *buffer, u64 number); // several may call it at once
    u64 count, seconds;                                      // how many, or 0 and for how long
    u64 frames, cycles;                                      // what became of it
    bool failed;
};

// Once, before the rest, if there are several: starts the others, each with the pair of its number. False:
// the card cannot, or there are not so many.
bool senders_share(struct sending *s);

void senders_go(struct sending *s); // ring 0, just before ...
u64 senders_run(u64 sending);       // in ring 3 on the first: until everything is sent
