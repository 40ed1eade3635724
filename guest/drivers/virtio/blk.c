#include "virtio/blk.h"

enum { PATIENCE_MS = 10000, CONFIG_CAPACITY = 0 };

bool blk_open(struct blk *blk, unsigned nth, const struct virtio_transport *transport, u64 wanted)
{
    if (!virtio_open(&blk->device, VIRTIO_BLK, nth, transport) || !virtio_negotiate(&blk->device, wanted) ||
        !virtio_queue(&blk->device, &blk->queue, 0, 0, 0))
        return false;
    virtio_config(&blk->device, CONFIG_CAPACITY, &blk->sectors, 8);
    virtio_ready(&blk->device);
    return true;
}

u8 blk_request(struct blk *blk, u32 type, u64 sector, void *data, u32 length, unsigned pieces)
{
    static struct {
        u32 type, reserved;
        u64 sector;
    } header;
    static volatile u8 status;
    struct piece piece[BLK_PIECES + 2] = {{(u64)&header, sizeof header}};
    bool in = type == BLK_IN || type == BLK_GET_ID;
    unsigned count = 1;
    header.type = type;
    header.sector = sector;
    status = BLK_NO_ANSWER;
    for (unsigned i = 0; length && i < pieces && i < BLK_PIECES; i++)
        piece[count++] = (struct piece){(u64)data + i * (length / pieces), length / pieces};
    unsigned out = in ? 1 : count;
    piece[count++] = (struct piece){(u64)&status, 1};
    u64 token;
    if (!queue_add(&blk->queue, piece, out, count - out, 0))
        return BLK_NO_ANSWER;
    queue_kick(&blk->queue);
    if (!queue_wait(&blk->queue, 1, PATIENCE_MS) || !queue_take(&blk->queue, &token, &blk->written))
        return BLK_NO_ANSWER;
    return status;
}

u8 blk_read(struct blk *blk, u64 sector, void *data, u32 length)
{
    return blk_request(blk, BLK_IN, sector, data, length, 1);
}

u8 blk_write(struct blk *blk, u64 sector, const void *data, u32 length)
{
    return blk_request(blk, BLK_OUT, sector, (void *)data, length, 1);
}

u8 blk_flush(struct blk *blk) { return blk_request(blk, BLK_FLUSH, 0, NULL, 0, 0); }

u8 blk_range(struct blk *blk, u32 type, u64 sector, u32 sectors, u32 flags)
{
    static struct {
        u64 sector;
        u32 sectors, flags;
    } range;
    range.sector = sector;
    range.sectors = sectors;
    range.flags = flags;
    return blk_request(blk, type, 0, &range, sizeof range, 1);
}
