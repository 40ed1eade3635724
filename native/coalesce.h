/* Successive frames of one TCP flow as one write, which the kernel cuts into the same frames again.
 *
 * What a receiver's GRO does, done by the sender: only frames that segmentation makes anew byte for
 * byte are merged, so whether they were cannot be seen behind the kernel's GSO. The reference is
 * pykvm/net/coalesce.py.
 */
#ifndef PYKVM_COALESCE_H
#define PYKVM_COALESCE_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    PK_TRAIN_FRAMES = 64,
    PK_TRAIN_PIECES = 256,      /* two of them for the headers */
    PK_TRAIN_HEADERS = 14 + 40 + 60,
};

/* Frames that wait for one more like them. Their headers are a copy, their data stays where it is. */
struct pk_train {
    uint32_t frames; /* 0: none */
    uint32_t count;  /* pieces */
    uint32_t length; /* bytes of the merged frame */
    uint32_t tcp;    /* where the TCP header begins */
    uint32_t size;   /* bytes of all headers */
    uint32_t mss;    /* data of every frame but the last, which may have less */
    bool closed;     /* the last frame had less, or PSH */
    bool sound;      /* the first frame's sums were found good */
    bool push;       /* the last frame had PSH */
    struct virtio_net_hdr vnet;
    uint8_t headers[PK_TRAIN_HEADERS]; /* the first frame's */
    struct iovec pieces[PK_TRAIN_PIECES];
};

/* A frame that may be merged. */
struct pk_segment {
    uint32_t tcp, size, data; /* as above; bytes of data */
    bool partial;             /* its TCP checksum is the kernel's to finish */
    uint8_t headers[PK_TRAIN_HEADERS];
};

/* The frame of `length` bytes in `count` pieces that was to be sent behind `vnet`, if its headers make
 * it one to merge. */
bool pk_train_parse(struct pk_segment *segment, const struct virtio_net_hdr *vnet,
                    const struct iovec *pieces, uint32_t count, uint32_t length);

/* Add it to the frames that wait; the pieces (at most 64) must stay as they are until the train ends.
 * False, and nothing done, when it does not follow them: then they have to be sent first. */
bool pk_train_join(struct pk_train *train, const struct pk_segment *segment,
                   const struct iovec *pieces, uint32_t count);

/* Make it the first of an empty train. */
void pk_train_open(struct pk_train *train, const struct pk_segment *segment,
                   const struct virtio_net_hdr *vnet, const struct iovec *pieces, uint32_t count);

/* Finish what waits, and empty the train: returns how many of train->pieces are to be written. */
uint32_t pk_train_end(struct pk_train *train);

#endif
