// The driver's side of the split ring. Laid out as a legacy device wants it, which suits modern ones.
#include "virtio/ring.h"

#include "virtio/queue.h"

static struct descriptor *table_of(const struct queue *q) { return (struct descriptor *)q->descriptors; }
static volatile struct avail_ring *avail_of(const struct queue *q) { return (struct avail_ring *)q->driver; }
static volatile struct used_ring *used_of(const struct queue *q) { return (struct used_ring *)q->device_area; }
static volatile u16 *used_event(const struct queue *q) { return &avail_of(q)->heads[q->size]; }
static volatile u16 *avail_event(const struct queue *q)
{
    return (volatile u16 *)&used_of(q)->entries[q->size];
}

static size_t used_offset(u16 size)
{
    return (sizeof(struct descriptor) * size + 6 + 2u * size + 4095) & ~4095ul; // 2.7.2
}

static size_t bytes(u16 size) { return used_offset(size) + 6 + 8u * size; }

static void start(struct queue *q)
{
    q->descriptors = (u64)q->memory;
    q->driver = q->descriptors + sizeof(struct descriptor) * q->size;
    q->device_area = q->descriptors + used_offset(q->size);
}

static void fill(struct descriptor *d, const struct piece *p, bool write, bool last, u16 next)
{
    d->address = p->address;
    d->length = p->length;
    d->flags = (u16)((write ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT));
    d->next = last ? 0 : next;
}

static bool add(struct queue *q, const struct piece *pieces, unsigned out, unsigned in, u64 token)
{
    unsigned n = out + in;
    bool indirect = n > 1 && n <= q->indirect;
    unsigned cost = indirect ? 1 : n;
    if (!n || q->room < cost)
        return false;
    u16 head = q->free, at = head;
    if (indirect) {
        struct descriptor *table = q->tables + (size_t)head * q->indirect;
        for (unsigned i = 0; i < n; i++)
            fill(table + i, pieces + i, i >= out, i == n - 1, (u16)(i + 1));
        struct piece whole = {(u64)table, (u32)(n * sizeof *table)};
        fill(table_of(q) + head, &whole, false, true, 0);
        table_of(q)[head].flags = DESC_INDIRECT;
        q->free = q->slots[head].next;
    } else {
        for (unsigned i = 0; i < n; i++) {
            u16 next = q->slots[at].next;
            fill(table_of(q) + at, pieces + i, i >= out, i == n - 1, next);
            if (i == n - 1)
                q->free = next;
            else
                at = next;
        }
    }
    q->room = (u16)(q->room - cost);
    q->slots[head].token = token;
    q->slots[head].count = (u16)cost;
    avail_of(q)->heads[q->avail++ & (q->size - 1)] = head;
    return true;
}

static bool publish(struct queue *q)
{
    u16 old = q->kicked, now = q->avail;
    order();
    avail_of(q)->index = now;
    q->kicked = now;
    full_fence(); // the device must see the index, or we its wish (2.7.13.3.1)
    if (q->event_idx)
        return event_passed(*avail_event(q), now, old);
    return now != old && !(used_of(q)->flags & USED_NO_NOTIFY);
}

static bool take(struct queue *q, u64 *token, u32 *length)
{
    if (used_of(q)->index == q->used)
        return false;
    order();
    u16 at = q->used & (q->size - 1);
    u32 head = used_of(q)->entries[at].head;
    *length = used_of(q)->entries[at].length;
    if (head >= q->size || !q->slots[head].count)
        return false; // nothing that we gave
    struct slot *slot = &q->slots[head];
    *token = slot->token;
    u16 last = (u16)head;
    for (u16 i = 1; i < slot->count; i++)
        last = q->slots[last].next;
    q->room = (u16)(q->room + slot->count);
    slot->count = 0;
    q->slots[last].next = q->free;
    q->free = (u16)head;
    q->used++;
    return true;
}

static unsigned ready(const struct queue *q, unsigned most)
{
    u16 done = (u16)(used_of(q)->index - q->used);
    order();
    return done < most ? done : most;
}

static void quiet(struct queue *q)
{
    if (q->event_idx)
        *used_event(q) = (u16)(q->used - 1); // the farthest that there is
    else
        avail_of(q)->flags = AVAIL_NO_INTERRUPT;
}

static void listen(struct queue *q, u16 after)
{
    if (q->event_idx)
        *used_event(q) = (u16)(q->used + after - 1);
    else
        avail_of(q)->flags = 0;
}

const struct queue_kind queue_split = {bytes, start, add, publish, take, ready, quiet, listen};
