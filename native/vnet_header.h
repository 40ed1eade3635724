/* The header in front of a frame that a driver sends, held against what was negotiated (VIRTIO 1.2, 5.1.6.2).
 *
 * The kernel checks what it gets, but knows nothing of features, and a guest can change its memory in
 * between: the header is copied once, and the copy is what is checked and what leaves. The reference is
 * `VnetHeader.admitted` in pykvm/net/vnet.py.
 */
#ifndef PYKVM_VNET_HEADER_H
#define PYKVM_VNET_HEADER_H

#include "virtq.h"

/* As it is in memory; num_buffers is in the longer form only. */
struct pk_vnet_header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

/* Copy the first `length` bytes of the pieces, which hold more, and have the pieces begin behind them; how
 * many pieces have nothing left. */
uint32_t pk_vnet_header_take(struct pk_piece *pieces, uint32_t length, struct pk_vnet_header *header);

/* Whether a frame of `length` bytes may go with this header. `requests` is what the driver may ask for:
 * bit 0 a checksum, bit N a gso_type of N, bit 7 that ECN is kept. Flags that are not the driver's are
 * cleared. */
bool pk_vnet_header_admit(struct pk_vnet_header *header, uint32_t length, uint32_t requests);

#endif
