/* A frame in pieces: scatter-gather vectors, as they come from a ring and go to the host. */
#ifndef PYKVM_PIECES_H
#define PYKVM_PIECES_H

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* Copy the first `length` bytes, as far as there are so many. */
static inline void pk_copy_head(const struct iovec *pieces, uint32_t count, uint8_t *to, uint32_t length)
{
    for (uint32_t i = 0, done = 0; i < count && done < length; i++) {
        uint32_t part = (uint32_t)pieces[i].iov_len;
        if (part > length - done)
            part = length - done;
        memcpy(to + done, pieces[i].iov_base, part);
        done += part;
    }
}

/* What follows the first `skip` bytes, as pieces in `to`, which has room for `count`; how many. */
static inline uint32_t pk_tail_pieces(const struct iovec *pieces, uint32_t count, uint32_t skip,
                                      struct iovec *to)
{
    uint32_t made = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = (uint32_t)pieces[i].iov_len;
        uint32_t cut = length < skip ? length : skip;
        skip -= cut;
        if (length > cut)
            to[made++] = (struct iovec){(uint8_t *)pieces[i].iov_base + cut, length - cut};
    }
    return made;
}

#endif
