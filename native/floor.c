#include "floor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
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

enum { BURST = 64 };

int64_t pk_floor_flood(int fd, const uint8_t *header, uint32_t header_size, uint8_t *frames,
                       uint32_t size, uint32_t stride, uint32_t buffers, uint32_t at, uint32_t first,
                       uint32_t count)
{
    struct iovec pieces[BURST][2];
    struct mmsghdr messages[BURST];
    uint32_t done = 0;
    if (!buffers || size > stride || at > size || size - at < sizeof first)
        return -EINVAL;
    while (done < count) {
        uint32_t burst = count - done < BURST ? count - done : BURST;
        if (burst > buffers)
            burst = buffers;
        memset(messages, 0, sizeof messages);
        for (uint32_t i = 0; i < burst; i++) {
            uint8_t *frame = frames + (uint64_t)i * stride;
            uint32_t number = first + done + i;
            memcpy(frame + at, &number, sizeof number);
            pieces[i][0] = (struct iovec){(void *)(uintptr_t)header, header_size};
            pieces[i][1] = (struct iovec){frame, size};
            messages[i].msg_hdr.msg_iov = pieces[i];
            messages[i].msg_hdr.msg_iovlen = 2;
        }
        int sent = sendmmsg(fd, messages, burst, 0);
        if (sent <= 0)
            return done ? (int64_t)done : -errno;
        done += (uint32_t)sent;
    }
    return done;
}

uint64_t pk_floor_counted(const uint8_t *data, uint64_t size, uint64_t offset)
{
    uint64_t at = 0;
    /* Up to a whole word, whole words, and what is left. */
    for (; at < size; at++) {
        uint64_t where = offset + at;
        if (where % 8 == 0) {
            uint64_t word, number = where / 8;
            for (; size - at >= sizeof word; at += sizeof word, number++) {
                memcpy(&word, data + at, sizeof word);
                if (word != number)
                    break;
            }
            if (at == size)
                break;
            where = offset + at;
        }
        if (data[at] != (uint8_t)(where / 8 >> where % 8 * 8))
            break;
    }
    return at;
}
