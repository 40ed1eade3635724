// Enough of IPv4 to ask a host something: ARP, ping, one TCP connection at a time. Polled.
//
// A peer that loses frames is met with retransmission; nothing else of TCP's congestion control is
// here: one segment is on its way at any time.
#pragma once
#include "nic.h"

struct ip_host {
    const struct nic *nic;
    u32 address, gateway; // as numbers: 10.0.0.1 is 0x0A000001
    u8 gateway_mac[6];
    bool resolved;
};

// Finds the gateway's MAC address; false when nobody answers within ms.
bool ip_resolve(struct ip_host *host, u32 ms);

// One echo request of `size` bytes to `to`; true when the same bytes come back within ms.
bool ip_ping(struct ip_host *host, u32 to, u16 size, u32 ms);

struct tcp {
    struct ip_host *host;
    u32 peer;
    u16 port, local;
    u32 next, expected; // sequence numbers: ours, and the peer's
    bool open, finished; // the peer has closed its side
};

bool tcp_connect(struct tcp *tcp, struct ip_host *host, u32 to, u16 port, u32 ms);

// Sends up to 1,400 bytes and waits until they are acknowledged.
bool tcp_send(struct tcp *tcp, const u8 *data, u16 size, u32 ms);

// Waits for data: the number of bytes, 0 when the peer has closed, -1 when time is over.
int tcp_receive(struct tcp *tcp, u8 *data, u16 size, u32 ms);

// Closes our side and waits for the peer's.
bool tcp_close(struct tcp *tcp, u32 ms);
