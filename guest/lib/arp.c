#include "arp.h"

#include "inet.h"
#include "string.h"

enum { ETHER = 14, BYTES = 28 };

void arp_write(u8 *out, const struct arp *arp, const u8 *to)
{
    u8 *p = out + ETHER;
    memset(out, 0, ARP_FRAME);
    if (to)
        memcpy(out, to, 6);
    else
        memset(out, 0xFF, 6);
    memcpy(out + 6, arp->mac, 6);
    put_be16(out + 12, ARP_TYPE);
    memcpy(p, "\0\1\x08\0\6\4", 6);
    put_be16(p + 6, arp->operation);
    memcpy(p + 8, arp->mac, 6);
    put_be32(p + 14, arp->sender);
    if (to)
        memcpy(p + 18, to, 6);
    put_be32(p + 24, arp->target);
}

bool arp_read(const u8 *frame, u32 length, struct arp *arp)
{
    const u8 *p = frame + ETHER;
    if (length < ETHER + BYTES || get_be16(frame + 12) != ARP_TYPE)
        return false;
    *arp = (struct arp){.operation = get_be16(p + 6), .sender = get_be32(p + 14), .target = get_be32(p + 24)};
    memcpy(arp->mac, p + 8, 6);
    return true;
}
