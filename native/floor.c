#include "floor.h"

#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t pk_floor_write(int fd, const uint8_t *header, uint32_t header_size, const uint8_t *frames,
                        uint32_t size, uint32_t stride, uint32_t buffers, uint32_t count)
{
    struct iovec pieces[2] = {{(void *)(uintptr_t)header, header_size}, {NULL, size}};
    uint32_t buffer = 0;
    uint64_t start = now_ns();
    while (count--) {
        pieces[1].iov_base = (void *)(uintptr_t)(frames + (uint64_t)buffer * stride);
        buffer = buffer + 1 < buffers ? buffer + 1 : 0;
        if (writev(fd, pieces, 2) < 0)
            return 0;
    }
    return now_ns() - start;
}

uint64_t pk_floor_read(int fd, uint32_t header_size, uint8_t *frames, uint32_t stride,
                       uint32_t buffers, uint32_t count)
{
    uint8_t header[16]; /* more than any virtio-net header */
    struct iovec pieces[2] = {{header, header_size}, {NULL, stride}};
    uint32_t buffer = 0;
    uint64_t start = now_ns();
    while (count--) {
        pieces[1].iov_base = frames + (uint64_t)buffer * stride;
        if (header_size > sizeof header || readv(fd, pieces, 2) < 0)
            return 0;
        buffer = buffer + 1 < buffers ? buffer + 1 : 0;
    }
    return now_ns() - start;
}
