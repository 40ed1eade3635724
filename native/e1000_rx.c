/* The receive ring (manual, 3.2). The worker's lock is held. */
#include "e1000_card.h"
#include "host.h"
#include "inet.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

/* Descriptor status and errors (manual, 3.2.3). */
enum { DD = 0x01, EOP = 0x02, IXSM = 0x04, VP = 0x08, TCPCS = 0x20, IPCS = 0x40 };
enum { TCPE = 0x20, IPE = 0x40 };
enum { ETHERNET = 14, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, SOURCES = 16 };
enum { RETRY_NS = 100000000 }; /* how long a descriptor that fails is left alone */

_Static_assert(sizeof(struct virtio_net_hdr) == 10, "incoming_frame() counts on it");

/* Bytes of each receive buffer (13.4.22: BSIZE and BSEX). */
static uint32_t buffer_size(uint32_t rctl)
{
    uint32_t size = 2048u >> (rctl >> 16 & 3);
    return rctl & RCTL_BSEX && size != 2048 ? size * 16 : size;
}

/* -- filters (13.4.22, 13.5) ----------------------------------------------------------------- */

static bool exact(const struct pk_e1000 *card, const uint8_t *address)
{
    uint32_t low = pk_le32(address), high = pk_le16(address + 4);
    for (uint32_t n = 0; n < SOURCES; n++) {
        uint32_t rah = cell(card, E_RAH + 8 * n);
        if (rah >> 31 && (rah & 0xFFFF) == high && cell(card, E_RAL + 8 * n) == low)
            return true;
    }
    return false;
}

static bool hashed(const struct pk_e1000 *card, const uint8_t *address, uint32_t rctl)
{
    static const uint32_t shifts[4] = {4, 3, 2, 0};
    uint32_t bits = pk_le16(address + 4) >> shifts[rctl >> 12 & 3] & 0xFFF;
    return cell(card, E_MTA + (bits >> 5) * 4) >> (bits & 31) & 1;
}

static bool accepts(const struct pk_e1000 *card, const uint8_t *address, uint32_t rctl)
{
    if (is_broadcast(address))
        return rctl & (RCTL_BAM | RCTL_MPE) || exact(card, address);
    if (address[0] & 1)
        return rctl & RCTL_MPE || hashed(card, address, rctl) || exact(card, address);
    return rctl & RCTL_UPE || exact(card, address);
}

static bool accepts_vlan(const struct pk_e1000 *card, uint32_t tag, uint32_t rctl)
{
    uint32_t vlan = tag & 0xFFF;
    return !(rctl & RCTL_VFE) || cell(card, E_VFTA + (vlan >> 5) * 4) >> (vlan & 31) & 1;
}

/* -- checksum offload (3.2.9) ---------------------------------------------------------------- */

/* Status bits, and error bits in the second byte. */
static uint32_t offload(const uint8_t *frame, uint32_t length, uint32_t rxcsum)
{
    const uint8_t *ip = frame + ETHERNET;
    if (!(rxcsum & (RXCSUM_IPOFL | RXCSUM_TUOFL)) || length < ETHERNET + 20u ||
        pk_be16(frame + 12) != 0x0800 || ip[0] >> 4 != 4)
        return IXSM;
    uint32_t header = (ip[0] & 0xFu) * 4, total = pk_be16(ip + 2);
    if (header < 20 || total < header || total > length - ETHERNET)
        return IXSM;
    uint32_t result = 0;
    if (rxcsum & RXCSUM_IPOFL)
        result |= IPCS | (pk_ones_sum(ip, header, 0) == 0xFFFF ? 0 : IPE << 8);
    const uint8_t *segment = ip + header;
    uint32_t size = total - header;
    bool fragment = pk_be16(ip + 6) & 0x3FFF;
    /* A UDP sum of 0 is none; a header too short to have one is not 0. */
    bool wanted = ip[9] == PROTOCOL_TCP ||
                  (ip[9] == PROTOCOL_UDP && !(size >= 8 && pk_be16(segment + 6) == 0));
    if (rxcsum & RXCSUM_TUOFL && wanted && !fragment) {
        uint64_t pseudo = (uint64_t)pk_ones_sum(ip + 12, 8, 0) + ip[9] + size;
        result |= TCPCS | (pk_ones_sum(segment, size, pseudo) == 0xFFFF ? 0 : TCPE << 8);
    }
    return result;
}

/* -- the ring -------------------------------------------------------------------------------- */

/* Write the frame, its FCS included, into the ring; `vlan` is the tag taken out of it, or -1. Moves
 * RDH; false (and RDH where it was) when ring or buffers are not RAM. */
