#include "virtq_ring.h"

int pk_vq_init(struct pk_vq *vq, const struct pk_memory *memory, uint32_t mode, uint32_t size,
               uint64_t descriptors, uint64_t driver, uint64_t device)
{
    bool packed = mode & PK_VQ_PACKED;
    uint64_t driver_size = packed ? 4 : 6 + 2 * (uint64_t)size;
    uint64_t device_size = packed ? 4 : 6 + 8 * (uint64_t)size;
    if (size < 1 || size > PK_VQ_MAX_SIZE || (!packed && size & (size - 1)) || descriptors % 16 ||
        driver % (packed ? 4 : 2) || device % 4)
        return PK_VQ_BAD_LAYOUT;
    *vq = (struct pk_vq){.memory = memory, .size = size, .mode = mode, .avail_wrap = 1, .used_wrap = 1};
    vq->descriptors = pk_guest_ptr(memory, descriptors, (uint64_t)size * VQ_DESCRIPTOR, packed);
    vq->driver = pk_guest_ptr(memory, driver, driver_size, false);
    vq->device = pk_guest_ptr(memory, device, device_size, true);
    return vq->descriptors && vq->driver && vq->device ? PK_VQ_FINE : PK_VQ_NO_RAM;
}

int pk_vq_fail(struct pk_vq *vq, uint32_t error)
{
    vq->error = error;
    return -1;
}

int pk_vq_add(const struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces, uint64_t address,
              uint32_t length, uint32_t flags)
{
    bool write = flags & VQ_WRITE;
    uint32_t count = chain->out_count + chain->in_count;
    if (flags & VQ_INDIRECT)
        return PK_VQ_BAD_INDIRECT;
    if (!write && chain->in_count)
        return PK_VQ_BAD_CHAIN;
    if (count == PK_VQ_MAX_PIECES)
        return PK_VQ_TOO_LONG;
    uint8_t *data = pk_guest_ptr(vq->memory, address, length, write);
    if (!data)
        return PK_VQ_NO_RAM;
    if (!length)
        return PK_VQ_FINE;
    pieces[count] = (struct pk_piece){data, length};
    if (write) {
        chain->in_count++;
        chain->in_bytes += length;
    } else {
        chain->out_count++;
        chain->out_bytes += length;
    }
    return chain->out_bytes + chain->in_bytes > UINT32_MAX ? PK_VQ_TOO_LONG : PK_VQ_FINE;
}

const uint8_t *pk_vq_table(const struct pk_vq *vq, uint64_t address, uint32_t length, uint32_t *rows,
                           int *error)
{
    *rows = length / VQ_DESCRIPTOR;
    *error = PK_VQ_BAD_INDIRECT;
    if (!length || length % VQ_DESCRIPTOR || *rows > PK_VQ_MAX_PIECES)
        return NULL;
    *error = PK_VQ_NO_RAM;
    return pk_guest_ptr(vq->memory, address, length, false);
}

static bool packed(const struct pk_vq *vq) { return vq->mode & PK_VQ_PACKED; }

bool pk_vq_offered(struct pk_vq *vq)
{
    return !vq->error && (packed(vq) ? pk_vq_offered_packed(vq) : pk_vq_offered_split(vq));
}

int pk_vq_pop(struct pk_vq *vq, struct pk_chain *chain, struct pk_piece *pieces)
{
    if (vq->error)
        return -1;
    return packed(vq) ? pk_vq_pop_packed(vq, chain, pieces) : pk_vq_pop_split(vq, chain, pieces);
}

void pk_vq_unpop(struct pk_vq *vq, const struct pk_chain *chain)
{
    if (!packed(vq)) {
        vq->next = (uint16_t)(vq->next - 1);
    } else if (vq->next >= chain->slots) {
        vq->next -= chain->slots;
    } else {
        vq->next += vq->size - chain->slots;
        vq->avail_wrap = !vq->avail_wrap;
    }
}

void pk_vq_push(struct pk_vq *vq, const struct pk_chain *chain, uint32_t written)
{
    if (packed(vq))
        pk_vq_push_packed(vq, chain, written);
    else
        pk_vq_push_split(vq, chain, written);
}

bool pk_vq_flush(struct pk_vq *vq)
{
    if (!vq->pushed)
        return false;
    return packed(vq) ? pk_vq_flush_packed(vq) : pk_vq_flush_split(vq);
}

static void kicks(struct pk_vq *vq, bool on)
{
    if (packed(vq))
        pk_vq_kicks_packed(vq, on);
    else
        pk_vq_kicks_split(vq, on);
}

void pk_vq_disable_kicks(struct pk_vq *vq) { kicks(vq, false); }

bool pk_vq_enable_kicks(struct pk_vq *vq)
{
    kicks(vq, true);
    /* The driver offers first and looks for the wish to be kicked then; we do it the other way round. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return pk_vq_offered(vq);
}
