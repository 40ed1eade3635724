// A virtio-net driver (VIRTIO 1.2, 5.1): as many pairs of queues as wanted, buffers of its own. After
// net_open() everything but net_open() and net_close() works in ring 3.
#pragma once
#include "virtio/virtio.h"

#define NET_F_CSUM            FEATURE(0)
#define NET_F_GUEST_CSUM      FEATURE(1)
#define NET_F_MTU             FEATURE(3)
#define NET_F_MAC             FEATURE(5)
#define NET_F_GUEST_TSO4      FEATURE(7)
#define NET_F_GUEST_TSO6      FEATURE(8)
#define NET_F_HOST_TSO4       FEATURE(11)
#define NET_F_HOST_TSO6       FEATURE(12)
#define NET_F_MRG_RXBUF       FEATURE(15)
#define NET_F_STATUS          FEATURE(16)
#define NET_F_CTRL_VQ         FEATURE(17)
#define NET_F_CTRL_RX         FEATURE(18)
#define NET_F_CTRL_VLAN       FEATURE(19)
#define NET_F_GUEST_ANNOUNCE  FEATURE(21)
#define NET_F_MQ              FEATURE(22)
#define NET_F_CTRL_MAC_ADDR   FEATURE(23)

// Configuration fields (5.1.4).
enum { NET_CONFIG_MAC = 0, NET_CONFIG_STATUS = 6, NET_CONFIG_MAX_PAIRS = 8, NET_CONFIG_MTU = 10 };
enum { NET_LINK_UP = 1, NET_ANNOUNCE = 2 };

// In front of each frame (5.1.6); the last field is there with VERSION_1 or MRG_RXBUF only.
struct net_header {
    u8 flags, gso_type;
    u16 header_length, gso_size, csum_start, csum_offset, num_buffers;
};
enum { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };
enum { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_TCPV6 = 4, NET_GSO_ECN = 0x80 };

enum { NET_PAIRS = 4, NET_ENTRIES = 4096, NET_BUFFER = 2048, NET_PARTS = 48, NET_PIECES = 20, NET_MORE = 4 };

// What a device driver of this kit wants by default.
#define NET_WANTED (F_RING | F_ANY_LAYOUT | NET_F_MAC | NET_F_STATUS | NET_F_CSUM | NET_F_HOST_TSO4 | \
                    NET_F_HOST_TSO6)

struct net_options {
    const struct virtio_transport *transport;
    u64 wanted;
    unsigned pairs;     // 0: one
    u16 entries;        // of each queue; 0: as many as the device has, up to 1,024 to receive and NET_ENTRIES to send
    u16 indirect;       // longest chain with a table of its own; 0: NET_PIECES
    u32 rx_buffer;      // bytes of a receive buffer, header included; 0: NET_BUFFER
    bool interrupts;
};

// One direction of a pair: the ring, and a buffer for each of its entries.
struct net_side {
    struct queue queue;
    u8 *buffers;
    size_t capacity;
    u32 stride;
    u16 free_count, free[NET_ENTRIES]; // buffers that we have
};

struct net {
    struct virtio device;
    u8 mac[6];
    u8 header;         // bytes of a header: 10 or 12
    bool own_piece;    // a header needs a descriptor of its own
    unsigned pairs;
    struct net_side tx[NET_PAIRS], rx[NET_PAIRS];
    struct queue control;
    u64 torn;          // frames of several buffers of which not all were there at once
};

// Finds the nth card and starts it. `net` must be zero or have been opened before: then its memory
// is used again.
bool net_open(struct net *net, unsigned nth, const struct net_options *options);

// The steps of net_open: until everything is set up, and the rest.
bool net_prepare(struct net *net, unsigned nth, const struct net_options *options);
void net_start(struct net *net);

// Starts one pair's queues anew, on both sides, after they were reset.
bool net_restart_pair(struct net *net, unsigned pair, const struct net_options *options);

u16 net_status(const struct net *net); // the status field; NET_LINK_UP where there is none

// Transmit. net_buffer: room for a frame of up to NET_BUFFER - 12 bytes, or NULL while there is none.
// The header in front of it is at net_header_of(), zero unless somebody fills it in.
u8 *net_buffer(struct net *net, unsigned pair);
struct net_header *net_header_of(const struct net *net, u8 *frame);
void net_queue(struct net *net, unsigned pair, u8 *frame, u32 length);
// The same with up to NET_MORE pieces behind it that the caller keeps until it is sent. False: no room.
bool net_queue_with(struct net *net, unsigned pair, u8 *frame, u32 length, const struct piece *more, unsigned count);
void net_kick(struct net *net, unsigned pair);
unsigned net_room(struct net *net, unsigned pair); // descriptors, after taking back what was sent
bool net_sent(struct net *net, unsigned pair);     // everything

// A frame in pieces that the caller keeps until it is sent; the header is the first. False: no room.
bool net_queue_pieces(struct net *net, unsigned pair, const struct piece *pieces, unsigned count);

// A received frame: its parts in order, without the header.
struct net_frame {
    struct net_header header;
    unsigned parts;
    u32 length;
    struct {
        const u8 *data;
        u32 length;
        u16 buffer;
    } part[NET_PARTS];
};
bool net_receive(struct net *net, unsigned pair, struct net_frame *frame);
void net_release(struct net *net, unsigned pair, const struct net_frame *frame); // kicks now and then
void net_refill(struct net *net, unsigned pair); // all buffers that we have, with a kick
