#include "virtio_window.h"

void pk_virtio_attach(struct pk_virtio_pairs *pairs, uint32_t pair, struct pk_vnet *net)
{
    if (pair < PK_VIRTIO_PAIRS)
        __atomic_store_n(&pairs->pairs[pair], net, __ATOMIC_SEQ_CST);
}

/* Whether the kick was for queues that C works. */
static bool kick(const struct pk_virtio_window *window, uint64_t offset, uint64_t value)
{
    uint64_t queue = window->step ? (offset - window->notify) / window->step : value;
    uint64_t pair = queue / 2;
    if (queue >= window->queues || pair >= PK_VIRTIO_PAIRS)
        return false;
    struct pk_vnet *net = __atomic_load_n(&window->pairs->pairs[pair], __ATOMIC_SEQ_CST);
    return net && pk_vnet_kick(net);
}

bool pk_virtio_answer(void *opaque, bool write, uint64_t offset, uint32_t size, uint64_t *value)
{
    struct pk_virtio_window *window = opaque;
    if (!write) {
        if (size != 1 || offset != window->isr_at)
            return false;
        *value = pk_isr_read(window->isr);
        return true;
    }
    if (size != 2 || offset < window->notify)
        return false;
    if (window->step ? (offset - window->notify) % window->step : offset != window->notify)
        return false;
    return kick(window, offset, *value);
}
