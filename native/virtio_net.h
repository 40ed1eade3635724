/* A pair of a virtio card's queues at work: frames move between them and a TAP, by a thread or by the vCPU
 * that kicks (duty.h).
 *
 * Python (pykvm/devices/virtio/net) owns what driver and device agree on; it fills `struct pk_vnet` in,
 * starts the work, and touches nothing of it until it has been stopped. The reference is
 * pykvm/devices/virtio/net/reference.py.
 *
 * The TAP's header is as long as the driver's, so a frame goes from guest memory to the kernel in one
 * writev(), behind a copy of its header that was checked (vnet_header.h), and both come in one readv().
 */
#ifndef PYKVM_VIRTIO_NET_H
#define PYKVM_VIRTIO_NET_H

#include "isr.h"
#include "kicks.h"
#include "netcounts.h"
#include "virtq.h"

#define PK_VNET_TABLE 64
#define PK_VNET_AHEAD 64
#define PK_VNET_FRAME 65553 /* bytes of the largest: an IP packet behind a header with a tag */

/* Which frames the driver wants (5.1.6.5.1 to 5.1.6.5.3); the twin of net/filters.py. */
struct pk_vnet_filter {
    uint8_t mac[6];
    uint8_t promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
    uint8_t by_vlan, reserved;
    uint16_t unicast_count, multicast_count;
    uint8_t unicast[PK_VNET_TABLE][6], multicast[PK_VNET_TABLE][6];
    uint8_t vlans[512];
};

bool pk_vnet_accepts(const struct pk_vnet_filter *filter, const uint8_t *frame, uint32_t length);

struct pk_vnet {
    /* What Python sets. */
    struct pk_vq rx, tx;
    uint32_t rx_on, tx_on;      /* whether there is such a ring */
    int fd;                     /* the TAP; -1: frames go nowhere and none come */
    int kick, notice;           /* eventfds: the driver kicked; a ring broke */
    struct pk_kicks *kick_at;   /* what makes a kick a signal of `kick`; NULL: that is not to be changed */
    struct pk_call rx_call, tx_call;
    uint32_t header;            /* bytes: 10 or 12 */
    uint32_t mergeable;
    uint32_t requests;          /* what headers of the driver's may ask for: vnet_header.h */
    uint32_t plain;             /* the driver takes nothing unfinished: headers are all zeros */
    uint32_t standard, longest; /* bytes of a frame with its header: as it was on the wire, at most */
    uint32_t link;
    uint32_t poll;              /* whether the thread looks for more before it sleeps */
    uint32_t by_vcpu;           /* whether every kick exits, and the vCPU does the work */
    struct pk_vnet_filter filter;
    /* Statistics. */
    uint64_t sent, received, filtered, dropped, kicks, sleeps;
    struct pk_vnet_work *work;
};

/* Start the thread; 0 or an errno. It keeps copies of the descriptors. */
int pk_vnet_start(struct pk_vnet *net);

/* Stop it: everything that is used has been pushed, what was popped is unpopped. A frame that waits for
 * buffers waits on. Idempotent. */
void pk_vnet_stop(struct pk_vnet *net);

/* Let go of what it knows, once stopped. Idempotent. */
void pk_vnet_free(struct pk_vnet *net);

/* A kick that exited, in a vCPU: false when the queues are not C's now. */
bool pk_vnet_kick(struct pk_vnet *net);

/* What it has done since it was made; from any thread that may call pk_vnet_free(). */
void pk_vnet_counts(struct pk_vnet *net, struct pk_net_counts *counts);

/* The same work on the calling thread, for tests and benches: until there is nothing to do. */
void pk_vnet_run(struct pk_vnet *net);

#endif
