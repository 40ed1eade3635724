// A network card as a stack drives it: requests out, frames in, a doorbell for so many requests, and
// interrupts that stay off while there is work (what Linux calls NAPI). The stack runs in ring 3.
// With several pairs of queues the requests of a doorbell share one, the next doorbell's go to the next
// pair that has room, and frames are taken from all: what is in order on each pair is not in order in all.
//
// drivers/e1000/e1000_netdev.h and drivers/virtio/virtio_netdev.h open one.
#pragma once
#include "types.h"

enum { NETDEV_BUDGET = 64, NETDEV_HEADERS = 54, NETDEV_PARTS = 2, NETDEV_QUEUES = 4 };

// What goes out: the buffer that netdev_buffer() gave, then parts that the caller keeps until it is sent.
struct request {
    u32 linear; // bytes in the buffer: all headers at least
    unsigned parts;
    struct {
        const u8 *data;
        u32 length;
    } part[NETDEV_PARTS];
    bool sum; // TCP over IPv4, NETDEV_HEADERS of headers: its checksum is left to the card
    u16 mss;  // also: to be cut into segments with so many bytes of payload; 0: one frame
};

// What comes in. All headers are in its first part.
struct received {
    const u8 *data;
    u32 first, length; // bytes of the first part, of all
    u16 mss;           // of the segments that it stands for; 0: just a frame
    bool checked;      // somebody has looked at its checksum, or it never left the host
};

enum netdev_wish { NETDEV_NOTHING, NETDEV_ROOM, NETDEV_SENT }; // what a sleeping sender waits for

struct netdev {
    const char *name;
    const struct netdev_driver *driver;
    u8 mac[6];
    bool cuts, sums;  // the card segments TCP, finishes checksums
    bool merges;      // the card hands over TCP segments put together
    bool polled;      // no interrupts: whoever waits looks
    unsigned batch;   // requests to a doorbell
    unsigned queues;  // pairs of them: as many as wanted, then as many as are used
    unsigned first;   // of these pairs
    u64 moved[NETDEV_QUEUES]; // requests and frames, by pair
    void (*deliver)(void *to, const struct received *frame); // must not send
    void *to;
    const volatile u32 *interrupts; // of the card, counted by its driver in ring 0
    u32 seen;                // of those, the ones that were answered
    enum netdev_wish wish;
    unsigned unkicked;
    u64 polls;
};

// What a driver gives. Everything is called in ring 3.
struct netdev_driver {
    u8 *(*buffer)(struct netdev *d); // a cheap look for room for the largest request: NULL if there is none
    void (*queue)(struct netdev *d, u8 *buffer, const struct request *r);
    void (*kick)(struct netdev *d);
    bool (*granted)(struct netdev *d); // takes back what was sent; whether the wish has come true
    bool (*receive)(struct netdev *d, struct received *frame);
    void (*release)(struct netdev *d);
    void (*quiet)(struct netdev *d);  // no more interrupts, where the card did not stop by itself
    bool (*listen)(struct netdev *d); // interrupts, please. True: there is work that none will come for
    bool (*remind)(struct netdev *d); // the same for the wish alone, while it is news
    u64 (*kicks)(const struct netdev *d);
    // NULL, or: one of the pairs of queues for the processor that calls this in ring 0. Its interrupts come here,
    // and it may be used at the same time as others; the whole is not used any more. False: they cannot.
    bool (*pair)(struct netdev *d, const struct netdev *whole, unsigned pair);
};

// A buffer of 2,000 bytes for the next request. Where the ring is full, sleeps until a good part is free,
// as a stopped queue of Linux's does; NULL if that does not come in seconds.
u8 *netdev_buffer(struct netdev *d);
void netdev_queue(struct netdev *d, u8 *buffer, const struct request *r); // with a doorbell when it is time
void netdev_flush(struct netdev *d);                                       // the doorbell, if one is owed
bool netdev_drain(struct netdev *d); // sleeps until everything is sent; false: not in seconds

// What the interrupts since the last call want: received frames are delivered, sent requests taken back.
void netdev_service(struct netdev *d);

// Sleeps until an interrupt (or looks, and pauses), and does that. May return for nothing.
void netdev_wait(struct netdev *d);

// Start: an interrupt comes for the next frame.
void netdev_start(struct netdev *d);

// An interrupt now and then (20 a second), so that a sleeper wakes up to look at the time. Ring 0.
void netdev_tick(void);
