// A TCP that sends one stream over a netdev, as large requests or frame by frame (RFC 9293, RFC 6582).
//
// It has the peer's announced window, cumulative acknowledgements, retransmission by timer (from the first
// byte that is missing on) and on three duplicate acknowledgements (that segment, then further holes). It
// has no congestion control, no SACK, no timestamps: the network is a wire to the host. What the peer sends
// is acknowledged and dropped.
#pragma once
#include "netdev.h"

enum { TCPSEND_GRAIN = 8 };

struct tcpsend {
    // Set before tcpsend_connect(). Addresses are numbers: 10.0.0.1 is 0x0A000001.
    struct netdev *dev;
    u32 address, peer;
    u16 port;
    unsigned segments; // in a request, at most; 1: frame by frame
    // The stream's bytes from `offset` on; all three are multiples of TCPSEND_GRAIN.
    void (*produce)(u8 *at, u64 offset, u32 length);

    // Of the connection; offsets count the stream's bytes, and FIN as one behind the last.
    const char *failed; // why, or NULL
    u8 peer_mac[6];
    bool mac_known, owes_arp;    // owes_arp: the peer has asked for our address
    bool open, finished, answer; // answer: the peer waits for an acknowledgement
    u16 local, mss;
    u8 scale;                // of the peer's window, a shift
    u32 first, expected;     // sequence numbers: ours at offset 0, the peer's next
    u64 total;               // bytes in all
    u64 acked, next, highest, edge, widest; // edge: where the peer's window ends; widest: the largest one
    u64 made;                // the buffer has the stream up to here
    u64 recover;             // until here no further fast retransmission begins
    bool holes, resend;      // one is under way; the segment at `acked` is to be sent again
    unsigned duplicates;
    u64 timeout, patience;   // TSC
    u32 timeout_ms;
    u8 *buffer;
    u8 headers[NETDEV_HEADERS];

    u64 requests, sent_segments, wire_bytes, retransmits; // counts; wire_bytes with all headers
};

// ARP and the handshake. False: t->failed says why.
bool tcpsend_connect(struct tcpsend *t, u32 ms);

// Sends `total` bytes and FIN; true when the peer has acknowledged all of it and closed its side, too.
bool tcpsend_stream(struct tcpsend *t, u64 total);
