/* What network headers need: byte order, the Internet checksum, the Ethernet FCS.
 *
 * Python's twin is pykvm/net/checksum.py (and zlib.crc32).
 */
#ifndef PYKVM_INET_H
#define PYKVM_INET_H

#include <stdint.h>

static inline uint32_t pk_le16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static inline uint32_t pk_le32(const uint8_t *p) { return pk_le16(p) | pk_le16(p + 2) << 16; }
static inline uint64_t pk_le64(const uint8_t *p) { return pk_le32(p) | (uint64_t)pk_le32(p + 4) << 32; }
static inline uint32_t pk_be16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static inline uint32_t pk_be32(const uint8_t *p) { return pk_be16(p) << 16 | pk_be16(p + 2); }

static inline void pk_put_be16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void pk_put_be32(uint8_t *p, uint32_t value)
{
    pk_put_be16(p, value >> 16);
    pk_put_be16(p + 2, value);
}

/* Carries added back until 16 bits are left. */
static inline uint32_t pk_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint32_t)sum;
}

/* The folded ones' complement sum of big-endian words, a last odd byte padded with 0, on top of
 * `start`; its complement is the Internet checksum (RFC 1071). */
uint32_t pk_ones_sum(const uint8_t *data, uint32_t length, uint64_t start);

/* The CRC of IEEE 802.3, as it is sent: little endian. */
uint32_t pk_crc32(const uint8_t *data, uint32_t length);

#endif
