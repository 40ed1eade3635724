#include "virtio/queue.h"

#include "clock.h"
#include "cpu.h"
#include "pages.h"
#include "string.h"
#include "virtio/ring.h"

void queue_create(struct queue *q, const struct queue_kind *kind, u16 size, u16 indirect)
{
    size_t rings = (kind->bytes(size) + 4095) & ~4095ul;
    size_t slots = size * sizeof *q->slots;
    size_t tables = (size_t)size * indirect * sizeof(struct descriptor);
    if (q->capacity < rings + slots + tables) {
        q->capacity = rings + slots + tables;
        q->memory = pages_take(q->capacity);
    }
    q->kind = kind;
    q->size = q->room = size;
    q->indirect = indirect;
    q->slots = (struct slot *)(q->memory + rings);
    q->tables = (struct descriptor *)(q->memory + rings + slots);
    q->free = q->avail = q->used = q->kicked = 0;
    q->added = q->taken = 0;
    memset(q->memory, 0, rings);
    for (u16 i = 0; i < size; i++)
        q->slots[i] = (struct slot){.next = (u16)(i + 1)};
    kind->start(q);
}

bool queue_listen(struct queue *q, u16 after)
{
    q->armed++;
    q->kind->listen(q, after);
    // The device may have finished between our last look and this: look again, after it can know.
    full_fence();
    return queue_ready(q, after) >= after;
}

static bool wait(struct queue *q, u16 after, u64 deadline)
{
    for (;;) {
        u32 before = q->interrupts;
        if (q->polled ? queue_ready(q, after) >= after : queue_listen(q, after))
            return true;
        do {
            if (deadline_passed(deadline))
                return false;
            cpu_pause();
        } while (!q->polled && q->interrupts == before);
    }
}

bool queue_wait(struct queue *q, u16 after, u32 ms)
{
    bool done = wait(q, after, deadline_ms(ms));
    // An event index is good for one interrupt; without, they would go on coming.
    if (!q->event_idx)
        queue_quiet(q);
    return done;
}
