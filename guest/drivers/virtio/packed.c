// The driver's side of the packed ring.
#include "virtio/packed.h"

#include "virtio/queue.h"
#include "virtio/ring.h"

static volatile struct packed_descriptor *ring_of(const struct queue *q)
{
    return (struct packed_descriptor *)q->descriptors;
}

static volatile struct packed_event *ours(const struct queue *q) { return (struct packed_event *)q->driver; }
static volatile struct packed_event *theirs(const struct queue *q)
{
    return (struct packed_event *)q->device_area;
}

static size_t bytes(u16 size)
{
    return sizeof(struct packed_descriptor) * size + 2 * sizeof(struct packed_event);
}

static void start(struct queue *q)
{
    q->descriptors = (u64)q->memory;
    q->driver = q->descriptors + sizeof(struct packed_descriptor) * q->size;
    q->device_area = q->driver + sizeof(struct packed_event);
    q->avail_wrap = q->used_wrap = true;
}

static u16 advance(const struct queue *q, u16 at, u16 by, bool *wrap)
{
    unsigned next = at + by;
    if (next < q->size)
        return (u16)next;
    *wrap = !*wrap;
    return (u16)(next - q->size);
}

static bool add(struct queue *q, const struct piece *pieces, unsigned out, unsigned in, u64 token)
{
    unsigned n = out + in;
    bool indirect = n > 1 && n <= q->indirect;
    unsigned cost = indirect ? 1 : n;
    if (!n || q->room < cost)
        return false;
    u16 id = q->free, at = q->avail, first_flags = 0;
    struct piece whole;
    if (indirect) {
        struct packed_descriptor *table = (struct packed_descriptor *)(q->tables + (size_t)id * q->indirect);
        for (unsigned i = 0; i < n; i++)
            table[i] = (struct packed_descriptor){pieces[i].address, pieces[i].length, 0,
                                                  i >= out ? DESC_WRITE : 0};
        whole = (struct piece){(u64)table, (u32)(n * sizeof *table)};
        pieces = &whole;
    }
    u16 head = at;
    for (unsigned i = 0; i < cost; i++) {
        volatile struct packed_descriptor *d = &ring_of(q)[at];
        u16 flags = q->avail_wrap ? PACKED_AVAIL : PACKED_USED;
        if (indirect)
            flags |= DESC_INDIRECT;
        else
            flags = (u16)(flags | (i >= out ? DESC_WRITE : 0) | (i == n - 1 ? 0 : DESC_NEXT));
        d->address = pieces[i].address;
        d->length = pieces[i].length;
        d->id = id;
        if (i == 0)
            first_flags = flags;
        else
            d->flags = flags;
        at = advance(q, at, 1, &q->avail_wrap);
    }
    q->free = q->slots[id].next;
    q->slots[id].token = token;
    q->slots[id].count = (u16)cost;
    q->room = (u16)(q->room - cost);
    q->avail = at;
    q->kicked = (u16)(q->kicked + cost); // here: descriptors since the last kick
    order();
    ring_of(q)[head].flags = first_flags; // last: with it the whole chain is there
    return true;
}

static bool publish(struct queue *q)
{
    u16 fresh = q->kicked;
    q->kicked = 0;
    full_fence();
    if (!fresh)
        return false;
    u16 flags = theirs(q)->flags & 3;
    if (flags != EVENTS_DESC)
        return flags != EVENTS_DISABLE;
    order();
    u16 position = theirs(q)->position;
    u16 event = position & 0x7FFF;
    if ((position >> 15 != 0) != q->avail_wrap)
        event = (u16)(event - q->size);
    return event_passed(event, q->avail, (u16)(q->avail - fresh));
}

static bool done(const struct queue *q, u16 at, bool wrap)
{
    u16 flags = ring_of(q)[at].flags;
    bool avail = flags & PACKED_AVAIL, used = flags & PACKED_USED;
    return avail == used && used == wrap;
}

static bool take(struct queue *q, u64 *token, u32 *length)
{
    if (!done(q, q->used, q->used_wrap))
        return false;
    order();
    u16 id = ring_of(q)[q->used].id;
    *length = ring_of(q)[q->used].length;
    if (id >= q->size || !q->slots[id].count)
        return false; // nothing that we gave
    struct slot *slot = &q->slots[id];
    *token = slot->token;
    q->used = advance(q, q->used, slot->count, &q->used_wrap);
    q->room = (u16)(q->room + slot->count);
    slot->count = 0;
    slot->next = q->free;
    q->free = id;
    return true;
}

static unsigned ready(const struct queue *q, unsigned most)
{
    u16 at = q->used;
    bool wrap = q->used_wrap;
    unsigned n = 0;
    while (n < most && queue_pending(q) > n && done(q, at, wrap)) {
        order();
        u16 id = ring_of(q)[at].id;
        if (id >= q->size || !q->slots[id].count)
            break;
        at = advance(q, at, q->slots[id].count, &wrap);
        n++;
    }
    return n;
}

static void quiet(struct queue *q) { ours(q)->flags = EVENTS_DISABLE; }

// Positions count descriptors, `after` buffers: with chains in the ring it comes early, never late.
static void listen(struct queue *q, u16 after)
{
    if (!q->event_idx) {
        ours(q)->flags = EVENTS_ENABLE;
        return;
    }
    bool wrap = q->used_wrap;
    u16 at = advance(q, q->used, (u16)(after - 1), &wrap);
    ours(q)->position = (u16)(at | (wrap ? 1 << 15 : 0));
    order();
    ours(q)->flags = EVENTS_DESC;
}

const struct queue_kind queue_packed = {bytes, start, add, publish, take, ready, quiet, listen};
