// A virtqueue from the driver's side, split or packed (VIRTIO 1.2, 2.6 to 2.8). All of it works in
// ring 3: memory, and one register for the kick.
#pragma once
#include "io.h"
#include "types.h"

struct virtio;

// A piece of a buffer.
struct piece {
    u64 address;
    u32 length;
};

// What is known of a buffer that the device has, by its head (split) or ID (packed).
struct slot {
    u64 token;
    u16 count; // descriptors in the ring
    u16 next;  // chain, and free list
};

struct queue {
    const struct queue_kind *kind;
    struct virtio *device;
    u16 index, size, room;  // room: free descriptors
    u16 indirect;           // the longest chain in a table of its own
    bool event_idx;
    u8 *memory;             // descriptors, driver area, device area, one after the other
    size_t capacity;
    u64 descriptors, driver, device_area;
    struct descriptor *tables;
    struct slot *slots;
    u16 free, avail, used, kicked; // avail, used: how far each side is; kicked: at the last kick
    bool avail_wrap, used_wrap;    // packed only
    u16 port;                      // the doorbell: a port, or an address
    u64 doorbell;
    u64 kicks, kicks_saved, armed; // counts: doorbells rung and not; times an interrupt was asked for
    u64 added, taken;              // buffers
    bool polled;                   // no interrupt comes: waiting is looking
    volatile u32 interrupts, *also; // also: if not NULL, counts them together with others
};

// What differs between the two rings.
struct queue_kind {
    size_t (*bytes)(u16 size);
    void (*start)(struct queue *q); // an empty ring in q->memory
    bool (*add)(struct queue *q, const struct piece *pieces, unsigned out, unsigned in, u64 token);
    bool (*publish)(struct queue *q); // true: the device wants a kick
    bool (*take)(struct queue *q, u64 *token, u32 *length);
    unsigned (*ready)(const struct queue *q, unsigned most);
    void (*quiet)(struct queue *q);
    void (*listen)(struct queue *q, u16 after);
};

extern const struct queue_kind queue_split, queue_packed;

// Takes memory for `size` entries, the first time, and starts an empty ring.
void queue_create(struct queue *q, const struct queue_kind *kind, u16 size, u16 indirect);

// One buffer: `out` pieces that the device reads, then `in` that it writes. False: no room. The
// device may not see it before queue_kick().
static inline bool queue_add(struct queue *q, const struct piece *pieces, unsigned out, unsigned in, u64 token)
{
    bool added = q->kind->add(q, pieces, out, in, token);
    q->added += added;
    return added;
}

static inline void queue_notify(const struct queue *q)
{
    if (q->port)
        outw(q->port, q->index);
    else
        mmio_write16(q->doorbell, q->index);
}

// Shows the device what was added, and rings if it wants that. True if it rang.
static inline bool queue_kick(struct queue *q)
{
    if (!q->kind->publish(q)) {
        q->kicks_saved++;
        return false;
    }
    q->kicks++;
    queue_notify(q);
    return true;
}

// The next buffer that the device is done with, and how many bytes it says it wrote.
static inline bool queue_take(struct queue *q, u64 *token, u32 *length)
{
    bool taken = q->kind->take(q, token, length);
    q->taken += taken;
    return taken;
}

// How many could be taken now, counted up to `most`.
static inline unsigned queue_ready(const struct queue *q, unsigned most) { return q->kind->ready(q, most); }

static inline u64 queue_pending(const struct queue *q) { return q->added - q->taken; }

// No interrupts, please. Only a hint: with EVENT_IDX one may come every 65,536 buffers.
static inline void queue_quiet(struct queue *q) { q->kind->quiet(q); }

// An interrupt, please, when `after` more buffers are done (without EVENT_IDX: one). True: so many are
// done already, and maybe none will come.
bool queue_listen(struct queue *q, u16 after);

// Waits for that many, asleep as far as the device can tell. False: not within ms.
bool queue_wait(struct queue *q, u16 after, u32 ms);

// A full barrier that ring 0 may use on any host; MFENCE is not one.
static inline void full_fence(void) { __asm__ volatile("lock addl $0, (%%rsp)" : : : "memory", "cc"); }
// Loads stay in order among themselves on x86, and so do stores: the compiler alone must be told.
static inline void order(void) { __asm__ volatile("" : : : "memory"); }

// Is `event` among the positions that came after `old`, up to `now`? (2.7.10.1)
static inline bool event_passed(u16 event, u16 now, u16 old)
{
    return (u16)(now - event - 1) < (u16)(now - old);
}
