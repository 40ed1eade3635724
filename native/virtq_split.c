#include "virtq_ring.h"

/* avail: flags, idx, ring[size], used_event; used: flags, idx, {id, len}[size], avail_event (2.7.6,
 * 2.7.8). */
enum { IDX = 2, RING = 4, USED_ENTRY = 8, NO_INTERRUPT = 1, NO_NOTIFY = 1 };
enum { AHEAD = 8 }; /* chains whose memory is fetched while others are worked on: two lines of each ring */

/* Chains offered and not popped. The index is the driver's line of memory: it is looked at anew only when
 * everything that was seen is done. */
static uint32_t waiting(struct pk_vq *vq)
{
    if (vq->seen == vq->next)
        vq->seen = vq_load(vq->driver + IDX);
    return (uint16_t)(vq->seen - vq->next);
}

bool pk_vq_offered_split(struct pk_vq *vq) { return waiting(vq) > 0; }

/* Follow a chain of descriptors from `at`; `rows` of them are at `table`. */
static int collect(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces, const uint8_t *table,
                   uint32_t rows, uint32_t at, bool nested)
{
    for (uint32_t n = 0; n < rows; n++) {
        if (at >= rows)
            return PK_VQ_BAD_INDEX;
        struct pk_descriptor d = vq_descriptor(table + (uint64_t)at * VQ_DESCRIPTOR);
        uint32_t flags = d.a;
        at = d.b;
        if (flags & VQ_INDIRECT && !nested) {
            uint32_t inner;
            int error;
            if (flags & VQ_NEXT || !(vq->mode & PK_VQ_INDIRECT))
                return PK_VQ_BAD_INDIRECT;
            const uint8_t *indirect = pk_vq_table(vq, d.address, d.length, &inner, &error);
            return indirect ? collect(vq, chain, pieces, indirect, inner, 0, true) : error;
        }
        int error = pk_vq_add(vq, chain, pieces, d.address, d.length, flags);
        if (error || !(flags & VQ_NEXT))
            return error;
    }
    return PK_VQ_BAD_CHAIN;
}

/* What the driver has just written on another processor costs as much to get as a third of a short frame
 * to send: ask for descriptors, for what the next but one of them points at, and for used entries while
 * others are worked on. A head that is not there yet is some other one. */
static void fetch_ahead(const struct pk_vq *vq)
{
    uint32_t mask = vq->size - 1;
    uint32_t far = vq_load(vq->driver + RING + 2 * ((vq->next + AHEAD) & mask)) & mask;
    uint32_t near = vq_load(vq->driver + RING + 2 * ((vq->next + 2) & mask)) & mask;
    __builtin_prefetch(vq->descriptors + (uint64_t)far * VQ_DESCRIPTOR);
    __builtin_prefetch(vq->device + RING + ((vq->next + 2 * AHEAD) & mask) * USED_ENTRY, 1);
    struct pk_descriptor d = vq_descriptor(vq->descriptors + (uint64_t)near * VQ_DESCRIPTOR);
    const uint8_t *data = pk_guest_ptr(vq->memory, d.address, d.length, false);
    if (data) {
        if (d.a & VQ_WRITE) {
            __builtin_prefetch(data, 1);
            __builtin_prefetch(data + 64, 1);
        } else {
            __builtin_prefetch(data);
            __builtin_prefetch(data + 64);
        }
    }
}

int pk_vq_pop_split(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces)
{
    uint32_t offered = waiting(vq);
    if (!offered)
        return 0;
    if (offered > vq->size)
        return pk_vq_fail(vq, PK_VQ_BAD_INDEX);
    uint32_t head = vq_load(vq->driver + RING + 2 * (vq->next & (vq->size - 1)));
    *chain = (struct pk_chain){.id = head, .slots = 1};
    fetch_ahead(vq);
    int error = collect(vq, chain, pieces, vq->descriptors, vq->size, head, false);
    if (error)
        return pk_vq_fail(vq, (uint32_t)error);
    vq->next = (uint16_t)(vq->next + 1);
    return 1;
}

void pk_vq_push_split(struct pk_vq *vq, const struct pk_chain *chain, uint32_t written)
{
    uint32_t at = (vq->used + vq->pushed) & (vq->size - 1);
    uint32_t *row = (uint32_t *)(void *)(vq->device + RING + at * USED_ENTRY);
    __atomic_store_n(row, chain->id, __ATOMIC_RELAXED);
    __atomic_store_n(row + 1, written, __ATOMIC_RELAXED);
    vq->pushed++;
}

bool pk_vq_flush_split(struct pk_vq *vq)
{
    vq->used = (uint16_t)(vq->used + vq->pushed);
    vq->pushed = 0;
    vq_store(vq->device + IDX, vq->used);
    uint32_t old = vq->signalled;
    vq->signalled = vq->used;
    /* The driver says what it wants and looks at idx then; we do it the other way round. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vq->mode & PK_VQ_EVENT_IDX)
        return vq_need_event(vq_load(vq->driver + RING + 2 * vq->size), vq->used, old);
    return !(vq_load(vq->driver) & NO_INTERRUPT);
}

void pk_vq_kicks_split(struct pk_vq *vq, bool on)
{
    if (!(vq->mode & PK_VQ_EVENT_IDX))
        vq_store(vq->device, on ? 0 : NO_NOTIFY);
    else if (on) /* to disable them it is enough not to move avail_event */
        vq_store(vq->device + RING + USED_ENTRY * vq->size, vq->next);
}
