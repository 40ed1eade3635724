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

#endif
