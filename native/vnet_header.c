#include "vnet_header.h"

#include <string.h>

enum { NEEDS_CSUM = 1, GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_ECN = 0x80, ETHERNET = 14 };

_Static_assert(sizeof(struct pk_vnet_header) == 12, "as it is in memory");

uint32_t pk_vnet_header_take(struct pk_piece *pieces, uint32_t length, struct pk_vnet_header *header)
{
    uint8_t *to = (uint8_t *)header;
    uint32_t empty = 0;
    for (uint32_t done = 0; done < length;) {
        struct pk_piece *piece = &pieces[empty];
        uint32_t part = piece->length < length - done ? (uint32_t)piece->length : length - done;
        memcpy(to + done, piece->data, part);
        piece->data += part;
        piece->length -= part;
        done += part;
        empty += !piece->length;
    }
    __asm__ volatile("" : "+m"(*header)); /* the guest's bytes are not fetched again */
    return empty;
}

/* A sum is behind the Ethernet header and inside the frame. */
static bool sum_fits(const struct pk_vnet_header *header, uint32_t length)
{
    return header->csum_start >= ETHERNET &&
           (uint32_t)header->csum_start + header->csum_offset + 2 <= length;
}

static bool negotiated(uint32_t gso_type, uint32_t requests)
{
    uint32_t kind = gso_type & ~(uint32_t)GSO_ECN;
    if (gso_type & GSO_ECN && (!(requests & GSO_ECN) || (kind != GSO_TCPV4 && kind != GSO_TCPV6)))
        return false;
    return kind < 7 && requests >> kind & 1;
}

bool pk_vnet_header_admit(struct pk_vnet_header *header, uint32_t length, uint32_t requests)
{
    uint32_t start; /* flags, gso_type, hdr_len: the rest says something only with these */
    memcpy(&start, header, sizeof start);
    if (!start)
        return true;
    header->flags &= NEEDS_CSUM;
    bool sum = header->flags, cut = header->gso_type != GSO_NONE;
    if (header->hdr_len > length || (sum && (!(requests & 1) || !sum_fits(header, length))))
        return false;
    return !cut || (sum && header->gso_size && negotiated(header->gso_type, requests));
}
