// Network byte order and the Internet checksum (RFC 1071).
#pragma once
#include "types.h"

static inline u16 get_be16(const u8 *p) { return (u16)(p[0] << 8 | p[1]); }
static inline u32 get_be32(const u8 *p) { return (u32)get_be16(p) << 16 | get_be16(p + 2); }

static inline void put_be16(u8 *p, u32 value)
{
    p[0] = (u8)(value >> 8);
    p[1] = (u8)value;
}

static inline void put_be32(u8 *p, u32 value)
{
    put_be16(p, value >> 16);
    put_be16(p + 2, value);
}

// The folded sum of 16-bit words on top of start; a header with its checksum in it sums to 0xFFFF.
u16 ones_sum(const u8 *p, size_t n, u32 start);

// The sum of the pseudo header that TCP and UDP checksums begin with; `ip` is an IPv4 header.
u16 pseudo_sum(const u8 *ip, u32 length);
