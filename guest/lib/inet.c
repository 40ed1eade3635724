#include "inet.h"

u16 ones_sum(const u8 *p, size_t n, u32 start)
{
    u64 sum = start;
    for (; n > 1; p += 2, n -= 2)
        sum += get_be16(p);
    if (n)
        sum += (u32)*p << 8;
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (u16)sum;
}

u16 pseudo_sum(const u8 *ip, u32 length) { return ones_sum(ip + 12, 8, ip[9] + length); }