static bool fill(struct pk_e1000 *card, const uint8_t *frame, uint32_t length, int32_t vlan,
                 uint32_t rctl)
{
    uint32_t rxcsum = cell(card, E_RXCSUM), start = rxcsum & 0xFF;
    uint32_t sum = start < length ? pk_ones_sum(frame + start, length - start, 0) : 0;
    uint32_t outcome = offload(frame, length, rxcsum);
    uint32_t size = buffer_size(rctl), count = cell(card, E_RDLEN) / DESCRIPTOR;
    uint32_t head = cell(card, E_RDH);
    uint64_t base = (uint64_t)cell(card, E_RDBAH) << 32 | cell(card, E_RDBAL);
    if (!(card->flags & PK_E1000_MASTER)) {
        pk_e1000_complain(card, PK_E1000_NO_MASTER);
        return false;
    }
    for (uint32_t at = 0; at < length; at += size) {
        uint32_t part = length - at < size ? length - at : size;
        bool last = at + part == length;
        uint8_t *raw = pk_guest_ptr(card->memory, base + (uint64_t)head * DESCRIPTOR, DESCRIPTOR, true);
        uint64_t address = raw ? pk_le64(raw) : 0;
        /* A null descriptor is used up without data. */
        if (!raw || (address && !pk_guest_write(card->memory, address, frame + at, part))) {
            pk_e1000_complain(card, PK_E1000_NO_RAM);
            return false;
        }
        uint64_t row = part | (uint64_t)DD << 32;
        if (last)
            row |= (uint64_t)sum << 16 | (uint64_t)(EOP | (vlan >= 0 ? VP : 0)) << 32 |
                   (uint64_t)outcome << 32;
        if (vlan >= 0)
            row |= (uint64_t)vlan << 48;
        /* All at once and last: the guest looks for DD. RDBAL is aligned to 16. */
        __atomic_store_n((uint64_t *)(void *)(raw + 8), row, __ATOMIC_RELEASE);
        head = (head + 1) % count;
    }
    set_cell(card, E_RDH, head);
    return true;
}

static void count_received(struct pk_e1000 *card, const uint8_t *address, uint32_t length)
{
    count(card, pk_e1000_size_counter(E_PRC64, length), 1);
    pk_tally(&card->worker.counts.received, 1);
    count(card, E_GPRC, 1);
    count_wide(card, E_GORCL, length + FCS);
    if (address[0] & 1)
        count(card, is_broadcast(address) ? E_BPRC : E_MPRC, 1);
}

uint32_t pk_e1000_store(struct pk_e1000 *card, uint32_t length)
{
    uint8_t *frame = incoming_frame(card), address[6];
    uint32_t rctl = cell(card, E_RCTL);
    if (!(rctl & RCTL_EN) || length < ETHERNET || !(card->flags & PK_E1000_LINK || looped(card)))
        return 0;
    if (length < SHORTEST) { /* the sender's card would have padded it */
        memset(frame + length, 0, SHORTEST - length);
        length = SHORTEST;
    }
    count(card, E_TPR, 1);
    count_wide(card, E_TORL, length + FCS);
    if (!accepts(card, frame, rctl))
        return 0;
    if (length > RECEIVABLE || (length > STANDARD && !(rctl & RCTL_LPE))) {
        count(card, E_ROC, 1);
        return 0;
    }
    uint32_t whole = length;
    memcpy(address, frame, sizeof address);
    int32_t vlan = -1;
    bool tagged = pk_be16(frame + 12) == (cell(card, E_VET) & 0xFFFF);
    if (tagged && !accepts_vlan(card, pk_be16(frame + 14), rctl))
        return 0;
    uint32_t fcs = rctl & RCTL_SECRC ? 0 : pk_crc32(frame, length);
    if (tagged && cell(card, E_CTRL) & CTRL_VME) {
        vlan = (int32_t)pk_be16(frame + 14);
        memmove(frame + TAG, frame, 12);
        frame += TAG;
        length -= TAG;
    }
    if (!(rctl & RCTL_SECRC)) {
        memcpy(frame + length, &fcs, FCS); /* little endian, as this machine is */
        length += FCS;
    }
    uint32_t free = receive_room(card), size = buffer_size(rctl), needed = (length + size - 1) / size;
    if (needed > free) {
        count(card, E_MPC, 1);
        count(card, E_RNBC, 1);
        return CAUSE_RXO;
    }
    if (!fill(card, frame, length, vlan, rctl)) {
        count(card, E_MPC, 1);
        return 0;
    }
    count_received(card, address, whole);
    uint32_t threshold = cell(card, E_RDLEN) / DESCRIPTOR >> ((rctl >> 8 & 3) + 1);
    return CAUSE_RXT0 | (free - needed <= threshold ? CAUSE_RXDMT0 : 0);
}

void pk_e1000_announce(struct pk_e1000 *card, uint32_t causes)
{
    uint32_t delay = cell(card, E_RDTR);
    if (causes & CAUSE_RXT0 && delay) {
        pk_e1000_delay(card, &card->irq.rx, delay, cell(card, E_RADV));
        causes &= ~(uint32_t)CAUSE_RXT0;
    }
    if (causes)
        pk_e1000_cause(card, causes, 0);
}

void pk_e1000_receive(struct pk_e1000 *card, const uint8_t *frame, uint32_t length)
{
    memcpy(incoming_frame(card), frame, length < FROM_WIRE ? length : FROM_WIRE);
    pk_e1000_announce(card, pk_e1000_store(card, length));
}

uint32_t pk_e1000_take(struct pk_e1000 *card, uint32_t most)
{
    uint32_t causes = 0, taken = 0;
    /* With the receiver off frames are taken, and lost: a cable does not wait. With it on, they stay
     * where they are for as long as there is no descriptor. */
    while (taken < most && (!(cell(card, E_RCTL) & RCTL_EN) || receive_room(card))) {
        ssize_t got = pk_read(card->fd, card->incoming, sizeof(struct virtio_net_hdr) + FROM_WIRE);
        if (got <= (ssize_t)sizeof(struct virtio_net_hdr)) {
            /* The interface is down, or gone, or the other end has hung up. */
            if (got >= 0 || (errno != EAGAIN && errno != EINTR))
                card->retry = pk_now() + RETRY_NS;
            break;
        }
        causes |= pk_e1000_store(card, (uint32_t)got - (uint32_t)sizeof(struct virtio_net_hdr));
        taken++;
    }
    pk_tally(&card->worker.counts.batches, taken > 0);
    pk_e1000_announce(card, causes);
    return taken;
}
