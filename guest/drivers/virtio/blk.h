// A virtio-blk driver (VIRTIO 1.2, 5.2): one request at a time.
#pragma once
#include "virtio/virtio.h"

#define BLK_F_SEG_MAX      FEATURE(2)
#define BLK_F_RO           FEATURE(5)
#define BLK_F_BLK_SIZE     FEATURE(6)
#define BLK_F_FLUSH        FEATURE(9)
#define BLK_F_DISCARD      FEATURE(13)
#define BLK_F_WRITE_ZEROES FEATURE(14)
#define BLK_WANTED (F_RING | F_ANY_LAYOUT | BLK_F_SEG_MAX | BLK_F_RO | BLK_F_BLK_SIZE | BLK_F_FLUSH | \
                    BLK_F_DISCARD | BLK_F_WRITE_ZEROES)

enum { BLK_SECTOR = 512, BLK_PIECES = 64 };
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8, BLK_DISCARD = 11, BLK_WRITE_ZEROES = 13 };
enum { BLK_OK = 0, BLK_IOERR = 1, BLK_UNSUPP = 2, BLK_NO_ANSWER = 0xFF };

struct blk {
    struct virtio device;
    struct queue queue;
    u64 sectors;
    u32 written; // what the device said it wrote, for the last request
};

bool blk_open(struct blk *blk, unsigned nth, const struct virtio_transport *transport, u64 wanted);

// One request over `data`, cut into `pieces` of equal length; a status of above. Works in ring 3.
u8 blk_request(struct blk *blk, u32 type, u64 sector, void *data, u32 length, unsigned pieces);

u8 blk_read(struct blk *blk, u64 sector, void *data, u32 length);
u8 blk_write(struct blk *blk, u64 sector, const void *data, u32 length);
u8 blk_flush(struct blk *blk);
// Discards, or writes zeroes to, a range of sectors.
u8 blk_range(struct blk *blk, u32 type, u64 sector, u32 sectors, u32 flags);
