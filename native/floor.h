/* The measurements' floors: what the kernel alone costs for moving frames. */
#ifndef PYKVM_FLOOR_H
#define PYKVM_FLOOR_H

#include <stdint.h>

/* writev() header and frame to a TAP `count` times, from `buffers` places `stride` bytes apart in turn,
 * as a ring has them; nanoseconds, 0 when the TAP fails. */
uint64_t pk_floor_write(int fd, const uint8_t *header, uint32_t header_size, const uint8_t *frames,
                        uint32_t size, uint32_t stride, uint32_t buffers, uint32_t count);

/* readv() header and frame `count` times from a TAP where they wait, into `buffers` places `stride` bytes
 * apart in turn; nanoseconds, 0 when there are fewer. */
uint64_t pk_floor_read(int fd, uint32_t header_size, uint8_t *frames, uint32_t stride,
                       uint32_t buffers, uint32_t count);

/* sendmmsg() to a packet socket with PACKET_VNET_HDR: `count` frames of `size` bytes behind `header`, out of
 * `buffers` places `stride` bytes apart in turn. Each gets the next number, 32 bits little endian from
 * `first` on, at byte `at`. How many went out, or -errno when none did. */
int64_t pk_floor_flood(int fd, const uint8_t *header, uint32_t header_size, uint8_t *frames,
                       uint32_t size, uint32_t stride, uint32_t buffers, uint32_t at, uint32_t first,
                       uint32_t count);

/* Of a stream whose 64-bit little-endian word number k is k: how many of the `size` bytes that are at
 * `offset` in it are right, up to the first wrong one. */
uint64_t pk_floor_counted(const uint8_t *data, uint64_t size, uint64_t offset);

#endif
