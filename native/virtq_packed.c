#include "virtq_ring.h"

enum { AVAIL = 1 << 7, USED = 1 << 15, FLAGS_AT = 14 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 }; /* event suppression (2.8.14) */

static uint8_t *slot(const struct pk_vq *vq, uint32_t at)
{
    return vq->descriptors + (uint64_t)at * VQ_DESCRIPTOR;
}

bool pk_vq_offered_packed(struct pk_vq *vq)
{
    uint32_t flags = vq_load(slot(vq, vq->next) + FLAGS_AT);
    return !(flags & AVAIL) == !vq->avail_wrap && !(flags & USED) != !vq->avail_wrap;
}

static int collect_table(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces,
                         const struct pk_descriptor *d)
{
    uint32_t rows;
    int error;
    const uint8_t *table = pk_vq_table(vq, d->address, d->length, &rows, &error);
    if (!table)
        return error;
    for (uint32_t n = 0; n < rows; n++) {
        struct pk_descriptor row = vq_descriptor(table + (uint64_t)n * VQ_DESCRIPTOR);
        if ((error = pk_vq_add(vq, chain, pieces, row.address, row.length, row.b)))
            return error;
    }
    return PK_VQ_FINE;
}

static int collect(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces)
{
    uint32_t at = vq->next;
    while (chain->slots < vq->size) {
        struct pk_descriptor d = vq_descriptor(slot(vq, at));
        uint32_t flags = d.b;
        at = at + 1 == vq->size ? 0 : at + 1;
        chain->id = d.a;
        chain->slots++;
        if (flags & VQ_INDIRECT) {
            if (flags & VQ_NEXT || chain->slots > 1 || !(vq->mode & PK_VQ_INDIRECT))
                return PK_VQ_BAD_INDIRECT;
            return collect_table(vq, chain, pieces, &d);
        }
        int error = pk_vq_add(vq, chain, pieces, d.address, d.length, flags);
        if (error || !(flags & VQ_NEXT))
            return error;
    }
    return PK_VQ_BAD_CHAIN;
}

int pk_vq_pop_packed(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces)
{
    if (!pk_vq_offered_packed(vq))
        return 0;
    *chain = (struct pk_chain){0};
    int error = collect(vq, chain, pieces);
    if (error)
        return pk_vq_fail(vq, (uint32_t)error);
    vq->next += chain->slots;
    if (vq->next >= vq->size) {
        vq->next -= vq->size;
        vq->avail_wrap = !vq->avail_wrap;
    }
    return 1;
}

void pk_vq_push_packed(struct pk_vq *vq, const struct pk_chain *chain, uint32_t written)
{
    uint8_t *row = slot(vq, vq->used);
    uint32_t flags = (vq->used_wrap ? AVAIL | USED : 0) | (written ? VQ_WRITE : 0);
    __atomic_store_n((uint32_t *)(void *)(row + 8), written, __ATOMIC_RELAXED);
    __atomic_store_n((uint16_t *)(void *)(row + 12), (uint16_t)chain->id, __ATOMIC_RELAXED);
    if (vq->pushed) {
        vq_store(row + FLAGS_AT, flags);
    } else { /* the driver looks at this one: it is shown last */
        vq->first = vq->used;
        vq->first_flags = flags;
        vq->pushed = 1;
    }
    vq->signalled += chain->slots;
    vq->used += chain->slots;
    if (vq->used >= vq->size) {
        vq->used -= vq->size;
        vq->used_wrap = !vq->used_wrap;
    }
}

bool pk_vq_flush_packed(struct pk_vq *vq)
{
    vq_store(slot(vq, vq->first) + FLAGS_AT, vq->first_flags);
    uint32_t moved = vq->signalled;
    vq->pushed = vq->signalled = 0;
    /* As in a split ring. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint32_t mode = vq_load(vq->driver + 2), event = vq_load(vq->driver);
    if (mode != EVENT_DESC || !(vq->mode & PK_VQ_EVENT_IDX))
        return mode != EVENT_DISABLE;
    uint32_t at = event & 0x7FFF;
    if (event >> 15 != vq->used_wrap)
        at -= vq->size;
    return vq_need_event(at, vq->used, vq->used - moved);
}

void pk_vq_kicks_packed(struct pk_vq *vq, bool on)
{
    if (!on) {
        vq_store(vq->device + 2, EVENT_DISABLE);
        return;
    }
    vq_store(vq->device, vq->next | vq->avail_wrap << 15);
    vq_store(vq->device + 2, vq->mode & PK_VQ_EVENT_IDX ? EVENT_DESC : EVENT_ENABLE);
}
