// ARP for IPv4 over Ethernet (RFC 826): who has an address. Addresses are numbers: 10.0.0.1 is 0x0A000001.
#pragma once
#include "types.h"

enum { ARP_TYPE = 0x0806, ARP_REQUEST = 1, ARP_REPLY = 2, ARP_FRAME = 60 };

struct arp {
    u16 operation;
    u8 mac[6];          // the sender's
    u32 sender, target;
};

// Writes a frame of ARP_FRAME bytes from `arp` to the station `to`; NULL asks everybody.
void arp_write(u8 *out, const struct arp *arp, const u8 *to);

// False if the frame is none.
bool arp_read(const u8 *frame, u32 length, struct arp *arp);
